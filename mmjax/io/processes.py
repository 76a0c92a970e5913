"""Several processes, one run (`jax.distributed`): who writes, who speaks, and what all must agree on.

Every process runs the same program on the same workdir, which all can read. Process 0 alone writes it and prints. A
decision that clocks or signals could make differently in two processes is taken together.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mmjax.errors import ConfigError


def start(coordinator: str = "", processes: int = 0, process: int = -1) -> None:
    """Joins the run's processes; must come before anything else touches a device.

    Args:
      coordinator: HOST:PORT of process 0, any free port; empty: jax finds all three in a SLURM, Kubernetes, Open MPI or TPU
        pod environment.
      processes: how many.
      process: which one this is, from 0.

    Raises:
      ConfigError: the environment names no coordinator, or the processes did not find one another.
    """
    known: dict[str, Any] = {}
    if coordinator:
        if processes < 1 or not 0 <= process < processes:
            raise ConfigError(
                f"--coordinator={coordinator} needs --processes=N and --process=I, 0 <= I < N; got {processes} and {process}."
            )
        known = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}
    try:
        jax.distributed.initialize(**known)
    except (ValueError, RuntimeError) as error:
        where = f"at {coordinator}" if coordinator else "in this environment"
        raise ConfigError(
            f"The run's processes could not be joined {where} ({str(error).splitlines()[0]}); give --coordinator=HOST:PORT, "
            "--processes=N and --process=I to each."
        ) from error


def is_primary() -> bool:
    """Whether this process writes the workdir and prints."""
    return jax.process_index() == 0


def alone() -> bool:
    """Whether the run has no other process."""
    return jax.process_count() == 1


def barrier(name: str) -> None:
    """Waits until every process is here; with one process, nothing."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def agree(*flags: bool) -> tuple[bool, ...]:
    """Each flag, true everywhere if it is true in any process."""
    if jax.process_count() == 1:
        return flags
    return tuple(bool(f) for f in multihost_utils.process_allgather(np.array(flags)).any(axis=0))


@contextlib.contextmanager
def primary_only(context: contextlib.AbstractContextManager[Any]) -> Iterator[None]:
    """Enters `context` in process 0 alone."""
    with context if is_primary() else contextlib.nullcontext():
        yield
