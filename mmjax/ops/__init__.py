"""Operations with a formulation of their own where a backend's is slow; each equals the plain one to 1e-5."""

import jax


def on_cpu() -> bool:
    """Whether formulations of mmjax/ops/cpu/ are chosen: the one place that asks for the backend on their behalf."""
    return jax.default_backend() == "cpu"
