"""What exists because XLA's CPU backend is slow at it; chosen where the backend is a CPU (`mmjax.ops.on_cpu`)."""
