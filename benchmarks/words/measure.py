"""Figures of word times, pure: against another engine's, and against what is known to be true.

A word is (text, start, end), seconds.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from benchmarks.words.joined import Phrase

Word = tuple[str, float, float]

TOLERANCE_S = 0.02
ROUNDING_S = 1e-6
EDGE_S = 0.05  # a word that begins less than this before the speech is heard to begin with it


@dataclass(frozen=True)
class Agreement:
    """How many words two engines have alike, and how many of these at the same times."""

    words: int
    theirs: int
    alike: int
    same_times: int

    @property
    def share(self) -> float:
        """Of the words with the same text, those with the same times."""
        return self.same_times / self.alike if self.alike else 0.0


def agreement(theirs: Sequence[Word], ours: Sequence[Word]) -> Agreement:
    """Match the words by text, and count those whose start and end are both within the tolerance."""
    pairs = list(_matches([word[0] for word in theirs], [word[0] for word in ours]))
    near = TOLERANCE_S + ROUNDING_S
    same = sum(all(abs(theirs[i][side] - ours[j][side]) <= near for side in (1, 2)) for i, j in pairs)
    return Agreement(len(ours), len(theirs), len(pairs), same)


def total(agreements: Iterable[Agreement]) -> Agreement:
    """All recordings together."""
    rows = [(one.words, one.theirs, one.alike, one.same_times) for one in agreements]
    return Agreement(*map(sum, zip(*rows, strict=True))) if rows else Agreement(0, 0, 0, 0)


def boundary_errors(phrases: Sequence[Phrase], words: Sequence[Word]) -> dict[tuple[int, str], float]:
    """How far the first word of a phrase is from its start, and the last from its end: late is above 0.

    By number of the phrase and side. A phrase whose first (last) word was not heard has no such error.
    """
    expected = [(plain, number) for number, phrase in enumerate(phrases) for plain in _plain_words(phrase.text)]
    first, last = {}, {}
    for i, (_, number) in enumerate(expected):
        first.setdefault(number, i)
        last[number] = i
    heard = [("".join(_plain_words(text)), start, end) for text, start, end in words]
    found = dict(_matches([plain for plain, _ in expected], [plain for plain, _, _ in heard]))
    errors = {}
    for number, phrase in enumerate(phrases):
        if (j := found.get(first.get(number, -1))) is not None:
            errors[number, "start"] = heard[j][1] - phrase.start
        if (j := found.get(last.get(number, -1))) is not None:
            errors[number, "end"] = heard[j][2] - phrase.end
    return errors


def starts_in_silence(pauses: Iterable[tuple[float, float]], words: Sequence[Word]) -> int:
    """How many words begin within a pause, and not just before its end."""
    pauses = list(pauses)
    return sum(any(begin <= start < end - EDGE_S for begin, end in pauses) for _, start, _ in words)


def _matches(theirs: Sequence[str], ours: Sequence[str]) -> Iterable[tuple[int, int]]:
    for i, j, size in SequenceMatcher(None, theirs, ours, autojunk=False).get_matching_blocks():
        yield from ((i + step, j + step) for step in range(size))


def _plain_words(text: str) -> list[str]:
    """Lower case, no punctuation; words with a hyphen are two."""
    kept = [letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in text.lower().replace("'", "")]
    return "".join(kept).split()
