"""Command lines without a config file: argparse, whose complaints become one sentence and exit code 2."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mmjax.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """argparse that raises `ConfigError`, takes no abbreviated options and can leave config overrides over."""

    def __init__(self, command: str, description: str):
        super().__init__(prog=f"mmjax {command}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print."""
        raise ConfigError(f"{self.prog}: {message}; see {self.prog} --help.")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses all of `arguments`.

        Raises:
          ConfigError: an option is unknown, missing or malformed.
        """
        known, overrides = self.parse_with_overrides(arguments)
        if overrides:
            self.error(f"{overrides[0]!r} is not an option here: the work folder's own config is used")
        return known

    def parse_with_overrides(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parses `arguments`; `--config.key=value` comes back as it is, for `read_config`.

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
