"""The same said over and over: the typical failure of a decoder that has lost the sound."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from viska.evaluation.units import stands_alone

LONGEST = 60
"""Units of the longest phrase whose repetition is looked for."""
COPIES = 3
SPAN = 6
"""What counts: at least so many copies back to back, and so many words in all ("no, no, no" is speech)."""
CHARACTERS_A_WORD = 2
"""In scripts without spaces."""


@dataclass(frozen=True, slots=True)
class Loop:
    """The units [start, end) repeat a phrase of `length` units."""

    start: int
    end: int
    length: int

    @property
    def copies(self) -> int:
        """How often the phrase stands there whole."""
        return (self.end - self.start) // self.length

    def phrase(self, text: Sequence[str]) -> tuple[str, ...]:
        """What is repeated in that text, the same from whichever of its units the loop begins with."""
        once = tuple(text[self.start : self.start + self.length])
        return min(once[i:] + once[:i] for i in range(self.length))


def loops_made_up(said: Sequence[str], heard: Sequence[str]) -> list[Loop]:
    """The loops in what was heard whose phrase was not said as often, in order.

    Copies are counted over all loops of a phrase, since one missed word makes two loops of one.
    """
    left = Counter[tuple[str, ...]]()
    for loop in find_loops(said):
        left[loop.phrase(said)] += loop.copies
    found = []
    for loop in find_loops(heard):
        phrase = loop.phrase(heard)
        if loop.copies > left[phrase]:
            found.append(loop)
        else:
            left[phrase] -= loop.copies
    return found


def find_loops(text: Sequence[str]) -> list[Loop]:
    """The loops in units of whatever script, by the shortest phrase that explains each, in order."""
    found: list[Loop] = []
    for length in range(1, min(LONGEST, len(text) // COPIES) + 1):
        for loop in _loops_of(text, length):
            fresh = all(loop.end <= other.start or loop.start >= other.end for other in found)
            if loop.copies >= COPIES and fresh and _words(text[loop.start : loop.end]) >= SPAN:
                found.append(loop)
    return sorted(found, key=lambda loop: loop.start)


def _loops_of(text: Sequence[str], length: int) -> list[Loop]:
    """Every stretch in which each unit is the one `length` units before it."""
    found, start = [], 0
    for i in range(length, len(text) + 1):
        if i == len(text) or text[i] != text[i - length]:
            if i - start > length:
                found.append(Loop(start, i, length))
            start = i - length + 1
    return found


def _words(units: Sequence[str]) -> float:
    """How many words some units are worth."""
    return sum(1 / CHARACTERS_A_WORD if stands_alone(unit) else 1 for unit in units)
