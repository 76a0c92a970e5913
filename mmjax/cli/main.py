"""The command line: `mmjax train | evaluate | report | compare | predict | explain | reproduce | schema | inspect`.

An error mmjax raises on purpose is one sentence and its exit code; `--debug` shows the traceback.
"""

import importlib
import os
import signal
import sys
from collections.abc import Sequence

from mmjax import __version__
from mmjax.errors import ConfigError, Interrupted, MmjaxError

COMMANDS = {
    "train": ("mmjax.cli.train_command", "trains and cross-validates a config; goes on with an existing workdir"),
    "evaluate": ("mmjax.cli.evaluate_command", "restores every fold and scores its held-out rows, or a labelled table"),
    "report": ("mmjax.cli.report_command", "writes report.html: scores, plots and rows of a workdir on one page"),
    "compare": ("mmjax.cli.compare_command", "several runs on the same folds in one table, with a paired test"),
    "predict": ("mmjax.cli.predict_command", "one output row per input row, by the ensemble of the folds"),
    "explain": ("mmjax.cli.explain_command", "what each modality, cell, word and photo adds to the predictions of a table"),
    "reproduce": ("mmjax.cli.reproduce_command", "runs the rows of the paper's Table 1 or 2 and compares"),
    "schema": ("mmjax.cli.schema_command", "proposes a schema for a table and says why"),
    "inspect": ("mmjax.cli.inspect_command", "parameters, FLOPs and memory of a config, before anything is trained"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code: 0, 2 for an error a person can fix, 75 for a run to start again."""
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is caught
    except BrokenPipeError:  # `mmjax train --help | head`: head has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at its end
        return 128 + signal.SIGPIPE


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print("usage: mmjax COMMAND [options]   (mmjax COMMAND --help)\n")
        print("\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()))
        return 0 if arguments else 2
    if arguments[0] in ("--version", "version"):
        print(f"mmjax {__version__}")
        return 0
    try:
        if arguments[0] not in COMMANDS:
            raise ConfigError(f"{arguments[0]!r} is not a command; use one of {', '.join(COMMANDS)}.")
        return importlib.import_module(COMMANDS[arguments[0]][0]).main(arguments[1:]) or 0
    except MmjaxError as error:
        if debug:
            raise
        print(f"mmjax: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # where nothing is trained, nothing needs saving
        print("mmjax: stopped by the keyboard; nothing half-written is left.", file=sys.stderr)
        return Interrupted.exit_code


def entry(argv: Sequence[str] | None = None) -> int:
    """The console script: `main`, then out of the process even while steps are still being compiled."""
    code = main(argv)
    compiling = sys.modules.get("mmjax.train.execution.compile")  # what has not imported it compiles nothing, and needs no jax
    return compiling.leave(code) if compiling else code


if __name__ == "__main__":
    sys.exit(entry())
