"""Shapley values (Shapley 1953): how much of a prediction each modality of a row gives it."""

import itertools
from math import factorial

import numpy as np
from jaxtyping import Bool, Float

EXACT = 10
"""Most modalities for which all 2^M sets are asked; of more, sets along drawn orders."""
_ORDERS = 128


def coalitions(players: int, seed: int = 0) -> tuple[Bool[np.ndarray, "S M"], Float[np.ndarray, "M S"]]:
    """Sets to ask a value of, and what to weigh the values with.

    Exact for up to `EXACT` modalities; beyond, the mean over drawn orders (Castro et al. 2009), each with its reverse. Either
    way the values add up to that of the whole set minus that of the empty one.

    Args:
      players: M.
      seed: of the orders.

    Returns:
      keep_SxM: the sets; the first is empty, the last is whole.
      weight_MxS: `weight_MxS @ value_S` are the Shapley values.
    """
    if players <= EXACT:
        keep_SxM = np.array(sorted(itertools.product((False, True), repeat=players), key=sum), bool)
        size_S = keep_SxM.sum(axis=1)
        share = [factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)]
        joins_S, stays_S = np.array([0, *share])[size_S], -np.array([*share, 0])[size_S]
        return keep_SxM, np.where(keep_SxM, joins_S[:, None], stays_S[:, None]).T
    draw = np.random.default_rng(seed)
    orders = [order for _ in range(_ORDERS // 2) for order in (draw.permutation(players),) * 2]
    orders[1::2] = [order[::-1] for order in orders[1::2]]
    number: dict[bytes, int] = {}
    sets, steps = [], []
    for order in orders:
        prefixes = np.tri(players + 1, players, -1, bool)[:, np.argsort(order)]
        at = []
        for kept_M in prefixes:
            if kept_M.tobytes() not in number:
                number[kept_M.tobytes()] = len(sets)
                sets.append(kept_M)
            at.append(number[kept_M.tobytes()])
        steps += [(player, before, after) for player, before, after in zip(order, at[:-1], at[1:], strict=True)]
    by_size = np.argsort([kept_M.sum() for kept_M in sets], kind="stable")
    weight_MxS = np.zeros((players, len(sets)))
    for player, before, after in steps:
        weight_MxS[player, before] -= 1 / len(orders)
        weight_MxS[player, after] += 1 / len(orders)
    return np.array(sets)[by_size], weight_MxS[:, by_size]
