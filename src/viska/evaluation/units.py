"""Text as the units that are counted: words, or characters in scripts without spaces, after Whisper's normalisation.

Radford et al. (2022), section 4.1 and appendix C.
"""

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal

from rapidfuzz.distance import Levenshtein

from viska.normalizers import BasicTextNormalizer, EnglishTextNormalizer

Unit = Literal["word", "character"]

WITHOUT_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "my"})
"""Languages that are scored by characters."""

_ALONE = "\u0e00-\u0eff\u1000-\u109f\u3040-\u9fff\U00020000-\U00031fff"
_CHARACTER = re.compile(f"[{_ALONE}]")
"""Of a script without spaces: Thai to Lao, Myanmar, kana and ideographs."""
_PIECE = re.compile(f"[{_ALONE}]|[^{_ALONE}]+")
"""One of these, or all between two of them."""

APOSTROPHES = str.maketrans(dict.fromkeys("\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}", "'"))


def unit_of(language: str | None) -> Unit:
    """What is counted in a language."""
    return "character" if language in WITHOUT_SPACES else "word"


def units(text: str, language: str | None) -> list[str]:
    """The normalised units of a text in a language; None and "mul" are normalised as any language but English.

    An apostrophe is one however it is set: Whisper's normalisation takes a curly one for a space.
    """
    normalise = _normaliser("en" if language == "en" else unit_of(language))
    return normalise(text.translate(APOSTROPHES)).split()


@cache
def _normaliser(name: str) -> BasicTextNormalizer | EnglishTextNormalizer:
    return EnglishTextNormalizer() if name == "en" else BasicTextNormalizer(split_letters=name == "character")


@lru_cache(maxsize=65536)
def _piece_units(text: str, language: str | None) -> tuple[str, ...]:
    return tuple(units(text, language))


def units_of_any_script(text: str, language: str | None = None) -> list[str]:
    """The normalised words of a text, and the characters of scripts without spaces, whatever its language."""
    words = units(text, "en" if language == "en" else None)
    return [piece for word in words for piece in _PIECE.findall(word)]


def invented_words(text: str) -> int:
    """How many words a text has, in whatever script; characters of scripts without spaces count one each."""
    words = units(text, None)
    return sum(max(1, sum(map(stands_alone, word))) for word in words)


def stands_alone(unit: str) -> bool:
    """Whether a unit is a character of a script without spaces."""
    return _CHARACTER.match(unit) is not None


def owners(pieces: Sequence[str], whole: Sequence[str], language: str | None) -> list[int | None]:
    """For each unit of a whole text the piece (word, segment) that it comes from.

    Normalising the whole may join or drop what the pieces have apart ("twenty five" is 25), so both are aligned; units
    that differ belong to the pieces in their place, in order. None only where the pieces have no units at all.
    """
    single = [(unit, i) for i, piece in enumerate(pieces) for unit in _piece_units(piece, language)]
    found: list[int | None] = []
    for block in Levenshtein.opcodes([unit for unit, _ in single], whole):
        step = int(block.src_end > block.src_start)  # blocks that stand for others are as long as those
        for k in range(block.dest_end - block.dest_start):
            place = min(block.src_start + k * step, len(single) - 1)
            found.append(single[place][1] if single else None)
    return found
