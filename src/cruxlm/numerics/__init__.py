"""Similarity, resampling and rank statistics on plain tensors; nothing here knows of models."""
