"""From probabilities of speech to the regions that hold it: hysteresis, pauses, splits and padding, all pure."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from viska.errors import OptionError
from viska.vad.activity import Samples, VoiceActivity, voice_activity
from viska.vad.network import FRAME_SAMPLES
from viska.vad.options import VadOptions

SAMPLE_RATE = 16000  # Hz: the only one that the network knows

_Span: TypeAlias = tuple[int, int]  # frames: first, and the one behind the last


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """A part of a recording, in samples at 16 kHz: from `start` up to and without `end`."""

    start: int
    end: int

    @property
    def start_s(self) -> float:
        """Where it starts, in seconds."""
        return self.start / SAMPLE_RATE

    @property
    def end_s(self) -> float:
        """Where it ends, in seconds."""
        return self.end / SAMPLE_RATE

    @property
    def n_samples(self) -> int:
        """How long it is."""
        return self.end - self.start


def speech_regions(speech: VoiceActivity | Samples, options: VadOptions | None = None) -> tuple[Region, ...]:
    """Where somebody speaks: ordered regions that do not overlap, each within the recording.

    `speech` is what `voice_activity` gave, or samples as it takes them. Speech begins at `threshold` and lasts until
    the probability falls below `neg_threshold`; pauses, splits and padding as `VadOptions` says.
    """
    activity = speech if isinstance(speech, VoiceActivity) else voice_activity(speech)
    options = options or VadOptions()
    probabilities = activity.probabilities.numpy()
    runs = _runs(_is_speech(probabilities, options))
    spans: list[_Span] = []
    for parts in _parted(runs, options.min_silence_duration_ms / 1000 * SAMPLE_RATE):
        n_samples = (parts[-1][1] - parts[0][0]) * FRAME_SAMPLES
        if n_samples >= options.min_speech_duration_ms / 1000 * SAMPLE_RATE:
            spans += _split(parts, _longest(options), probabilities)
    return _padded(spans, round(options.speech_pad_ms / 1000 * SAMPLE_RATE), activity.n_samples)


def regions_from_times(times: Iterable[tuple[float, float]], n_samples: int) -> tuple[Region, ...]:
    """Regions that a user gave as (start, end) in seconds, cut to the recording; those behind its end are left out.

    Raises OptionError where a region is empty, or begins before the one before it ends.
    """
    regions: list[Region] = []
    before_s = 0.0
    for start_s, end_s in times:
        if not (before_s <= start_s < end_s and isfinite(start_s)):
            raise OptionError(
                f"the region from {start_s} to {end_s} s is not accepted; each must end behind its start, and begin "
                f"at {before_s} s or later: give them in order, without overlap"
            )
        start, end = round(start_s * SAMPLE_RATE), round(min(end_s * SAMPLE_RATE, n_samples))
        if start < end:
            regions.append(Region(start, end))
        before_s = end_s
    return tuple(regions)


def least_probable_frame(probabilities: NDArray[np.float32] | Tensor, first: int, behind: int) -> int:
    """The frame from `first` up to and without `behind` that is least like speech; of equals the last."""
    part = np.asarray(probabilities[first:behind])
    return behind - 1 - int(part[::-1].argmin())


def pause_frame(probabilities: NDArray[np.float32] | Tensor, first: int, behind: int) -> int | None:
    """The frame from `first` up to and without `behind` in the middle of the longest pause there, of equals the last.

    None where nobody pauses.
    """
    pauses = _runs(np.asarray(probabilities[first:behind]) < VadOptions.threshold)
    if not pauses:
        return None
    start, end = max(pauses, key=lambda pause: (pause[1] - pause[0], pause))
    return first + (start + end) // 2


def _is_speech(probabilities: NDArray[np.float32], options: VadOptions) -> NDArray[np.bool_]:
    """For each frame what the last decisive one said: at `threshold` or above speech, below the other silence."""
    on = probabilities >= options.threshold
    decisive = on | (probabilities < options.silence_threshold)
    last = np.maximum.accumulate(np.where(decisive, np.arange(len(on)), -1))
    return on[last] & (last >= 0)


def _runs(is_speech: NDArray[np.bool_]) -> list[_Span]:
    edges = np.flatnonzero(np.diff(is_speech, prepend=False, append=False))
    return [(int(first), int(behind)) for first, behind in edges.reshape(-1, 2)]


def _parted(runs: Sequence[_Span], min_silence: float) -> Iterator[list[_Span]]:
    """Runs of speech, together where the silence between them is shorter than so many samples."""
    together: list[_Span] = []
    for run in runs:
        if together and (run[0] - together[-1][1]) * FRAME_SAMPLES >= min_silence:
            yield together
            together = []
        together.append(run)
    if together:
        yield together


def _longest(options: VadOptions) -> float:
    """How many frames a region may have before it is padded."""
    if options.max_speech_duration_s == inf:
        return inf
    unpadded_s = options.max_speech_duration_s - 2 * options.speech_pad_ms / 1000
    return max(2, int(unpadded_s * SAMPLE_RATE / FRAME_SAMPLES))  # 2: what the options allow, whatever rounding does


def _split(parts: Sequence[_Span], longest: float, probabilities: NDArray[np.float32]) -> Iterator[_Span]:
    """One span from the first part to the last, or several, none longer than so many frames."""
    first, behind = parts[0][0], parts[-1][1]
    pauses = [(before[1], after[0]) for before, after in pairwise(parts)]
    while behind - first > longest:
        cut, following = _best_cut(pauses, first, int(longest), probabilities)
        yield first, cut
        first = following
    yield first, behind


def _best_cut(pauses: Sequence[_Span], first: int, longest: int, probabilities: NDArray[np.float32]) -> _Span:
    """Where a span that begins at `first` ends, and where the next begins.

    That is at its longest pause, in the second half of what may be one span if there is one, so that no needlessly
    short span is made; without any pause before the frame that is least like speech.
    """
    half, last = first + longest // 2, first + longest
    for low, high in ((half, last), (first, half)):
        within = pauses[bisect_right(pauses, (low, 0)) : bisect_right(pauses, (high, len(probabilities)))]
        if within:
            return max(within, key=lambda pause: (pause[1] - pause[0], pause))
    cut = least_probable_frame(probabilities, half, last)
    return cut, cut


def _padded(spans: Sequence[_Span], pad: int, n_samples: int) -> tuple[Region, ...]:
    """Spans of frames as regions, wider by `pad` samples on each side, where neighbours leave room for it."""
    if not spans:
        return ()
    starts = [first * FRAME_SAMPLES for first, _ in spans]
    ends = [min(behind * FRAME_SAMPLES, n_samples) for _, behind in spans]
    # Half of the silence behind each region; before the first and behind the last there is room up to the edge.
    room = [(start - end) // 2 for end, start in zip(ends, starts[1:], strict=False)]
    before, after = [n_samples, *room], [*room, n_samples]
    return tuple(
        Region(max(0, start - min(pad, left)), min(n_samples, end + min(pad, right)))
        for start, end, left, right in zip(starts, ends, before, after, strict=True)
    )
