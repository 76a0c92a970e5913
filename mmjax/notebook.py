"""Where the Python API's progress goes: lines in a script, a bar that moves in a notebook, nothing if it is not wanted."""

import re
import sys

from mmjax.io.progress import RunLog, silent

_PERCENT = re.compile(r"(.*): (\d+) %, (.*)")


def make_log(verbose: bool | int) -> RunLog:
    """What shows a line: False or 0 nothing, True or 1 what matters, 2 plans and epochs too."""
    if not verbose:
        return RunLog(silent, verbose=False)
    ipython = sys.modules.get("IPython")
    if ipython is not None and hasattr(ipython.get_ipython(), "kernel"):
        return RunLog(_Bar(), verbose=verbose > 1, moves=True)
    from mmjax.train.execution import runtime  # noqa: PLC0415 - imports jax

    return RunLog(runtime.log, verbose=verbose > 1)


class _Bar:
    """Prints lines; those that say how many per cent of something are done move one bar each."""

    def __init__(self) -> None:
        self._shown: dict[str, object] = {}

    def __call__(self, line: str) -> None:
        from IPython import display  # noqa: PLC0415  # type: ignore[import-not-found] - only a notebook gets here

        found = _PERCENT.fullmatch(line)
        if not found:
            print(line, flush=True)
            return
        title, done, left = found[1], int(found[2]), found[3]
        text = {"text/plain": f"{title} [{'#' * (done // 4):<25}] {done} %, {left}"}
        if title not in self._shown:
            self._shown[title] = display.display(text, raw=True, display_id=True)
        else:
            self._shown[title].update(text, raw=True)  # type: ignore[attr-defined]
