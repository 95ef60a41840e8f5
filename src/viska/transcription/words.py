"""Words into segments: durations that attention alone gets wrong are mended, segments and words made to agree.

Attention finds where a word begins better than where it ends, and stretches words over the pauses around them. So words
at the end of a sentence and behind a pause are held to a length that is plausible in their window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from viska.result import Segment, Word
from viska.timing import WordTiming

LONGEST_MEDIAN_S = 0.7
SENTENCE_END_MARKS = ".。!！?？"  # noqa: RUF001  # full-width marks
PAUSE_IN_MEDIANS = 4  # silence of so many words before a word is a pause
SQUEEZED = 2  # words without any time at the end of a text: it goes on behind the time that it was given
TOLERANCE_S = 0.5  # by which a segment's own time must differ from its word's to be believed over it


@dataclass(frozen=True)
class Pace:
    """How long words are in a window: the typical length, and the longest that is plausible, in seconds."""

    median_s: float
    longest_s: float


def pace_of(alignment: Sequence[WordTiming]) -> Pace | None:
    """The pace of a window's words; None where no word takes any time."""
    durations = [timing.end - timing.start for timing in alignment if timing.end != timing.start]
    if not durations:
        return None
    median = min(LONGEST_MEDIAN_S, float(np.median(durations)))
    return Pace(median, 2 * median)


def is_squeezed(alignment: Sequence[WordTiming]) -> bool:
    """Whether the last words of a text take no time, since they are said behind what was read for it."""
    words = [timing for timing in alignment if timing.tokens][-SQUEEZED:]
    return len(words) == SQUEEZED and all(timing.end == timing.start for timing in words)


def shorten_at_sentence_ends(alignment: Sequence[WordTiming], pace: Pace) -> None:
    """Take from an overlong mark what follows it, and from an overlong word behind a mark what precedes it."""
    for before, timing in pairwise(alignment):
        if timing.end - timing.start <= pace.longest_s:
            continue
        if timing.word in SENTENCE_END_MARKS:
            timing.end = timing.start + pace.longest_s
        elif before.word in SENTENCE_END_MARKS:
            timing.start = timing.end - pace.longest_s


def place_words(
    segments: Sequence[Segment],
    n_tokens: Sequence[int],
    alignment: Sequence[WordTiming],
    pace: Pace | None,
    *,
    offset_s: float,
    last_speech_s: float,
    settle: bool = False,
) -> list[Segment]:
    """The segments of a window with their words, and with the times that these give them.

    `n_tokens` are the text tokens of each segment, which the words of `alignment` cover in this order; `offset_s` is
    where the window begins, `last_speech_s` where the last word before it ended. Where a word or a mark reaches over
    the end of its segment, `settle` counts its tokens there against the next one; without, as in openai/whisper, that
    one makes up for them with a word of the segment behind it.
    """
    pace = pace or Pace(0.0, 0.0)
    placed = []
    remaining = iter(alignment)
    owed = 0
    for segment, n_own in zip(segments, n_tokens, strict=True):
        owed = n_own + min(owed, 0) if settle else n_own
        words, n_taken = _take(remaining, owed, offset_s)
        owed -= n_taken
        if words:
            words = _behind_a_pause(words, pace, last_speech_s)
            segment, words = _agree_on_start(segment, words, pace)
            segment, words = _agree_on_end(segment, words, pace)
            last_speech_s = segment.end
        placed.append(replace(segment, words=tuple(words)))
    return placed


def _take(remaining: Iterator[WordTiming], n_tokens: int, offset_s: float) -> tuple[list[Word], int]:
    """The next words, until these cover as many tokens, and how many they cover; moved marks are passed over."""
    words: list[Word] = []
    covered = 0
    while covered < n_tokens and (timing := next(remaining, None)) is not None:
        if timing.word:
            start, end = round(offset_s + timing.start, 2), round(offset_s + timing.end, 2)
            words.append(Word(timing.word, start, end, timing.probability, timing.confidence))
        covered += len(timing.tokens)
    return words, covered


def _behind_a_pause(words: list[Word], pace: Pace, last_speech_s: float) -> list[Word]:
    """Shorten the first word, and the second, where they are stretched over the pause before them."""
    first, second = words[0], words[1] if len(words) > 1 else None
    if first.end - last_speech_s <= PAUSE_IN_MEDIANS * pace.median_s:
        return words
    stretched = first.end - first.start > pace.longest_s
    if not stretched and (second is None or second.end - first.start <= 2 * pace.longest_s):
        return words
    if second is not None and second.end - second.start > pace.longest_s:
        # Half of an absolute time makes sense only near the start of a recording, but it is what openai/whisper takes.
        boundary = max(second.end / 2, second.end - pace.longest_s)
        first, second = replace(first, end=boundary), replace(second, start=boundary)
    first = replace(first, start=max(0, first.end - pace.longest_s))
    return [first, *([second] if second is not None else []), *words[2:]]


def _agree_on_start(segment: Segment, words: list[Word], pace: Pace) -> tuple[Segment, list[Word]]:
    """The segment begins with its first word, unless that begins long before the segment's own time."""
    first = words[0]
    if segment.start < first.end and segment.start - TOLERANCE_S > first.start:
        start = max(0, min(first.end - pace.median_s, segment.start))
        return segment, [replace(first, start=start), *words[1:]]
    return replace(segment, start=first.start), words


def _agree_on_end(segment: Segment, words: list[Word], pace: Pace) -> tuple[Segment, list[Word]]:
    """The segment ends with its last word, unless that ends long after the segment's own time."""
    last = words[-1]
    if segment.end > last.start and segment.end + TOLERANCE_S < last.end:
        end = max(last.start + pace.median_s, segment.end)
        return segment, [*words[:-1], replace(last, end=end)]
    return replace(segment, end=last.end), words
