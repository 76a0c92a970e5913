"""Checkpoints that are whole, verified and of this very run, or refused; the only file that knows orbax.

A checkpoint is a sealed folder (manifest.py): `arrays/` by orbax, and a manifest with path, shape and dtype of every leaf, the
host's values as JSON and the config's fingerprint. All of it is checked before orbax opens a file, because orbax restores part
of a differing tree in silence (its issue 2972). Nothing here can run code: arrays and JSON, no pickle.
"""

import hashlib
import json
import logging
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mmjax.errors import CheckpointError
from mmjax.io.atomic import write_error
from mmjax.io.manifest import MANIFEST, REPLACED, UNFINISHED, DamagedError, discard, put_in_place, seal, tidy, verify
from mmjax.io.processes import barrier, is_primary
from mmjax.io.workdir import decisive

ARRAYS, FORMAT, DAMAGED = "arrays", 1, ".damaged"
_STEP = re.compile(r"\d{8,}")
_ONE_AT_A_TIME = threading.Lock()
_SHOWN = 5  # differing leaves named in a message


def tree_signature(tree: Any) -> dict[str, list[Any]]:
    """Leaf path -> [shape, dtype], of arrays or of `jax.ShapeDtypeStruct`s."""
    return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in _named(tree).items()}


def config_fingerprint(config: dict[str, Any]) -> str:
    """SHA-256, in hex, of what decides a fold's numbers; a moved data set or another checkpoint interval leaves it alone.

    So does the protocol of the folds, which decides which rows a fold has.

    Args:
      config: nested dict of settings; "schema" may hold the schema's TOML text.
    """
    return hashlib.sha256(json.dumps(decisive(config | {"cv": None}), sort_keys=True).encode()).hexdigest()


def save(directory: Path, step: int, tree: Any, host: dict[str, Any], config: str, *, keep: int = 2) -> None:
    """Writes checkpoint `step`, whole or not at all, then deletes all but the newest `keep`.

    Args:
      directory: the phase's folder of checkpoints.
      step: its number; checkpoints with a higher one belong to a history that was given up and are deleted.
      tree: pytree of arrays and PRNG key data; several processes must hold the same values.
      host: JSON-able values.
      config: its fingerprint, see `config_fingerprint`.
      keep: at least 1.

    Raises:
      WorkdirError: the disk is full or the folder cannot be written; earlier checkpoints are as they were.
    """
    final = directory / f"{step:08d}"
    _write(final, tree, {"step": step, "host": host, "config": config})
    if is_primary():
        older = [p for p in _checkpoints(directory) if p != final and int(p.name) < step]
        later = [p for p in _checkpoints(directory) if int(p.name) > step]
        for path in (*later, *older[: len(older) - keep + 1], *directory.glob(f"*{DAMAGED}")):
            discard(path)


def restore(
    directory: Path, like: Callable[[], Any], config: str, log: Callable[[str], None] = print
) -> tuple[int, Any, dict[str, Any]] | None:
    """The newest good checkpoint.

    Args:
      directory: the phase's folder of checkpoints.
      like: makes the tree of arrays or `jax.ShapeDtypeStruct`s that the restored tree must equal in paths, shapes and dtypes;
        not called where there is no checkpoint.
      config: its fingerprint.
      log: told, in a sentence, of each damaged checkpoint that was passed over.

    Returns:
      (step, tree of NumPy arrays, host values), or None where there is no checkpoint.

    Raises:
      CheckpointError: all are damaged, or the newest good one is of another config or tree; nothing was restored.
    """
    if is_primary():
        for left in {p.stem for suffix in (UNFINISHED, REPLACED) for p in directory.glob(f"*{suffix}")}:
            tidy(directory / left)
    barrier(f"{directory} tidied")
    damaged: list[tuple[Path, str]] = []
    for path in reversed(_checkpoints(directory)):
        try:
            body = verify(path)
            if body["step"] != int(path.name):
                raise DamagedError(f"it is checkpoint {body['step']} under another name")
        except DamagedError as error:
            damaged.append((path, str(error)))
            continue
        tree = _read(path, body, like(), config)
        for bad, reason in damaged:
            log(f"Checkpoint {bad} is damaged: {reason}. It is set aside; going on from {path.name} before it.")
            _set_aside(bad)
        return body["step"], tree, body["host"]
    if damaged:
        what = "; ".join(f"{path.name}: {reason}" for path, reason in damaged)
        raise CheckpointError(
            f"Every checkpoint in {directory} is damaged ({what}); delete that folder to train these folds from the start."
        )
    return None


def _set_aside(bad: Path) -> None:
    with suppress(OSError):  # a read-only folder can still be gone on from until the next save says so
        if is_primary():
            bad.replace(bad.with_name(bad.name + DAMAGED))


def save_model(directory: Path, tree: Any, meta: dict[str, Any], config: str) -> None:
    """Writes one finished training's parameters into `directory` itself; raises as `save`."""
    _write(directory, tree, {"step": 0, "host": meta, "config": config})


def has_model(directory: Path) -> bool:
    """Whether a training was finished there."""
    if is_primary():
        tidy(directory)
    barrier(f"{directory} looked at")
    return (directory / MANIFEST).exists()


def load_model(directory: Path, like: Any, config: str, *, part: bool = False) -> tuple[Any, dict[str, Any]]:
    """(tree of NumPy arrays, meta) of a finished training.

    Args:
      directory: where `save_model` wrote it.
      like: as of `restore`.
      config: its fingerprint.
      part: `like` may be a part of what was saved; the rest is not read.

    Raises:
      CheckpointError: it is missing, damaged, or of another config or tree.
    """
    body = check_model(directory)
    return _read(directory, body, like, config, part=part), body["host"]


def check_model(directory: Path) -> dict[str, Any]:
    """The manifest's body of a finished training, every file of which is as it was written.

    Raises:
      CheckpointError: it is missing or damaged.
    """
    try:
        return verify(directory)
    except DamagedError as error:
        raise CheckpointError(
            f"{directory} is damaged: {error}; delete the folder {directory.parent} and run the same `mmjax train` command "
            "again, which trains that fold anew."
        ) from error


def remove(directory: Path) -> None:
    """Deletes a phase's checkpoints once its parameters are written."""
    if not is_primary():
        return
    discard(directory)
    with suppress(OSError):  # the last phase takes the empty parent along
        directory.parent.rmdir()


def _write(final: Path, tree: Any, body: dict[str, Any]) -> None:
    leaves = {name: _whole(name, leaf) for name, leaf in _named(tree).items()}
    unfinished = final.with_name(final.name + UNFINISHED)
    try:
        if is_primary():
            tidy(final)
            unfinished.mkdir(parents=True)
        barrier(f"{final} made")
        # orbax refuses arrays without elements; shape and dtype in the manifest are all there is to them.
        full = {name: leaf for name, leaf in leaves.items() if leaf.size}
        if full:
            with _orbax():
                _checkpointer().save((unfinished / ARRAYS).absolute(), args=ocp.args.PyTreeSave(full))
        if is_primary():
            seal(unfinished, {"format": FORMAT, **body, "tree": tree_signature(leaves)})
            put_in_place(unfinished)
        barrier(f"{final} written")
    except (OSError, ValueError) as error:
        # tensorstore wraps the system's error number in the text of a ValueError.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if not isinstance(error, OSError) and code is None:
            raise
        shutil.rmtree(unfinished, ignore_errors=True)
        failed = error if isinstance(error, OSError) else OSError(int(code[1]) if code else 0, "the write failed")
        raise write_error(final, failed, sum(leaf.nbytes for leaf in leaves.values())) from error


def _read(path: Path, body: dict[str, Any], like: Any, config: str, *, part: bool = False) -> Any:
    """Restores a verified folder, after comparing format, config and tree."""
    if body.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {body.get('format')!r}, this version reads {FORMAT}; use the version it is from."
        )
    wanted = tree_signature(like)
    saved = {name: leaf for name, leaf in body["tree"].items() if not part or name in wanted}
    _compare(path, saved, wanted)
    if body["config"] != config:
        raise CheckpointError(
            f"{path} was written under another config (fingerprint {str(body['config'])[:12]}, now {config[:12]}); compare "
            "config.json and schema.toml of its workdir, or use another workdir."
        )
    empty = {name: np.empty(shape, dtype) for name, (shape, dtype) in saved.items() if 0 in shape}
    full = [name for name in saved if name not in empty]
    leaves = dict(empty)
    if full:
        arguments = ocp.args.PyTreeRestore(
            item=dict.fromkeys(full, 0),
            restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in full},
            partial_restore=part,
        )
        with _orbax():
            leaves |= _checkpointer().restore((path / ARRAYS).absolute(), args=arguments)
    _compare(path, tree_signature(leaves), wanted)
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in _named(like)])


def _compare(path: Path, saved: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> None:
    differ = []
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            old, new = (f"{t[name][1]}{t[name][0]}" if name in t else "missing" for t in (saved, wanted))
            differ.append(f"{name} is {old} there and {new} here")
    if differ:
        more = f", and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
        raise CheckpointError(
            f"{path} is of another model: {'; '.join(differ[:_SHOWN])}{more}. Use the config it was written with or another "
            "workdir."
        )


def _named(tree: Any) -> dict[str, Any]:
    """Leaves by dotted path, in the tree's own order; Python numbers become arrays."""
    pairs = jax.tree.leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="."): _array(leaf) for path, leaf in pairs}
    if len(named) != len(pairs):
        raise CheckpointError("Two leaves of the tree have one dotted path; give one of them another name.")
    return named


def _array(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def _whole(name: str, leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        raise CheckpointError(f"{name} is split over several processes; gather it before saving.")
    return np.asarray(leaf)


def _checkpoints(directory: Path) -> list[Path]:
    return sorted((p for p in directory.glob("*") if _STEP.fullmatch(p.name)), key=lambda p: int(p.name))


@cache
def _checkpointer() -> ocp.Checkpointer:
    _hide_late_callbacks()
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())


def _hide_late_callbacks() -> None:
    """Where one write fails, as on a full disk, tensorstore's other writes end later and call a loop that is closed by then.

    Its threads print that as a traceback each; the failure itself has been raised.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


@contextmanager
def _orbax() -> Iterator[None]:
    """One save or restore at a time, since orbax numbers them process-wide and folds train in threads.

    Its log and the tracebacks of its threads stay off the screen; what goes wrong is raised.
    """
    logger = logging.getLogger("absl")
    with _ONE_AT_A_TIME:
        before = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(before)
