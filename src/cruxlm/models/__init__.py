"""Models: load, find the blocks, watch what passes through them."""
