"""Training: pure steps, the loop, checkpoints and cross-validation."""
