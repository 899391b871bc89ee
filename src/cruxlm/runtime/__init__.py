"""Errors, progress, atomic files, the registry, and what a result says of where it was made."""
