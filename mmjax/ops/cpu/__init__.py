"""What exists because XLA's CPU backend is slow at it; mmjax/ops/onehot.py and the towers choose it where the backend is a CPU."""
