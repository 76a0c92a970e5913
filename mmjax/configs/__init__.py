"""One file a row of the paper's tables; base.py holds what they share. `get_config` reads one of them, or a file of your own.

The folder is in the package, so that a wheel has it. The repository's `configs` is a link to it, since copies would drift;
where links do not work (Windows), or in a wheel, `configs/NAME.py` is found here all the same. A file of your own says
`from mmjax.configs.base import base`, which works everywhere; `from configs.base import base` only does in a clone.
"""

import ast
import dataclasses
import difflib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmjax.config import Settings
from mmjax.errors import ConfigError, MmjaxError

FOLDER = Path(__file__).resolve().parent


def names() -> list[str]:
    """The shipped configs."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if file.stem not in ("__init__", "base"))


def get_config(config: str | Settings, overrides: Mapping[str, Any] | None = None, **more: Any) -> Settings:
    """Reads a config.

    Args:
      config: a shipped config's name (`attention`, `configs/attention.py`) or a path to a file of your own, then an optional
        variant after a colon: `attention:fashion`, `mine.py:table` (base.py lists them). Or settings that are there already.
      overrides: changed settings by their dotted names, such as `{"train.max_epochs": 3}`.
      **more: the same with two underscores for the dot: `train__max_epochs=3`.

    Raises:
      ConfigError: no such config or setting, a value of the wrong type, or an error in the file.
    """
    made = config if isinstance(config, Settings) else _run(*find(config))
    if not isinstance(made, Settings | ConfigDict):
        raise ConfigError(
            f"get_config of {config} returns {type(made).__name__}; it must return an ml_collections.ConfigDict, as "
            "mmjax/configs/base.py does."
        )
    return override(made.to_dict(), {**(overrides or {}), **{name.replace("__", "."): value for name, value in more.items()}})


def override(values: dict[str, Any], changes: Mapping[str, Any]) -> Settings:
    """The settings of a nested dict, with `changes` by dotted names.

    Raises:
      ConfigError: no such setting, or a value of the wrong type.
    """
    for path, value in changes.items():
        check_name(path)
        *groups, name = path.split(".")
        target = values
        for group in groups:
            target = target[group]
        target[name] = value
    return Settings.from_dict(values)


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """`--config.key=value` of a command line as Python values by dotted names; of a name given twice the last counts.

    Raises:
      ConfigError: there is no such setting.
    """
    changes: dict[str, Any] = {}
    for argument in arguments:
        path, _, text = argument.removeprefix("--config.").partition("=")
        changes[path] = _parse(text, check_name(path))
    return changes


def find(config: str) -> tuple[Path, str]:
    """The file and the variant that a `--config` names.

    Raises:
      ConfigError: there is no such config.
    """
    parts = re.fullmatch(r"(.+?\.py)(?::(.*))?", config) or re.fullmatch(r"([^:]*)(?::(.*))?", config)
    name, variant = (parts[1], parts[2] or "") if parts else (config, "")
    if name in names():
        return FOLDER / f"{name}.py", variant
    file = Path(name)
    if file.is_file() and file.suffix == ".py":
        return file, variant
    if file.parent == Path("configs") and file.stem in names():
        return FOLDER / file.name, variant
    near = difflib.get_close_matches(file.stem, names(), 1)
    raise ConfigError(
        f"{config!r} is neither a file nor a config of mmjax{f' (did you mean {near[0]}?)' if near else ''}, which has "
        f"{', '.join(names())}; a file of your own is named by its path, such as mine.py."
    )


def check_name(path: str) -> Any:
    """The default value of a setting by its dotted name.

    Raises:
      ConfigError: there is no such setting; says which name is near.
    """
    value: Any = Settings()
    for i, name in enumerate(path.split(".")):
        if isinstance(value, dict):  # any key may be new
            return value.get(name, 1.0)
        known = [f.name for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
        if name not in known:
            where = ".".join(["config", *path.split(".")[:i]])
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"{where} has {', '.join(known) or 'no parts'}."
            raise ConfigError(f"config.{path}: {where} has no {name!r}; {hint}")
        value = getattr(value, name)
    return value


def _parse(text: str, default: Any) -> Any:
    """What cannot be parsed stays text: `Settings` refuses it by name."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = [part.strip() for part in text.split(",") if part.strip()] if isinstance(default, tuple) else text
    return (value,) if isinstance(default, tuple) and isinstance(value, int | float) else value


def _run(file: Path, variant: str) -> Any:
    try:
        get: Callable[..., Any] = _module(file).get_config
        return get(variant) if variant else get()
    except MmjaxError:
        raise
    except ModuleNotFoundError as error:
        hint = "; write `from mmjax.configs.base import base`" if str(error.name).startswith("configs") else ""
        raise ConfigError(f"{file}: {error}{hint}.") from error
    except (Exception, SystemExit) as error:  # a config file is a person's own code, and may raise anything
        said = f"the file ends the program ({error})" if isinstance(error, SystemExit) else str(error) or type(error).__name__
        raise ConfigError(f"{file}: {' '.join(said.split()).removesuffix('.')}.") from error


def _module(file: Path) -> Any:
    file = file.resolve()
    if file.parent == FOLDER:  # the link's files, too
        return importlib.import_module(f"mmjax.configs.{file.stem}")
    # A config file imports its neighbours (`from configs.base import base`) from any working directory.
    if (parent := str(file.parent.parent)) not in sys.path:
        sys.path.append(parent)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
