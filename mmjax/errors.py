"""Errors a person can act on: one sentence that says what was wrong, where, and what to do.

The command line prints the sentence and exits with `exit_code`; a traceback is shown with `--debug` only.
"""


class MmjaxError(Exception):
    """Base class of every error mmjax raises on purpose."""

    exit_code = 2


class ConfigError(MmjaxError):
    """A config value is unknown, of the wrong type, or contradicts another."""


class SchemaError(MmjaxError):
    """A schema file is malformed or does not fit the table."""


class DataError(MmjaxError):
    """A table, image or vector file cannot be used; names file, row, column and value where it can."""


class CheckpointError(MmjaxError):
    """A checkpoint is damaged, tampered with, or belongs to another config."""


class WorkdirError(MmjaxError):
    """The workdir is in use, read-only, full, or belongs to another config."""


class NonFiniteError(MmjaxError):
    """A loss or gradient stopped being finite; names fold, step and row ids."""


class Interrupted(MmjaxError):
    """SIGTERM or SIGINT arrived; the same command goes on from what was saved.

    Attributes:
      saved: the message says where a checkpoint was just written; of several, this is the one to show.
    """

    exit_code = 75  # EX_TEMPFAIL: try the same command again

    def __init__(self, message: str, *, saved: bool = False):
        super().__init__(message)
        self.saved = saved
