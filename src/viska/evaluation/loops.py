"""The same said over and over: the typical failure of a decoder that has lost the sound."""

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST = 60
"""Units of the longest phrase whose repetition is looked for."""
COPIES = 3
SPAN = {"word": 6, "character": 12}
"""What counts: at least so many copies back to back, and so many units in all ("no, no, no" is speech)."""


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


def find_loops(text: Sequence[str], unit: str = "word") -> list[Loop]:
    """The loops in a text, by the shortest phrase that explains each, in order."""
    found: list[Loop] = []
    for length in range(1, min(LONGEST, len(text) // COPIES) + 1):
        for loop in _loops_of(text, length):
            span = loop.end - loop.start
            fresh = all(loop.end <= other.start or loop.start >= other.end for other in found)
            if loop.copies >= COPIES and span >= SPAN[unit] and fresh:
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
