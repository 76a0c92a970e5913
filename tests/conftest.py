"""Shared fixtures: eight virtual CPU devices, and checks that turn silent mistakes into errors."""

import os

# Tiny programs: compiling them is what costs, so XLA's slow optimisations are off.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A program is compiled once a worker, not in every run again; a folder for each, since jax writes entries in place."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real data sets; tests that need it skip where it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"the real data sets are not in {DATA}")
    return DATA
