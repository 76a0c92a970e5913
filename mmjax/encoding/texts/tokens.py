"""Words of a text in any script: the one tokeniser of every modality that reads texts."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

from mmjax.data.cells import READING

_ENGLISH = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_ALONE = (  # scripts that put no space between words: each character is a word
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_EMOJI = "\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"


def words(text: str, reading: int = READING) -> Iterator[str]:
    """Words in their order, in small letters; an emoji is a word.

    Lower case, not case folding: 'ß' stays, as files of word vectors have it.
    """
    text = text.lower()
    pattern = _ENGLISH
    if reading > 1 and not text.isascii():
        text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
        pattern = _any_script()
    return (found[0] for found in pattern.finditer(text))


@cache
def _any_script() -> re.Pattern[str]:
    """Of ASCII letters and digits it finds what `_ENGLISH` does; an accent or a vowel sign belongs to its letter."""
    marks = "".join(c for c in map(chr, range(0x300, 0x1F000)) if unicodedata.category(c)[0] == "M")
    mark = f"[{marks}]"
    letter, any_one = rf"(?:[^\W\d_{_ALONE}]{mark}*)", rf"(?:[^\W_{_ALONE}]{mark}*)"
    return re.compile(rf"[{_ALONE}](?<=\w){mark}*|{any_one}+(?:'{letter}+)?|[{_EMOJI}]")
