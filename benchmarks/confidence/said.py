"""Whether a word that was heard was said, however it is written.

An error rate counts what differs in writing. A confidence is about what was heard: "wood cutters" is not wrong for
"woodcutters", nor "Etats" for "États", nor "one two" for "12"; and whether "17" is right for "dix-sept" nobody can tell
who cannot spell numbers in French.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby

from rapidfuzz.distance import Levenshtein

from viska.evaluation.alignment import align
from viska.evaluation.manifest import Clip
from viska.evaluation.units import owners, units
from viska.transcription.spelling import ACCENTS

BRACKETS = str.maketrans(dict.fromkeys("()[]<>{}", " "))
"""Whisper's normalisation drops what stands in them, and may find one of a pair only."""


def judged(clip: Clip, text: str, words: Sequence[str]) -> dict[int, bool]:
    """By the number of each word of a text whether it was said; without those of which this cannot be told.

    Not told of are words without letters, those behind a free end of the reference, and numbers that one side spells
    and the other does not, in languages whose numbers Whisper's normalisation does not know.
    """
    if clip.silent:
        return {number: False for number, word in enumerate(words) if units(word, None)}
    reference = _units(clip.reference or "", clip.language)
    heard = _units(text, clip.language)
    pairs = align(reference, heard, free_ends=clip.free_ends)
    sources = owners([word.translate(BRACKETS) for word in words], heard, clip.language)
    found = defaultdict(list)
    for kind, group in groupby(pairs, key=lambda pair: pair.kind if pair.kind in ("hit", "free") else "other"):
        stretch = list(group)
        there = [pair.hypothesis for pair in stretch if pair.hypothesis is not None]
        verdicts: Sequence[bool | None] = [True if kind == "hit" else None] * len(there)
        if kind == "other":
            missed = [reference[pair.reference] for pair in stretch if pair.reference is not None]
            verdicts = list(_compare(missed, [heard[place] for place in there], clip.language))
        for place, verdict in zip(there, verdicts, strict=True):
            found[sources[place]].append(verdict)
    return {
        number: all(verdicts)
        for number, verdicts in sorted((n, v) for n, v in found.items() if n is not None)
        if None not in verdicts
    }


def _units(text: str, language: str | None) -> list[str]:
    plain = units(text.translate(BRACKETS), language)
    return ["".join(c for c in unicodedata.normalize("NFKD", unit) if ord(c) not in ACCENTS) for unit in plain]


def _compare(said: Sequence[str], heard: Sequence[str], language: str | None) -> Iterator[bool | None]:
    """Of each unit heard whether it is right, where all of these stand for all of those, and no two are the same."""
    digits_said, digits_heard = (["1" if unit == "one" else unit for unit in side] for side in (said, heard))
    together, apart = "".join(digits_said), "".join(digits_heard)
    if together == apart:
        yield from [True] * len(heard)
    elif together.isdigit() and apart.isdigit():
        yield from _compare_digits(together, digits_heard)
    elif language != "en" and said and _has_digits(together) != _has_digits(apart):
        yield from [None] * len(heard)
    else:
        yield from [False] * len(heard)


def _compare_digits(said: str, heard: Sequence[str]) -> Iterator[bool]:
    """Of each number whether all of its digits were said."""
    blocks = [block for block in Levenshtein.opcodes(said, "".join(heard)) if block.tag == "equal"]
    right = {place for block in blocks for place in range(block.dest_start, block.dest_end)}
    start = 0
    for number in heard:
        yield right.issuperset(range(start, start + len(number)))
        start += len(number)


def _has_digits(text: str) -> bool:
    return any(letter.isdigit() for letter in text)
