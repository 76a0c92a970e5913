"""What tests/forked.py imports once: all that a training run needs."""

import pytest  # noqa: F401
import sklearn.model_selection  # noqa: F401
import tensorboard.summary.writer.record_writer  # noqa: F401

import mmjax.cli.reproduce_command
import mmjax.cli.train_command
import mmjax.io.results
import mmjax.reproduce.table_report
import mmjax.train.cross_validation
import mmjax.train.execution.runtime  # noqa: F401
