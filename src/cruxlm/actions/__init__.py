"""What is done with a model and a plan."""
