"""The paper's two tables: which config each row is, and what the paper printed."""

from dataclasses import dataclass

METRIC = {"table1": "accuracy", "table2": "mse_image"}
"""The number each table compares."""
DIRECTION = {"accuracy": 1, "mse_image": -1}
"""1 where a higher value is better, -1 where a lower one is."""


@dataclass(frozen=True)
class PaperRow:
    """One row.

    Attributes:
      number: as printed; Table 2's rows have no number there and are counted from the top.
      config: name of its config, with what goes before the data set's name after the colon.
      inputs: what the model sees, for people.
      fusion: for people.
      value: the paper's mean over five folds on PetFinder: accuracy as a fraction, or mean squared error on [0, 1] pixels.
      std: the paper's standard deviation over folds; None where none is printed.
    """

    number: int
    config: str
    inputs: str
    fusion: str
    value: float
    std: float | None = None

    def config_file(self, variant: str) -> str:
        """`file.py:variant` for a data set's variant (mmjax/configs/base.py)."""
        name, _, argument = self.config.partition(":")
        return f"{name}.py:{argument},{variant}" if argument else f"{name}.py:{variant}"


_ALL = "tabular + text + image"
_T1 = [  # paper, Table 1: accuracy, five folds of PetFinder
    PaperRow(1, "tabular", "tabular", "-", 0.36729, 0.0061),
    PaperRow(2, "text", "text", "-", 0.29403, 0.0032),
    PaperRow(3, "image", "image", "-", 0.29252, 0.0031),
    PaperRow(4, "concat", _ALL, "concatenate", 0.37080, 0.0055),
    PaperRow(5, "concat_discretized", f"{_ALL}, discretized", "concatenate", 0.37152, 0.0020),
    PaperRow(6, "attention", _ALL, "attention", 0.37381, 0.0035),
    PaperRow(7, "ae_attention", f"{_ALL} + AE", "attention", 0.37582, 0.0032),
    PaperRow(8, "mmae_attention", f"{_ALL} + MMAE", "attention", 0.37883, 0.0037),
]
_T2 = [  # paper, Table 2: mean squared error of the reconstructed photo on [0, 1] pixels
    PaperRow(1, "mmae:image", "image", "MMAE", 0.03786),
    PaperRow(2, "mmae:image+tabular", "image + tabular", "MMAE", 0.03557),
    PaperRow(3, "mmae:image+tabular+text", "image + tabular + text", "MMAE", 0.03468),
]
TABLES: dict[str, list[PaperRow]] = {"table1": _T1, "table2": _T2}
