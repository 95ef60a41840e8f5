"""Regions of speech into the windows of half a minute that a batch is made of, and times of windows back again.

Two ways: `group_regions` keeps a window one stretch of the recording, so that times need only its start added;
`pack_regions` drops long gaps and joins what is left, which takes fewer windows and a `TimeMap`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import ceil

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from viska.audio import N_SAMPLES, SAMPLE_RATE
from viska.vad.network import FRAME_SAMPLES
from viska.vad.regions import Region, least_probable_frame, pause_frame

SHORT_GAP_S = 1.0  # a pause that is no reason to cut: it is part of how one speaks
JOIN_SLACK_S = 0.1  # nothing is said in a shorter time, and Whisper's times are not sharper than that


class TimeMap:
    """From seconds in a packed window to seconds in the recording, given the window's pieces in order.

    Monotone, and never inside a gap that was dropped. An end at a join, or so little behind it that nothing can have
    been said there, is the end of the piece before; a start at a join or as little before it is the start of the next.
    """

    def __init__(self, pieces: Sequence[Region]) -> None:
        self._pieces = tuple(pieces)
        lengths = [piece.n_samples / SAMPLE_RATE for piece in pieces]
        self._joins = [0.0, *accumulate(lengths)][:-1]  # where each piece begins in the window
        slack = [min(JOIN_SLACK_S, length / 2) for length in lengths]
        self._first_starts = [join - early for join, early in zip(self._joins[1:], slack[:-1], strict=True)]
        self._last_ends = [join + late for join, late in zip(self._joins[1:], slack[1:], strict=True)]

    def original_start(self, time_s: float) -> float:
        """Where in the recording something starts that starts at `time_s` in the window."""
        return self._within(bisect_right(self._first_starts, time_s), time_s)

    def original_end(self, time_s: float) -> float:
        """Where in the recording something ends that ends at `time_s` in the window."""
        return self._within(bisect_left(self._last_ends, time_s), time_s)

    def span(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Start and end in the recording of something that may reach over a dropped gap, as a segment may."""
        start = self.original_start(start_s)
        return start, max(start, self.original_end(end_s))

    def word_span(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Start and end in the recording of something that is in one piece, as a word is: the one with most of it."""
        shares = [min(end_s, self._end(i)) - max(start_s, join) for i, join in enumerate(self._joins)]
        index = max(range(len(shares)), key=shares.__getitem__)
        return self._within(index, start_s), self._within(index, end_s)

    def _end(self, index: int) -> float:
        return self._joins[index] + self._pieces[index].n_samples / SAMPLE_RATE

    def _within(self, index: int, time_s: float) -> float:
        piece = self._pieces[index]
        return min(max(piece.start_s + (time_s - self._joins[index]), piece.start_s), piece.end_s)


@dataclass(frozen=True)
class PackedWindow:
    """What is decoded at once: pieces of a recording, in order, joined without a gap."""

    pieces: tuple[Region, ...]

    @property
    def start(self) -> int:
        """The first sample of the recording that is in it."""
        return self.pieces[0].start

    @property
    def end(self) -> int:
        """The sample of the recording behind its last."""
        return self.pieces[-1].end

    @property
    def n_samples(self) -> int:
        """How much sound it holds."""
        return sum(piece.n_samples for piece in self.pieces)

    @cached_property
    def time_map(self) -> TimeMap:
        """The way back from its times to those of the recording."""
        return TimeMap(self.pieces)

    def gather(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Its samples, out of those of the whole recording; not copied where it is one piece."""
        parts = [samples[piece.start : piece.end] for piece in self.pieces]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def group_regions(
    regions: Iterable[Region],
    probabilities: Tensor | None = None,
    *,
    max_samples: int = N_SAMPLES,
    max_gap_s: float = SHORT_GAP_S,
) -> tuple[PackedWindow, ...]:
    """Windows of one piece each: neighbours no more than `max_gap_s` apart, and no more than fit, with their gaps.

    `regions` are ordered and do not overlap. One that is longer than a window is cut where speech pauses longest
    (`probabilities` as from `voice_activity`), or into equal parts where that is not known.
    """
    groups = _joined(_short_enough(regions, probabilities, max_samples), max_samples, max_gap_s)
    return tuple(PackedWindow((group,)) for group in groups)


def pack_regions(
    regions: Iterable[Region],
    probabilities: Tensor | None = None,
    *,
    max_samples: int = N_SAMPLES,
    max_gap_s: float = SHORT_GAP_S,
) -> tuple[PackedWindow, ...]:
    """As few windows as regions in order fill: gaps up to `max_gap_s` are kept, longer ones dropped.

    Regions and probabilities are as for `group_regions`, and no region is cut that fits a window.
    """
    windows: list[PackedWindow] = []
    pieces: list[Region] = []
    for region in _short_enough(regions, probabilities, max_samples):
        widened = list(_joined([*pieces[-1:], region], max_samples, max_gap_s))
        tried = pieces[:-1] + widened
        if sum(piece.n_samples for piece in tried) > max_samples:
            windows.append(PackedWindow(tuple(pieces)))
            tried = [region]
        pieces = tried
    return (*windows, PackedWindow(tuple(pieces))) if pieces else tuple(windows)


def _joined(regions: Iterable[Region], max_samples: int, max_gap_s: float) -> Iterator[Region]:
    """Regions with the short gaps between them, as far as they are not longer than a window."""
    current: Region | None = None
    for region in regions:
        if current is None:
            current = region
        elif region.end - current.start <= max_samples and region.start - current.end <= max_gap_s * SAMPLE_RATE:
            current = Region(current.start, region.end)
        else:
            yield current
            current = region
    if current is not None:
        yield current


def _short_enough(regions: Iterable[Region], probabilities: Tensor | None, max_samples: int) -> Iterator[Region]:
    """Regions of which none is longer than a window; empty ones are left out."""
    for region in regions:
        start = region.start
        while region.end - start > max_samples:
            cut = _cut(start, region.end, probabilities, max_samples)
            yield Region(start, cut)
            start = cut
        if region.end > start:
            yield Region(start, region.end)


def _cut(start: int, end: int, probabilities: Tensor | None, max_samples: int) -> int:
    """Where to end the first window of a stretch that is too long.

    At the longest pause of its last third, or else of its second half: a decoder that hears a sentence broken off may
    leave out what there is of it, and a short window tells it less of what is spoken of.
    """
    if probabilities is None:
        return start + ceil((end - start) / ceil((end - start) / max_samples))
    behind = min((start + max_samples) // FRAME_SAMPLES, len(probabilities))
    third, half = (ceil((start + share) / FRAME_SAMPLES) for share in (max_samples * 2 // 3, max_samples // 2))
    if half >= behind:
        return start + max_samples
    frame = pause_frame(probabilities, third, behind)
    if frame is None:
        frame = pause_frame(probabilities, half, behind)
    if frame is None:
        frame = least_probable_frame(probabilities, half, behind)
    return frame * FRAME_SAMPLES
