"""Evaluators: what a model is worth on examples, one value an example."""
