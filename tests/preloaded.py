"""What tests/forked.py imports once: all that a training run needs."""

import pytest  # noqa: F401
import sklearn.model_selection  # noqa: F401
import tensorboard.summary.writer.record_writer  # noqa: F401

import mmjax.commands.train
import mmjax.train.crossval
import mmjax.train.results
import mmjax.train.runtime  # noqa: F401
