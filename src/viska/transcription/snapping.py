"""Words to the edges of the pauses around them.

Attention runs ahead of the speech: it lets a word behind a pause begin within the pause, and one before a pause end
before its last sounds are over. How loud the recording is tells both better. So a word's start moves forward, out of a
pause, and its end to where the pause begins; words that no pause is near stay as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from viska.audio import FRAMES_PER_SECOND
from viska.result import Segment, Word

SHORTEST_PAUSE_S = 0.2  # the closure of a stop is shorter
SHORTEST_SOUND_S = 0.03  # what is shorter is a click
LEAST_CONTRAST_DB = 20.0  # with less between loud and quiet, noise or music may hide the edges of words
ABOVE_FLOOR_DB = 8.0
BELOW_PEAK_DB = 40.0
LEAD_S = 0.3  # by which attention lets a word begin even before the pause that it stands behind
SHORTEST_WORD_S, ROUNDING_S = 0.04, 1e-6  # two steps of the attention; a word that takes no time is never shown
TRAIL_S = 1.0  # sound before a pause that no other word claims belongs to the last word


@dataclass(frozen=True)
class Pause:
    """Silence from `start` to `end`, in seconds."""

    start: float
    end: float


def snap(segments: Sequence[Segment], mel: Tensor, *, start_s: float, until_s: float) -> list[Segment]:
    """The segments of a window with their words' times, and their own, at the edges of the pauses.

    `mel` is the log-mel (n_mels, n_frames) of what the window heard, without padding, and `start_s` where it begins;
    no word grows beyond `until_s`, where the next window begins.
    """
    pauses = find_pauses(level_db(mel), start_s)
    words = snap_words([word for segment in segments for word in segment.words or ()], pauses, until_s)
    remaining = iter(words)
    return [_with_words(segment, remaining) for segment in segments]


def _with_words(segment: Segment, remaining: Iterator[Word]) -> Segment:
    """The segment with as many of the words as it has, and with the times that these give it."""
    words = tuple(islice(remaining, len(segment.words or ())))
    return replace(segment, words=words, start=words[0].start, end=words[-1].end) if words else segment


def level_db(mel: Tensor) -> NDArray[np.float64]:
    """How loud each frame of a log-mel spectrogram (n_mels, n_frames) is, in decibels above some constant."""
    power = 10.0 ** (4.0 * mel.double().cpu().numpy() - 4.0)  # undoes Whisper's scaling of the logarithm
    return np.asarray(10.0 * np.log10(power.sum(axis=0)))


def find_pauses(level: NDArray[np.float64], start_s: float = 0.0) -> list[Pause]:
    """Where it is silent, for long enough, and in between no more than clicks; nothing where little is silent."""
    if not len(level):
        return []
    floor, peak = np.percentile(level, [10, 99])
    if peak - floor < LEAST_CONTRAST_DB:
        return []
    silent = level <= max(floor + ABOVE_FLOOR_DB, peak - BELOW_PEAK_DB)
    for first, last in _runs(~silent):
        if last - first < SHORTEST_SOUND_S * FRAMES_PER_SECOND:
            silent[first:last] = True
    runs = [run for run in _runs(silent) if run[1] - run[0] >= SHORTEST_PAUSE_S * FRAMES_PER_SECOND]
    return [Pause(*(round(start_s + frame / FRAMES_PER_SECOND, 2) for frame in run)) for run in runs]


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First index, and the one behind the last, of each stretch that is true."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def snap_words(words: Sequence[Word], pauses: Sequence[Pause], until_s: float) -> list[Word]:
    """Words in their order, with each start and end that a pause is near at the pause's edge."""
    starts = [_start(word, pauses) for word in words]
    limits = [*starts[1:], until_s]
    snapped = [
        replace(word, start=start, end=_end(word, start, limit, pauses))
        for word, start, limit in zip(words, starts, limits, strict=False)
    ]
    return lengthened(snapped)


def lengthened(words: Sequence[Word]) -> list[Word]:
    """Words of which none takes no time, where there is room beside it, or a word that can give it some."""
    words = list(words)
    for i, word in enumerate(words):
        if word.end - word.start >= SHORTEST_WORD_S - ROUNDING_S:
            continue
        start, end = round(word.end - SHORTEST_WORD_S, 2), round(word.start + SHORTEST_WORD_S, 2)
        if i + 1 < len(words) and words[i + 1].end - end >= SHORTEST_WORD_S - ROUNDING_S:
            words[i], words[i + 1] = replace(word, end=end), replace(words[i + 1], start=max(words[i + 1].start, end))
        elif i and start - words[i - 1].start >= SHORTEST_WORD_S - ROUNDING_S:
            words[i - 1], words[i] = replace(words[i - 1], end=min(words[i - 1].end, start)), replace(word, start=start)
    return words


def _start(word: Word, pauses: Sequence[Pause]) -> float:
    """Behind a pause that the word begins in, or shortly before, and reaches over."""
    start = word.start
    for pause in pauses:
        if pause.start - LEAD_S <= start < pause.end < word.end:
            start = pause.end
    return start


def _end(word: Word, start: float, limit: float, pauses: Sequence[Pause]) -> float:
    """Where a pause begins that the word ends in, or that comes soon behind it and before the next word."""
    pause = next((pause for pause in pauses if pause.end >= word.end), None)
    if pause is not None and start < pause.start <= min(word.end + TRAIL_S, limit):
        return pause.start
    return word.end
