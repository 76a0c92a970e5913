"""Settings with which a run is finished in a given time: folds, epochs and sizes by timed steps; what is cut is said."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmjax import configs
from mmjax.config import Settings
from mmjax.errors import ConfigError
from mmjax.io.atomic import write_json
from mmjax.io.progress import duration
from mmjax.io.workdir import TIME_LIMIT, Workdir, read_config, read_json
from mmjax.train.budget.estimate import TimeEstimate, estimate_time
from mmjax.train.shorter import smaller

_SHARE = 0.7
"""Of the time that is planned for training; the rest is for predictions, the report, and for what comes slower than timed."""
_ENOUGH = 0.5
"""Share of the epochs below which something else is made smaller first."""


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


def plan_time(settings: Settings, limit: str | float | None, workdir: Path, log: Callable[[str], None]) -> Settings:
    """`fit_into`, if there is a limit; a run that goes on keeps what its first session has cut, with or without a limit.

    Raises:
      MmjaxError: as a run would.
    """
    if (recorded := read_config(workdir)) is not None:
        return _as_begun(settings, recorded, workdir, log)
    if limit is None:
        return settings
    found = fit_into(settings, seconds_of(limit), log)
    asked, cut = _changed(settings, found)
    folder = Workdir(workdir)
    with folder.lock():  # refuses a folder of other things before anything is written there
        write_json(folder.path / TIME_LIMIT, {"limit": str(limit), "asked": asked, "cut": cut})
    return found


def _as_begun(settings: Settings, recorded: dict[str, Any], workdir: Path, log: Callable[[str], None]) -> Settings:
    """The settings with what was cut; a value that the first session was not asked for stays, and is refused by name."""
    file, before, now = workdir / TIME_LIMIT, _flat(recorded), _flat(_plain(settings))
    known = read_json(file, dict) if file.exists() else {}
    asked, cut = known.get("asked", {}), known.get("cut", {})
    same = {name: value for name, value in cut.items() if now.get(name) == asked.get(name) and before.get(name) == value}
    if same:
        log(f"The run goes on as its time limit of {known['limit']} cut it: {_said(same)}. For another, take another workdir.")
    return configs.override(settings.to_dict(), same)


def _changed(before: Settings, after: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of the settings that differ, by dotted name, before and after."""
    flat = [_flat(_plain(settings)) for settings in (before, after)]
    names = [name for name in flat[0] if flat[0][name] != flat[1][name]]
    return {name: flat[0][name] for name in names}, {name: flat[1][name] for name in names}


def _plain(settings: Settings) -> dict[str, Any]:
    """As JSON has them: lists in place of tuples."""
    return json.loads(json.dumps(settings.to_dict()))


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return out


def _said(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in changes.items())
