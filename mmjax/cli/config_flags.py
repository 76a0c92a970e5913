"""Reads `--config=FILE.py[:variant]` and its `--config.key=value` overrides into typed settings."""

import dataclasses
import difflib
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from mmjax.config import Settings
from mmjax.errors import ConfigError, MmjaxError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
"""Where the shipped config files lie in a checkout."""


def read_flags(
    command: str, arguments: Sequence[str], define: Callable[[flags.FlagValues], None], usage: str
) -> tuple[Settings, flags.FlagValues]:
    """Settings of the config file with its overrides, and the command's other flags.

    Args:
      command: name of the command, for messages.
      arguments: the command line after it.
      define: defines the command's own flags.
      usage: shown by --help.

    Raises:
      ConfigError: no config, a file that is not one, an unknown flag or key, or a value of the wrong type.
    """
    values = flags.FlagValues()
    arguments = joined(arguments)
    # ml_collections wants the file before what changes its values; a person may type them in any order.
    arguments = sorted(arguments, key=lambda a: not a.startswith("--config="))
    line = [command, *arguments]
    # Overrides are found in `line`, not in sys.argv: reproduce reads configs its own command line does not name.
    config_flags.DEFINE_config_file("config", None, "config file, with :variant", flag_values=values, sys_argv=line)
    flags.DEFINE_bool("help", False, "shows this", short_name="h", flag_values=values)
    define(values)
    _check_names(command, arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # ml_collections loads the file as Python did long ago
            absl_logging.set_verbosity(absl_logging.ERROR)  # what it warns of is an error below
            left = values(line)[1:]
            config: Any = values["config"].value
    except MmjaxError:
        raise
    except (Exception, SystemExit) as error:  # a config file is a person's own code, and may raise anything
        raise ConfigError(f"mmjax {command}: {_sentence(error)}") from error
    if values["help"].value:
        print(f"{usage}\n{values.get_help()}")
        raise SystemExit(0)
    if left:
        raise ConfigError(f"mmjax {command}: {left[0]!r} is not an option; {usage}")
    if not any(a.startswith("--config=") for a in arguments):
        raise ConfigError(f"mmjax {command}: --config is missing; {usage}")
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"mmjax {command}: get_config of {_named_file(arguments)} returns {type(config).__name__}; it must return an "
            "ml_collections.ConfigDict, as configs/base.py does."
        )
    return Settings.from_dict(config.to_dict()), values


def read_config(command: str, config: str, overrides: Sequence[str] = ()) -> Settings:
    """Settings of `config`, a file with an optional `:variant`.

    Args:
      command: name of the command, for messages.
      config: such as `configs/tabular.py:fashion`.
      overrides: `--config.key=value`; a later value wins, but a list given twice is both lists, one after the other.

    Raises:
      ConfigError: as `read_flags`.
    """
    return read_flags(command, [f"--config={config}", *overrides], lambda _: None, f"mmjax {command} --help")[0]


def joined(arguments: Sequence[str]) -> list[str]:
    """The command line with `--config FILE` as the one argument `--config=FILE`."""
    out: list[str] = []
    for argument in arguments:
        if out and out[-1] == "--config" and not argument.startswith("-"):
            out[-1] = f"--config={argument}"
        else:
            out.append(argument)
    return out


def _named_file(arguments: Sequence[str]) -> str:
    return next((a.partition("=")[2] for a in arguments if a.startswith("--config=")), "the config file")


def _check_names(command: str, arguments: Sequence[str]) -> None:
    """Says what ml_collections says less plainly: a config file that is not there, a key that no setting has."""
    for argument in arguments:
        name, _, value = argument.partition("=")
        if argument == "--config":
            raise ConfigError(f"mmjax {command}: --config has no value; write --config=FILE.py[:variant].")
        if name == "--config":
            file = Path(f"{value.rpartition('.py')[0]}.py")
            if not file.is_file():
                shipped = ", ".join(sorted(f.stem for f in CONFIGS.glob("*.py") if f.stem not in ("__init__", "base")))
                raise ConfigError(f"mmjax {command}: {value!r} is not a config file; configs/ has {shipped}.")
            # A config file imports its neighbours (`from configs.base import base`) from any working directory.
            if (parent := str(file.resolve().parent.parent)) not in sys.path:
                sys.path.append(parent)
        elif name.startswith("--config."):
            _check_key(command, name.removeprefix("--config."))


def _check_key(command: str, path: str) -> None:
    value: Any = Settings()
    for i, name in enumerate(path.split(".")):
        if isinstance(value, dict):
            return
        names = [f.name for f in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
        if name not in names:
            where = ".".join(["config", *path.split(".")[:i]])
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"{where} has {', '.join(names) or 'no parts'}."
            raise ConfigError(f"mmjax {command}: --config.{path}: {where} has no {name!r}; {hint}")
        value = getattr(value, name)


def _sentence(error: BaseException) -> str:
    text = f"the config file ends the program ({error})" if isinstance(error, SystemExit) else str(error)
    text = " ".join(text.split()) or type(error).__name__
    return text if text.endswith(".") else f"{text}."
