"""Pre-trained word vectors from a text file, GloVe's or fastText's, and random ones."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from mmjax.data.data_report import DataReport
from mmjax.errors import DataError


def load_vectors(
    path: Path, words: Sequence[str], dim: int, report: DataReport | None = None
) -> tuple[Float[np.ndarray, "V E"], Bool[np.ndarray, " V"]]:
    """Vectors of `words` from a text file: `word n1 ... nE` a line (GloVe), or that after a line `count E` (fastText).

    A word is looked up as it is; failing that, the file's lower-cased words count. The first of several lines for a word wins.

    Args:
      path: the file; read line by line, so its size does not matter.
      words: V words.
      dim: E, numbers a word.
      report: told of malformed lines ('vectors_line'), which are skipped.

    Returns:
      vectors: float32 V x E, zero rows for words without a vector.
      found: bool V.

    Raises:
      DataError: no such file, no usable line, or vectors of another length.
    """
    path = Path(path)
    row_of = {word: i for i, word in enumerate(words)}
    vector_VxE = np.zeros((len(words), dim), np.float32)
    found_V, exact_V = np.zeros(len(words), bool), np.zeros(len(words), bool)
    good = 0
    for number, line in _lines(path, dim):
        word, numbers = _split(line, dim)
        if not numbers:
            _bad_line(report, path, number, line, f"expected a word and {dim} numbers")
            continue
        good += 1
        exact = word in row_of
        row = row_of.get(word if exact else word.lower(), -1)
        if row < 0 or exact_V[row] or (found_V[row] and not exact):
            continue
        try:
            with np.errstate(over="ignore"):  # beyond float32: inf, refused below
                parsed_E = np.array(numbers, np.float64).astype(np.float32)
        except ValueError:
            parsed_E = np.array([np.nan])
        if not np.isfinite(parsed_E).all():
            _bad_line(report, path, number, line, f"the {dim} numbers must be finite")
            continue
        vector_VxE[row], found_V[row], exact_V[row] = parsed_E, True, exact
    if not good:
        raise DataError(f"{path}: has no line with a word and {dim} numbers; is it a word vector file?")
    return vector_VxE, found_V


def check_vectors(path: Path, dim: int) -> None:
    """Opens a file of word vectors and looks at its first line.

    Raises:
      DataError: no such file, or vectors of another length.
    """
    next(_lines(Path(path), dim), None)


def random_vectors(words: Sequence[str], dim: int, *, seed: int, scale: float) -> Float[np.ndarray, "V E"]:
    """float32 V x E from U(-scale, scale); a word's vector depends on the word and the seed only, so folds agree on it."""
    out_VxE = np.empty((len(words), dim), np.float32)
    for i, word in enumerate(words):
        digest = hashlib.blake2b(f"{seed} {word}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        out_VxE[i] = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).uniform(-scale, scale, dim)
    return out_VxE


def _lines(path: Path, dim: int) -> Iterator[tuple[int, str]]:
    """Numbered lines without the fastText header and empty lines, once the file is known to have vectors of length `dim`."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as lines:
            for number, raw in enumerate(lines, 1):
                line = raw.rstrip("\r\n ")
                if number == 1:
                    fields = line.split(" ")
                    header = len(fields) == 2 and all(f.isdecimal() and len(f) < 12 for f in fields)
                    found = int(fields[1]) if header else len(fields) - 1
                    if found >= 1 and found != dim:
                        raise DataError(
                            f"{path}: has vectors of {found} numbers, but the model's embed_dim is {dim}; make them equal "
                            "(model.text.embed_dim) or use another file."
                        )
                    if header:
                        continue
                if line:
                    yield number, line
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check data.word_vectors.") from error


def _split(line: str, dim: int) -> tuple[str, list[str]]:
    """Word and its fields, from the right since a word may hold spaces; no fields where there are too few."""
    word, *numbers = line.rsplit(" ", dim)
    return (word, numbers) if len(numbers) == dim and word else ("", [])


def _bad_line(report: DataReport | None, path: Path, number: int, line: str, why: str) -> None:
    if report is not None:
        # The report counts rows from 0 and shows them from 1, so that this shows the line's number.
        report.add("vectors_line", file=str(path), row=number - 1, value=line[:80], action=f"line skipped: {why}")
