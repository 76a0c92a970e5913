"""Words of texts in any script, and encoders of before that keep theirs."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.data.data_report import DataReport
from mmjax.datasets.encoders import FoldEncoders, saved_reading
from mmjax.encoding.texts.numbered_texts import TextReader
from mmjax.encoding.texts.raw_texts import RawTextReader
from mmjax.encoding.texts.term_weights import count_terms
from mmjax.encoding.texts.tokens import words
from mmjax.modalities.base import TableContext
from tests.test_encoders import _dataset

OLD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("größer GRÖSSE Straße", "größer grösse straße"),
        ("Кошка, милый!", "кошка милый"),
        ("قطة لطيف", "قطة لطيف"),
        ("这只狗。iPhone手机", "这 只 狗 iphone 手 机"),
        ("カナ ひら", "カ ナ ひ ら"),
        ("ที่นี่", "ที่ นี่"),
        ("हिन्दी में", "हिन्दी में"),
        ("한국어 단어", "한국어 단어"),
        ("e\u0301te\u0301 \ufb01ne \uff46\uff55\uff4c\uff4c", "été fine full"),
        ("I don\u2019t \U0001f60d\U0001f60d it", "i don't \U0001f60d \U0001f60d it"),
        ("d\u200bog", "d og"),
        ("?!… — «»", ""),
    ],
)
def test_words_of_every_script(text: str, found: str):
    """Fails where a script has no words, a letter is lost, or a script without spaces is one word a sentence."""
    assert list(words(text)) == found.split()


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_english_words_are_what_they_were(text: str):
    """The paper's rows on synthetic data depend on it, with or without other letters beside."""
    assert list(words(text)) == list(words(text, 1)) == OLD.findall(text.lower())
    assert list(words(f"{text} 狗"))[:-1] == OLD.findall(text.lower())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_words(text: str):
    """No text is refused; every letter and digit is in a word."""
    found = list(words(text))
    assert all(found)
    assert bool(found) or not any(map(str.isalnum, text))


def _context(tmp_path, reading: int) -> TableContext:
    return TableContext("rows.csv", tmp_path, DataReport(), tmp_path, reading=reading)


@pytest.mark.parametrize(("reading", "text", "terms"), [(1, ["", "gr"], 3), (2, ["", "größer", "狗"], 3)])
def test_every_reader_of_texts_follows_the_reading(tmp_path, reading: int, text: list[str], terms: int):
    cells = {"t": ["größer 狗"]}
    readers = TextReader("t", 4, _context(tmp_path, reading)), RawTextReader.of(["t"], _context(tmp_path, reading))
    for reader in readers:
        reader.take(cells, 0)
    assert readers[0].finish(["0"]).words[: len(text)] == text
    counted = readers[1].finish(["0"]).counts(0, "word")
    assert counted.nnz == terms  # two words and their pair
    assert (counted != count_terms("word", cells["t"], reading)).nnz == 0


def test_encoders_of_before_keep_their_words(tmp_path):
    """A workdir that 0.2.0's first files describe is read with reading 1, and saved so again."""
    fitted = FoldEncoders.fit(_dataset(), np.array([0, 1]))
    (tmp_path / "fold_0").mkdir()
    path = tmp_path / "fold_0" / "encoders.json"
    fitted.save(path)
    assert (fitted.reading, saved_reading(tmp_path)) == (2, 2)
    values = json.loads(path.read_text())
    own = {name: values.pop(name) for name in fitted.encoders}
    path.write_text(json.dumps({**values, "version": 2, "encoders": own}))
    before = FoldEncoders.load(path)
    assert (before.reading, saved_reading(tmp_path)) == (1, 1)
    assert before.encoders == fitted.encoders
    before.save(path)
    assert FoldEncoders.load(path) == before
