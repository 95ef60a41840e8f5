"""How probable speech is along a stretch, by voice activity: what the guard holds text against."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from viska.audio import FRAMES_PER_SECOND, HOP_LENGTH
from viska.vad import VoiceActivity
from viska.vad.network import FRAME_SAMPLES

SPOKEN = 0.5
"""The probability from which on a frame counts as speech: Silero's own threshold."""


@dataclass(frozen=True, eq=False)
class SpeechTrack:
    """The probability of speech in every mel frame (10 ms) of a stretch, (n_frames,) float32."""

    probabilities: NDArray[np.float32]

    def between(self, start_s: float, end_s: float) -> NDArray[np.float32]:
        """The probabilities from one time to another, as far as the stretch goes."""
        first, behind = (max(0, round(time_s * FRAMES_PER_SECOND)) for time_s in (start_s, end_s))
        return self.probabilities[first:behind]

    def joined(self, bounds: Iterable[tuple[int, int]]) -> "SpeechTrack":
        """Of a stretch that is made of these pieces, in frames."""
        return SpeechTrack(np.concatenate([self.probabilities[start:end] for start, end in bounds]))

    def spoken_s(self, start_s: float, end_s: float) -> float:
        """The seconds of speech from one time to another."""
        return float((self.between(start_s, end_s) >= SPOKEN).sum()) / FRAMES_PER_SECOND

    def peak(self, start_s: float, end_s: float) -> float:
        """The highest probability of speech from one time to another; 0 where there is nothing between them."""
        return float(self.between(start_s, end_s).max(initial=0.0))

    def first(self, start_s: float, end_s: float, least: float) -> float | None:
        """When, between two times, the probability of speech is so high for the first time; None where it never is."""
        places = np.flatnonzero(self.between(start_s, end_s) >= least)
        return start_s + float(places[0]) / FRAMES_PER_SECOND if len(places) else None

    def share(self, start_s: float, end_s: float) -> float:
        """The mean probability of speech from one time to another; 0 where there is nothing between them."""
        probabilities = self.between(start_s, end_s)
        return float(probabilities.mean()) if len(probabilities) else 0.0

    def runs(self, start_s: float, end_s: float, *, pause_s: float) -> Iterator[tuple[float, float]]:
        """Where somebody speaks between two times, in seconds; shorter pauses than `pause_s` do not end a run."""
        first = max(0, round(start_s * FRAMES_PER_SECOND))
        spoken = np.flatnonzero(self.between(start_s, end_s) >= SPOKEN) + first
        if not len(spoken):
            return
        breaks = np.flatnonzero(np.diff(spoken) > pause_s * FRAMES_PER_SECOND)
        begins, ends = [spoken[0], *spoken[breaks + 1]], [*spoken[breaks], spoken[-1]]
        for begin, end in zip(begins, ends, strict=True):
            yield float(begin) / FRAMES_PER_SECOND, float(end + 1) / FRAMES_PER_SECOND


def speech_track(activity: VoiceActivity, n_frames: int) -> SpeechTrack:
    """What voice activity heard, laid out in so many mel frames."""
    probabilities = activity.probabilities.numpy()
    places = np.arange(n_frames) * HOP_LENGTH // FRAME_SAMPLES
    heard = np.append(probabilities, np.float32(0))  # what lies behind the end is silence
    return SpeechTrack(heard[np.minimum(places, len(probabilities))])
