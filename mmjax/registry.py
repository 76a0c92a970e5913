"""Names of modalities and tasks: what a config may say.

Built-in ones, and those that installed packages name under the entry points `mmjax.modalities` and `mmjax.tasks`, are imported
when first asked for; anybody's own register themselves with the decorators.
"""

import importlib
import keyword
import threading
from collections.abc import Callable
from importlib import metadata
from typing import Any

from mmjax.errors import ConfigError

_BUILT_IN = ("mmjax.modalities", "mmjax.tasks")
_LOCK = threading.RLock()
_modalities: dict[str, Any] = {}
_tasks: dict[str, Any] = {}
_loaded = False


def register_modality(kind: str) -> Callable[[type], type]:
    """Class decorator: `kind` is what `config.model.modalities` calls it (mmjax/modalities/base.py has the protocol)."""
    return _register(_modalities, "kind", kind, ("schema_keys", "DataSettings", "ModelSettings", "tower"))


def register_task(name: str) -> Callable[[type], type]:
    """Class decorator: `name` is what `config.task` calls the task (mmjax/tasks/base.py has the protocol)."""
    return _register(_tasks, "name", name, ("build", "losses", "stream"))


def modalities() -> dict[str, Any]:
    """Every modality's class by kind, in canonical order: as registered, built-in ones first."""
    _load()
    return _modalities


def tasks() -> dict[str, Any]:
    """Every task's class by name."""
    _load()
    return _tasks


def kind_of(name: str) -> str:
    """The kind that a name or an alias of it stands for, or ''."""
    return next((kind for kind, cls in modalities().items() if name in (kind, *cls.aliases)), "")


def _register(known: dict[str, Any], attribute: str, name: str, needed: tuple[str, ...]) -> Callable[[type], type]:
    if not isinstance(name, str):
        raise ConfigError(f"a name is missing: write @register_...(NAME) above the class, with NAME a text, not {name!r}.")

    def add(cls: type) -> type:
        if not cls.__module__.startswith("mmjax."):
            _load()  # own ones come after the built-in ones, which are just being imported otherwise
        before = known.get(name)
        taken = before is not None and (before.__module__, before.__qualname__) != (cls.__module__, cls.__qualname__)
        if not name.isidentifier() or keyword.iskeyword(name) or taken:
            raise ConfigError(
                f"{name!r} cannot be registered for {cls.__name__}: it is taken or no identifier; use another name."
            )
        if lacking := sorted(getattr(cls, "__abstractmethods__", ()) or (n for n in needed if not hasattr(cls, n))):
            raise ConfigError(f"{cls.__name__} cannot be registered as {name!r}: it lacks {', '.join(lacking)}.")
        setattr(cls, attribute, name)
        known[name] = cls
        return cls

    return add


def _load() -> None:
    global _loaded  # noqa: PLW0603 - a module is loaded once a process
    with _LOCK:
        if _loaded:
            return
        _loaded = True  # before the import, which comes back here
        for module in _BUILT_IN:
            importlib.import_module(module)
        for group in _BUILT_IN:
            for point in metadata.entry_points(group=group):
                point.load()
