"""Training: the loop, its state and callbacks, and what a run does in order."""
