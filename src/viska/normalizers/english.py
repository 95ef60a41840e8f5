"""Normalization of English text: contractions, titles, numbers, spelling."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from viska.normalizers._rules import rules

_english: Any = rules("english")

_LONGEST = 4000
"""Characters of a word that may be a number. Python refuses to turn more than 4300 digits into an int."""

_BEYOND_WHISPER = ("kinda", "sorta", "dunno", "cause")
"""Words that whisper-normalizer replaces and openai/whisper does not; word error rates would not compare."""


class EnglishNumberNormalizer(_english.EnglishNumberNormalizer):  # type: ignore[misc]  # the package has no types
    """Spelled-out numbers in digits, with their currency, percent and ordinal signs: "two pounds" is "£2".

    Expects lower case. A word too long to be a number stays as it is.
    """

    def process_words(self, words: list[str]) -> Iterator[str]:
        """The words, with those that make up a number as one."""
        for overlong, run in groupby(words, lambda word: len(word) > _LONGEST):
            part = list(run)
            yield from part if overlong else super().process_words(part)

    def __call__(self, s: str) -> str:
        """The text with its numbers in digits."""
        return str(super().__call__(s))


class EnglishSpellingNormalizer(_english.EnglishSpellingNormalizer):  # type: ignore[misc]  # as above
    """British spellings in American ones: "colour" is "color". `mapping` has them all, in lower case."""

    def __call__(self, s: str) -> str:
        """The text with American spellings."""
        return str(super().__call__(s))


class EnglishTextNormalizer(_english.EnglishTextNormalizer):  # type: ignore[misc]  # as above
    """English as Whisper's evaluation has it: no fillers or brackets, one form of numbers, spelling, contractions."""

    def __init__(self) -> None:
        super().__init__()
        for word in _BEYOND_WHISPER:
            self.replacers.pop(rf"\b{word}\b", None)
        self.standardize_numbers = EnglishNumberNormalizer()
        self.standardize_spellings = EnglishSpellingNormalizer()

    def __call__(self, s: str) -> str:
        """The normalized text; a space may remain at its ends."""
        return str(super().__call__(s))
