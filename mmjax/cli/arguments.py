"""Command lines: argparse, whose complaints become one sentence and exit code 2, and `--config` with its overrides."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mmjax import configs, registry
from mmjax.config import Settings
from mmjax.errors import ConfigError
from mmjax.modalities.base import PathOption


def path_options() -> list[PathOption]:
    """Files and folders that modalities read beside a table."""
    return [option for cls in registry.modalities().values() for option in cls.path_options]


class Parser(argparse.ArgumentParser):
    """argparse that raises `ConfigError`, takes no abbreviated options and can leave config overrides over."""

    def __init__(self, command: str, description: str):
        super().__init__(prog=f"mmjax {command}", description=description, allow_abbrev=False)
        self.command = command

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print."""
        raise ConfigError(f"{self.command}: {message}; see {self.prog} --help.")

    def print_help(self, file: Any = None) -> None:
        """Prints it; argparse's own hides that a reader (`| head`) has gone."""
        print(self.format_help(), end="", file=file)

    def add_config(self, *, required: bool = True) -> None:
        """Adds `--config`, which `parse_config` reads."""
        self.add_argument(
            "--config",
            required=required,
            default="",
            help=f"NAME or FILE.py, then an optional :variant; names: {', '.join(configs.names())}",
        )
        self.epilog = "--config.key=value overrides a setting, such as --config.train.max_epochs=3."

    def parse_config(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, Settings]:
        """Parses `arguments`, of which `--config` and its overrides become settings.

        Raises:
          ConfigError: as `parse_with_overrides`, or no such config or setting.
        """
        known, overrides = self.parse_with_overrides(arguments)
        return known, configs.get_config(known.config, configs.parse_overrides(overrides))

    def add_paths(self) -> None:
        """Adds an option for every file or folder that comes with a table."""
        for option in path_options():
            self.add_argument(f"--{option.flag}", default="", help=f"{option.what}; as in training if left out")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses all of `arguments`.

        Raises:
          ConfigError: an option is unknown, missing or malformed.
        """
        known, overrides = self.parse_with_overrides(arguments)
        if overrides:
            self.error(f"{overrides[0]!r} is not an option here: the workdir's own config is used")
        return known

    def parse_with_overrides(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parses `arguments`; `--config.key=value` comes back as it is.

        Raises:
          ConfigError: an option is unknown, missing or malformed.
        """
        known, left = self.parse_known_args(list(arguments))
        unknown = [a for a in left if not a.startswith("--config.")]
        if unknown:
            self.error(f"{unknown[0]!r} is not an option")
        split = [a for a in left if "=" not in a]
        if split:
            self.error(f"{split[0]!r} has no value: write {split[0]}=VALUE")
        return known, left


def given_paths(args: argparse.Namespace) -> dict[str, Any]:
    """The values of `Parser.add_paths`, by flag."""
    return {option.flag: getattr(args, option.flag) for option in path_options()}


def existing_file(path: str, what: str) -> Path:
    """`path`, if it is a file.

    Raises:
      ConfigError: it is not there, or a folder.
    """
    file = Path(path)
    if file.is_dir():
        raise ConfigError(f"{path}: is a folder, not a {what}; name the file in it.")
    if not file.is_file():
        raise ConfigError(f"{path}: there is no such {what}; check the path.")
    return file
