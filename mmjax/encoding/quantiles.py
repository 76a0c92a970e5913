"""A number's place among the quantiles of its column: what `ops/piecewise.py` spreads over bins."""

import numpy as np
from jaxtyping import Float


def quantile_edges(known_N: Float[np.ndarray, " N"], bins: int) -> Float[np.ndarray, " E"]:
    """Edges of at most `bins` bins with as many values in each, values of the column themselves; at least two.

    Args:
      known_N: finite numbers.
      bins: equal edges are merged.
    """
    if not len(known_N):
        return np.array([0.0, 1.0])
    edges = np.unique(np.quantile(known_N, np.arange(bins + 1) / bins, method="inverted_cdf"))
    return edges if len(edges) > 1 else np.array([edges[0], edges[0] + 1])


def place_among(edges: tuple[float, ...], value_n: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Bins below a value, with the fraction of the bin it lies in; -1 where it is not finite."""
    half_E = np.asarray(edges) / 2  # halves: the width of a bin of huge values would overflow
    return np.where(np.isfinite(value_n), np.interp(value_n / 2, half_E, np.arange(len(half_E))), -1)
