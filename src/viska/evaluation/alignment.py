"""Which unit of a hypothesis stands for which of the reference, with as few edits as can be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

Kind = Literal["hit", "substitution", "deletion", "insertion", "free"]

LOST_RUN = {"word": 3, "character": 6}
"""From how many missing units on speech counts as lost: three words, and as much in scripts without spaces."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Indices into reference and hypothesis; None on one side for a deletion, an insertion, or text at a free end."""

    kind: Kind
    reference: int | None
    hypothesis: int | None


@dataclass(frozen=True, slots=True)
class Gap:
    """What lies between two hits: the indices of units of the reference and of the hypothesis."""

    reference: tuple[int, ...]
    hypothesis: tuple[int, ...]

    @property
    def surplus(self) -> int:
        """By how many units the reference is longer."""
        return len(self.reference) - len(self.hypothesis)


def align(reference: Sequence[str], hypothesis: Sequence[str], *, free_ends: bool = False) -> list[Pair]:
    """The pairs of an alignment with the fewest edits (Levenshtein distance), in order.

    With `free_ends` the hypothesis may have more before and behind the reference at no cost, as kind "free".
    """
    start, end = best_fit(reference, hypothesis) if free_ends else (0, len(hypothesis))
    pairs = [Pair("free", None, i) for i in range(start)]
    pairs += _pairs(reference, hypothesis[start:end], start)
    return pairs + [Pair("free", None, i) for i in range(end, len(hypothesis))]


def _pairs(reference: Sequence[str], hypothesis: Sequence[str], offset: int) -> Iterator[Pair]:
    for block in Levenshtein.opcodes(reference, hypothesis):
        said = range(block.src_start, block.src_end)
        heard = range(offset + block.dest_start, offset + block.dest_end)
        if block.tag == "delete":
            yield from (Pair("deletion", i, None) for i in said)
        elif block.tag == "insert":
            yield from (Pair("insertion", None, j) for j in heard)
        else:
            kind: Kind = "hit" if block.tag == "equal" else "substitution"
            yield from (Pair(kind, i, j) for i, j in zip(said, heard, strict=True))


def best_fit(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int]:
    """The part [start, end) of the hypothesis that is nearest to the reference; of equals the longest.

    Sellers (1980), "The theory and computation of evolutionary distances". Takes memory of the hypothesis' length.
    """
    ids: dict[str, int] = {}
    codes = [np.array([ids.setdefault(unit, len(ids)) for unit in text]) for text in (reference, hypothesis)]
    distances = _distances_to_ends(*codes)
    end = len(distances) - 1 - int(np.argmin(distances[::-1]))
    backwards = _distances_to_ends(codes[0][::-1], codes[1][:end][::-1], anchored=True)
    length = end - int(np.argmin(backwards[::-1]))
    return end - length, end


def _distances_to_ends(
    reference: NDArray[np.int64], hypothesis: NDArray[np.int64], *, anchored: bool = False
) -> NDArray[np.int64]:
    """For each end of the hypothesis the edits from the reference to what lies before it, from wherever that is best.

    `anchored` fixes the beginning of the hypothesis.
    """
    places = np.arange(len(hypothesis) + 1)
    row = places.copy() if anchored else np.zeros_like(places)
    for i, unit in enumerate(reference, start=1):
        before, row = row, np.empty_like(row)
        row[0] = i
        row[1:] = np.minimum(before[:-1] + (hypothesis != unit), before[1:] + 1)
        # An insertion is one more than its left neighbour: the least of all of them at once.
        row = np.minimum.accumulate(row - places) + places
    return row


def gaps(pairs: Sequence[Pair]) -> Iterator[Gap]:
    """What was not heard as it was said, between the hits; free ends belong to no gap.

    How substitutions lie among deletions differs between equally good alignments; how long a gap is does not.
    """
    reference: list[int] = []
    hypothesis: list[int] = []
    for pair in [*pairs, None]:
        if pair is not None and pair.kind == "free":
            continue
        if pair is None or pair.kind == "hit":
            if reference or hypothesis:
                yield Gap(tuple(reference), tuple(hypothesis))
            reference, hypothesis = [], []
            continue
        reference += [pair.reference] if pair.reference is not None else []
        hypothesis += [pair.hypothesis] if pair.hypothesis is not None else []
