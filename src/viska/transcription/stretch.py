"""What is transcribed on its own: a whole recording, or what a window holds of it."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from viska.audio import FRAMES_PER_SECOND, N_FRAMES
from viska.recording import LogMel
from viska.result import Segment, Word
from viska.transcription.packing import TimeMap
from viska.transcription.speech import SpeechTrack

LONG_PAUSE_S = 3.0
"""Silence so long parts what is said on both sides of it; a shorter one is how people speak."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Pieces of a recording, joined, of which `clips` are to be transcribed; both are pairs of frames.

    `times` leads back to the recording where the stretch does not begin with it, or where gaps were dropped.
    `speech` is what voice activity hears in it, where that was asked.
    """

    mel: LogMel
    pieces: tuple[tuple[int, int], ...]
    clips: tuple[tuple[int, int], ...]
    times: TimeMap | None = None
    speech: SpeechTrack | None = None

    @property
    def n_frames(self) -> int:
        """How many mel frames it has."""
        return sum(end - start for start, end in self.pieces)

    @cached_property
    def joins_s(self) -> tuple[float, ...]:
        """Where its pieces meet, in its own time."""
        ends = accumulate(end - start for start, end in self.pieces[:-1])
        return tuple(end / FRAMES_PER_SECOND for end in ends)

    @cached_property
    def long_joins_s(self) -> tuple[float, ...]:
        """Those of them at which a long pause of the recording is left out."""
        left_out = ((behind - end) / FRAMES_PER_SECOND for (_, end), (behind, _) in pairwise(self.pieces))
        return tuple(join_s for join_s, gap_s in zip(self.joins_s, left_out, strict=True) if gap_s >= LONG_PAUSE_S)

    def frames(self, first: int, last: int) -> Tensor:
        """Its log-mel from one frame to another, (n_mels, last - first); behind its end is half a minute of silence."""
        found, begin = [], 0
        for start, end in (*self.pieces, (self.mel.n_frames, self.mel.n_frames + N_FRAMES)):
            own = max(first - begin, 0), min(last - begin, end - start)
            if own[0] < own[1]:
                found.append(self.mel.frames(start + own[0], start + own[1]))
            begin += end - start
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)

    def start_s(self, time_s: float) -> float:
        """Where in the recording something starts that starts at `time_s` in the stretch."""
        return time_s if self.times is None else self.times.original_start(time_s)

    def span(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Where in the recording something is that is between these times of the stretch, to 10 ms."""
        start, end = (start_s, end_s) if self.times is None else self.times.span(start_s, end_s)
        return round(start, 2), round(end, 2)

    def in_recording(self, segment: Segment) -> Segment:
        """A segment with the times of the recording."""
        if self.times is None:
            return segment
        start, end = self.span(segment.start, segment.end)
        words = None if segment.words is None else tuple(map(self._word_in_recording, segment.words))
        seek = round(self.start_s(segment.seek / FRAMES_PER_SECOND) * FRAMES_PER_SECOND)
        return replace(segment, seek=seek, start=start, end=end, words=words)

    def _word_in_recording(self, word: Word) -> Word:
        assert self.times is not None
        start, end = self.times.word_span(word.start, word.end)
        return replace(word, start=round(start, 2), end=round(end, 2))
