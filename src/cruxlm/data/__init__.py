"""Data: what a scan reads."""
