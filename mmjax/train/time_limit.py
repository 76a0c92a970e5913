"""Settings with which a run is finished in a given time: folds, epochs and sizes by timed steps; what is cut is said."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmjax import configs
from mmjax.config import Settings
from mmjax.errors import ConfigError
from mmjax.io.progress import duration
from mmjax.io.workdir import read_config
from mmjax.train.shorter import smaller
from mmjax.train.time_estimate import TimeEstimate, estimate_time

_SHARE = 0.7
"""Of the time that is planned for training; the rest is for predictions, the report, and for what comes slower than timed."""
_ENOUGH = 0.5
"""Share of the epochs below which something else is made smaller first."""
_EPOCHS = ("train.max_epochs", "train.autoencoder_max_epochs", "train.min_steps")


def seconds_of(text: str | float) -> float:
    """Seconds of `600`, `90s`, `10m` or `2h`.

    Raises:
      ConfigError: it is none of these, or not above 0.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    given = str(text).strip()
    number, unit = (given[:-1], units[given[-1]]) if given[-1:] in units else (given, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"the time limit is {given!r}; write seconds, or a number with s, m or h, such as 10m.")
    return seconds


def fit_into(settings: Settings, seconds: float, log: Callable[[str], None]) -> Settings:
    """The settings, cut until their run takes about `seconds` at most.

    Where the epochs would fall below a half, photos become smaller first, then there are fewer folds.

    Args:
      settings: of the run.
      seconds: from now on.
      log: told what was timed and what is cut.

    Raises:
      MmjaxError: as a run would.
    """
    cut, budget, begun = {}, _SHARE * seconds, time.monotonic()

    def timed() -> TimeEstimate:
        needed = estimate_time(configs.override(settings.to_dict(), cut))
        log(f"timed: about {duration(needed.seconds)} with {_said(cut) or 'nothing cut'}.")
        return needed

    def share() -> float:
        """Of the epochs, that there is time for; 1: all."""
        training = sum(phase.seconds for phase in needed.phases) * cut.get("cv.folds", settings.cv.folds) / settings.cv.folds
        left = budget - needed.preparing - (time.monotonic() - begun)
        return min(1.0, max(0.0, left) / max(training, 1e-9))

    needed = timed()
    while share() < _ENOUGH and (more := smaller(configs.override(settings.to_dict(), cut))):
        cut |= more
        needed = timed()
    for folds in (3, 2):
        if share() < _ENOUGH and not settings.cv.only and settings.cv.folds > folds:
            cut["cv.folds"] = folds
    cut |= _fewer_epochs(settings, share())
    log(f"To be trained in {duration(seconds)}: {_said(cut)}." if cut else f"The whole config fits into {duration(seconds)}.")
    return configs.override(settings.to_dict(), cut)


def _fewer_epochs(settings: Settings, share: float) -> dict[str, Any]:
    """Of each phase, one at least."""
    if share >= 1:
        return {}
    train = settings.train
    cut: dict[str, Any] = {"train.max_epochs": max(1, int(share * train.max_epochs))}
    if settings.model.autoencoder.kind != "none":
        cut["train.autoencoder_max_epochs"] = max(1, int(share * train.autoencoder_max_epochs))
    if train.min_steps:
        cut["train.min_steps"] = int(share * train.min_steps)
    return cut


def _said(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in changes.items())


def plan_time(settings: Settings, limit: str | float | None, workdir: Path, log: Callable[[str], None]) -> Settings:
    """`fit_into`, if there is a limit; a run that goes on keeps what its first session has cut."""
    if limit is None:
        return settings
    seconds, recorded = seconds_of(limit), read_config(workdir)
    if recorded is None:
        return fit_into(settings, seconds, log)
    known = Settings.from_dict(recorded)
    log("The run goes on with the folds, epochs and sizes that it began with; another time limit needs another workdir.")
    kept = {"cv.folds": known.cv.folds} | {name: _value(known, name) for name in _EPOCHS}
    while (more := smaller(settings)) and any(_value(settings, name) != _value(known, name) for name in more):
        settings = configs.override(settings.to_dict(), more)
    return configs.override(settings.to_dict(), kept)


def _value(settings: Settings, name: str) -> Any:
    group, _, key = name.partition(".")
    return getattr(getattr(settings, group), key)
