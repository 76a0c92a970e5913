"""Copies of rows, long texts and photos: what lies on both sides of a fold is known by heart, not learnt."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Int, UInt64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mmjax.data.data_report import DataReport
from mmjax.data.hashing import GOLDEN, mix
from mmjax.encoding.base import Columns

TOGETHER = "duplicates"
"""What `config.cv.group` says to keep copies in one fold."""
_BY_CHANCE = 0.05
"""Other rows that agree with a row in every column by chance, from which on agreeing shows nothing."""

Copies = list[tuple[str, Int[np.ndarray, " N"]]]


def find_copies(columns: Mapping[str, Columns]) -> Copies:
    """Of each row the first row that it is a copy of, itself for most, by what is copied.

    A row is a copy where all that the model reads of it is equal, unless so few values are read that rows agree by chance.
    Besides, each modality says which of its values are equal in copies alone (`Columns.copies`).
    """
    copies: Copies = []
    whole_N: UInt64[np.ndarray, " N"] = np.zeros(1, np.uint64)
    for value_N in _values(columns):
        whole_N = mix(whole_N * GOLDEN + value_N)
    present = [part.present for part in columns.values()]
    first_N = _firsts(np.where(np.any(present, axis=0), whole_N, np.uint64(0))) if present else np.zeros(0, int)
    different = np.unique(first_N)
    if len(different) < len(first_N) and _by_chance(columns, different) < _BY_CHANCE:
        copies.append(("row", first_N))
    for part in columns.values():
        copies += [(what, _firsts(value_N)) for what, value_N in part.copies()]
    return copies


def _firsts(value_N: UInt64[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Of each row the first one with the same value; 0 is no value."""
    _, first, at_N = np.unique(value_N, return_index=True, return_inverse=True)
    return np.where(value_N == 0, np.arange(len(value_N)), first[at_N])


def _values(columns: Mapping[str, Columns]) -> Iterator[UInt64[np.ndarray, " N"]]:
    """64 bits a row of every column, once: several modalities may read it. Not kept, for a table may be long."""
    seen: set[str] = set()
    for part in columns.values():
        for name, value_N in part.fingerprints():
            if name not in seen:
                yield value_N
            seen.add(name)


def _by_chance(columns: Mapping[str, Columns], different: Int[np.ndarray, " n"]) -> float:
    """How many other rows would agree with one in every column if columns had nothing to do with each other.

    `different` are rows without their copies, which would make agreeing look likely.
    """
    agree = float(len(different))
    for value_N in _values(columns):
        counts = np.unique(value_N[different], return_counts=True)[1]
        agree *= float(np.sum((counts / len(different)) ** 2))
    return agree


def united(copies: Copies, rows: int) -> Int[np.ndarray, " N"]:
    """Group numbers: rows that copies join, through other rows too, have one; numbered in order of appearance."""
    joined = [(np.arange(rows), first_N) for _, first_N in copies] or [(np.arange(rows),) * 2]
    from_n, to_n = (np.concatenate(ends) for ends in zip(*joined, strict=True))
    graph = coo_matrix((np.ones(len(from_n), bool), (from_n, to_n)), shape=(rows, rows))
    group_N = connected_components(graph, directed=False)[1]
    _, first, at_N = np.unique(group_N, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[at_N].astype(np.int32)


def report_copies(copies: Copies, fold_N: Int[np.ndarray, " N"], report: DataReport, path: str) -> None:
    """Tells of each row that has a copy in another fold, by the first thing that is copied."""
    told_N = fold_N < 0
    for what, first_N in copies:
        rows = np.flatnonzero(fold_N >= 0)
        low_N, high_N = np.full(len(fold_N), len(fold_N)), np.full(len(fold_N), -1)
        np.minimum.at(low_N, first_N[rows], fold_N[rows])
        np.maximum.at(high_N, first_N[rows], fold_N[rows])
        for row in np.flatnonzero((low_N < high_N)[first_N] & ~told_N).tolist():
            of = f"as row {first_N[row] + 1}" if first_N[row] != row else "as a later row"
            action = f"a copy is in another fold, which flatters the scores: config.cv.group={TOGETHER} keeps copies together"
            report.add(f"duplicate_{what}", file=path, row=row, value=of, action=action, refuse=False)
            told_N[row] = True
