"""Reads `--config=FILE.py[:variant]` and its `--config.key=value` overrides into typed settings."""

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from mmjax.errors import ConfigError
from mmjax.settings import Settings


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
    config_flags.DEFINE_config_file("config", None, "config file, with :variant", flag_values=values)
    flags.DEFINE_bool("help", False, "shows this", short_name="h", flag_values=values)
    define(values)
    try:
        left = values([command, *arguments])[1:]
    except MmjaxErrors:
        raise
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, ImportError, SyntaxError) as error:
        raise ConfigError(f"mmjax {command}: {_sentence(error)}") from error
    if values["help"].value:
        print(f"{usage}\n{values.get_help()}")
        raise SystemExit(0)
    if left:
        raise ConfigError(f"mmjax {command}: {left[0]!r} is not an option; {usage}")
    config: Any = values["config"].value
    if config is None:
        raise ConfigError(f"mmjax {command}: --config is missing; {usage}")
    return Settings.from_dict(config.to_dict()), values


MmjaxErrors = ConfigError


def _sentence(error: Exception) -> str:
    text = str(error).strip().replace("\n", " ")
    return text if text.endswith(".") else f"{text}."
