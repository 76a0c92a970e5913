"""Defaults of settings that say what values are allowed, and the check that reads them."""

import dataclasses
import math
from typing import Any

from mmjax.errors import ConfigError


def positive(default: float) -> Any:
    """A number greater than 0."""
    return dataclasses.field(default=default, metadata={"rule": (lambda v: 0 < v < math.inf, "greater than 0 and finite")})


def not_negative(default: float) -> Any:
    """A number of 0 or more."""
    return dataclasses.field(default=default, metadata={"rule": (lambda v: 0 <= v < 2**31, "0 or more, and below 2^31")})


def below_one(default: float) -> Any:
    """A number in [0, 1)."""
    return dataclasses.field(default=default, metadata={"rule": (lambda v: 0 <= v < 1, "at least 0 and below 1")})


def choice(*choices: str) -> Any:
    """One of some words; the first is the default."""
    return dataclasses.field(default=choices[0], metadata={"rule": (lambda v: v in choices, f"one of: {', '.join(choices)}")})


def movable_path() -> Any:
    """A path of which only the last part decides a run: a file may move with its folder."""
    return dataclasses.field(default="", metadata={"movable": True})


def check_values(settings: Any, where: str = "config") -> None:
    """Refuses a value outside what its field allows, in this dataclass and those inside.

    Raises:
      ConfigError: names the setting, its value, and what it may be.
    """
    for f in dataclasses.fields(settings):
        value, place = getattr(settings, f.name), f"{where}.{f.name}"
        if dataclasses.is_dataclass(value):
            check_values(value, place)
        elif "rule" in f.metadata:
            allowed, words = f.metadata["rule"]
            if not allowed(value):
                raise ConfigError(f"{place} is {value!r}; it must be {words}.")
