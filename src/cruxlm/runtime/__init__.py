"""Errors, progress, atomic files, the cache, the registry, and what surrounds every training."""
