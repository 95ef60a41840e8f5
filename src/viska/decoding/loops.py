"""Text that goes round in circles: the same run of tokens back to back, which a decoder never leaves by itself."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

COPIES = 4
"""What is said three times in a row may be meant so."""
LEAST_TOKENS = 24
"""Of all copies together: "no, no, no, no" is speech."""
LONGEST_TOKENS = 50
"""Of one copy: four of them fill all that a window may say."""
REPEATS, LEAST_REPEATED = 3, 6
"""Copies, and tokens of all of them, that may be meant so and may be the beginning or the rest of a loop."""


@dataclass(frozen=True, slots=True)
class Loop:
    """The tokens [start, end) of a text repeat the first `length` of them."""

    start: int
    end: int
    length: int


def ends_in_loop(text: Sequence[int]) -> bool:
    """Whether the last of these text tokens are one run over and over, at least `COPIES` times."""
    for length in range(1, min(LONGEST_TOKENS, len(text) // COPIES) + 1):
        span = max(COPIES * length, LEAST_TOKENS)
        if len(text) >= span and text[-1] == text[-1 - length] and text[-span + length :] == text[-span:-length]:
            return True
    return False


def find_loops(text: Sequence[Hashable], copies: int = COPIES, least: int = LEAST_TOKENS) -> list[Loop]:
    """The loops in text tokens, in order, each by the shortest run that explains it; they do not overlap.

    They have so many copies, and `least` tokens in all.
    """
    found: list[Loop] = []
    for length in range(1, min(LONGEST_TOKENS, len(text) // copies) + 1):
        for start, end in _periodic(text, length):
            apart = all(end <= other.start or start >= other.end for other in found)
            if apart and end - start >= max(copies * length, least):
                found.append(Loop(start, end, length))
    return sorted(found, key=lambda loop: loop.start)


def _periodic(text: Sequence[Hashable], length: int) -> Iterator[tuple[int, int]]:
    """The longest stretches in which each token is the one `length` before it."""
    start = 0
    for i in range(length, len(text) + 1):
        if i == len(text) or text[i] != text[i - length]:
            if i - start > length:
                yield start, i
            start = i - length + 1
