"""Shared fixtures: eight virtual CPU devices, and checks that turn silent mistakes into errors."""

import gc
import os

from tests.quick_xla import FLAGS, share_programs

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {FLAGS}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A worker has one core: a second thread of NumPy's or scikit-learn's would wait for it, and spin meanwhile.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
gc.set_threshold(50_000)  # tracing makes many objects and little garbage

LONGEST = ("test_kills", "test_processes", "test_wheel", "test_full_disk")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: the first worker keeps them together with what they share, the other takes of its rest."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this session share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "session"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def compiled_once(session_folder: Path) -> None:
    """A program is compiled once a session, not by every worker and in every run again."""
    share_programs(session_folder / "compiled")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real data sets; tests that need it skip where it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"the real data sets are not in {DATA}")
    return DATA
