"""The workdir: one process at a time, one config for ever."""

import dataclasses
import errno
import fcntl
import json
import os
import socket
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmjax.config import Settings, data_settings
from mmjax.errors import WorkdirError
from mmjax.io.atomic import write_error, write_json, write_text
from mmjax.io.processes import is_primary
from mmjax.schema import input_keys

VERSION = "0.2"
"""Of the files in a workdir, in config.json: the first mmjax that wrote them so. Another version's are not gone on with."""
CONFIG, SCHEMA, ENVIRONMENT, LOCK = "config.json", "schema.toml", "environment.json", ".lock"
TIME_LIMIT = "time_limit.json"
"""What a time limit has cut (train/budget/limit.py)."""
DATA, TABLE = "data", "table.csv"
"""Where a table that was fitted by the Python API lies in its workdir."""
_NOT_OURS = "lost+found"  # a fresh disk has it; hidden files are let be, too

FREE = (
    "cv.only",
    "data.cache",
    "data.root",
    "data.schema",  # its content is compared
    "schema.ignore",  # says which columns are left out on purpose
    "train.checkpoint_seconds",
    "train.keep_checkpoints",
    "train.profile",
    "cv.repeats",
)
"""Keys that may differ between sessions of one run: they say where files lie or what else is written, not what is computed."""


def movable() -> set[str]:
    """Keys of paths of which the last part counts: a file may move with its folder, another file is another run."""
    settings = {f"data.{f.name}" for f in dataclasses.fields(data_settings()) if f.metadata.get("movable")}
    return settings | {f"schema.{key.name}" for key in input_keys() if key.holds == "value"}


def decisive(config: dict[str, Any]) -> dict[str, Any]:
    """The values that decide a run's numbers, by dotted key: without `FREE`, and the name alone of a `movable` path.

    Args:
      config: nested dict of settings; a key "schema" may hold a schema's TOML text and is then read.
    """
    flat: dict[str, Any] = {}
    paths = movable()

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(inner, f"{name}.{key}" if name else str(key))
        elif name not in FREE:
            flat[name] = _last_part(value) if name in paths else value

    schema = config.get("schema")
    plain = json.loads(json.dumps(config))  # tuples become lists, as they do in config.json
    walk(plain | ({"schema": tomllib.loads(schema)} if isinstance(schema, str) else {}), "")
    return flat


def _last_part(path: Any) -> Any:
    return [Path(p).name for p in path] if isinstance(path, list) else Path(path).name


class Workdir:
    """A run's folder.

    Attributes:
      path: the folder, made if it is not there.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise WorkdirError(f"{self.path} cannot be a workdir: a file is in its place; choose another folder.") from error
        except OSError as error:
            raise write_error(self.path, error) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps every other process out of the folder for the length of the block.

        The kernel drops the lock when its holder dies, so a dead process's lock file is not in the way.

        Raises:
          WorkdirError: another process holds the folder, it holds other things than a run, or the lock file cannot be written.
        """
        self._refuse_other_things()  # before anything is written there, or deleted
        file = self.path / LOCK
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise write_error(file, error) from error
        _HELD.add(handle)
        try:
            self._take(handle, file)
            for left in self.path.rglob(".*.partial"):  # a kill inside a write: nobody else writes here now
                with suppress(OSError):
                    left.unlink()
            yield
        finally:
            _HELD.discard(handle)
            os.close(handle)

    def _take(self, handle: int, file: Path) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = {"pid": os.getpid(), "host": socket.gethostname(), "start": _now()}
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(content).encode(), 0)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise write_error(file, error) from error
            raise WorkdirError(
                f"{self.path} is in use by {_holder(handle)}; wait for it to end, stop it, or choose another workdir."
            ) from None

    def _refuse_other_things(self) -> None:
        """What a killed first session left beside its lock is no reason to refuse: it had not written config.json yet."""
        if (self.path / CONFIG).exists():
            return
        try:
            names = {p.name for p in self.path.iterdir() if not p.name.startswith(".")} - {_NOT_OURS}
        except OSError as error:
            raise WorkdirError(f"cannot read {self.path}: {error.strerror or error}; choose another workdir.") from error
        # The Python API writes table and schema to DATA first, a time limit what it cuts.
        if others := names - ({SCHEMA, ENVIRONMENT, DATA, TIME_LIMIT} if (self.path / LOCK).exists() else set()):
            what = f"{len(others)} other files" if len(others) > 1 else f"{min(others)!r}"
            raise WorkdirError(f"{self.path} holds {what} and no run (there is no {CONFIG}); choose an empty or a new workdir.")

    def compare(self, settings: Settings, schema_text: str) -> None:
        """Checks that the folder belongs to this config and schema, or to none yet.

        Args:
          settings: the run's settings.
          schema_text: the schema as TOML.

        Raises:
          WorkdirError: it belongs to another config or schema (every differing key is named), or a file is damaged.
        """
        known = read_config(self.path)
        if known is None:
            return
        file = self.path / SCHEMA
        try:
            text = file.read_text(encoding="utf-8")
            if not text.strip():  # TOML all the same
                raise ValueError("it is empty")
            before = decisive(known | {"schema": text})
        except (OSError, ValueError, RecursionError) as error:
            raise damaged(file, error) from error
        now = decisive(settings.record() | {"schema": schema_text})
        missing = object()
        differ = [
            f"{key} was {_show(before, key)} and is now {_show(now, key)}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key, missing) != now.get(key, missing)
        ]
        if differ:
            raise WorkdirError(
                f"{self.path} belongs to another config: {'; '.join(differ)}. Use the old values or another workdir."
            )

    def record(self, settings: Settings, schema_text: str, environment: dict[str, Any]) -> None:
        """Writes config, schema and environment; `compare` comes first.

        Args:
          settings: the run's settings.
          schema_text: the schema as TOML.
          environment: of this session; the file keeps one entry a session.

        Raises:
          WorkdirError: environment.json is damaged, or the folder cannot be written.
        """
        file = self.path / ENVIRONMENT
        advice = "restore or delete it (it only tells what earlier sessions ran on)"
        sessions = read_json(file, list, advice) if file.exists() else []
        if not is_primary():
            return
        write_text(self.path / SCHEMA, schema_text)
        write_json(file, [*sessions, environment])
        # Last, because its presence says that the folder belongs to a run; also carries a data set that moved.
        write_json(self.path / CONFIG, {"version": VERSION, **settings.record()})


def read_config(folder: Path) -> dict[str, Any] | None:
    """The config a workdir belongs to; None where no run was started.

    Raises:
      WorkdirError: config.json is damaged, or of another version.
    """
    file = folder / CONFIG
    if not file.exists():
        return None
    known = read_json(file, dict)
    version = known.pop("version", "0.1")  # which wrote none
    if version != VERSION:
        raise WorkdirError(
            f"{folder} was made by mmjax {version}; {VERSION} cannot go on with it: use mmjax {version} or another workdir."
        )
    return known


def read_json(file: Path, kind: type, advice: str = "restore it or choose another workdir") -> Any:
    """The content of a JSON file.

    Args:
      file: is there.
      kind: dict or list, which it must be.
      advice: what to do where it is damaged.

    Raises:
      WorkdirError: it cannot be read, or is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WorkdirError(f"{file} is missing; {advice}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(file, f"{type(error).__name__}: {error}", advice) from error
    if not isinstance(content, kind):
        raise damaged(file, f"it is no {kind.__name__}", advice)
    return content


def damaged(file: Path, reason: object, advice: str = "restore it or choose another workdir") -> WorkdirError:
    """The sentence for a file that is not as it was written."""
    return WorkdirError(f"{file} is damaged ({reason}); {advice}.")


def _show(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "not there"


def _holder(handle: int) -> str:
    for _ in range(20):  # the holder writes its name a moment after it takes the lock
        try:
            content = json.loads(os.pread(handle, 4096, 0))
            return f"process {content['pid']} on {content['host']}, started {content['start']}"
        except (ValueError, KeyError, TypeError):
            time.sleep(0.02)
    return "another process"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())


_HELD: set[int] = set()


def _leave_to_parent() -> None:
    # A forked worker shares the lock's open file: were it to outlive a killed parent, the folder would stay locked.
    for handle in _HELD:
        os.close(handle)
    _HELD.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
