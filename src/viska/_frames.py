"""Frames of sound that FFmpeg's mixer refuses or would take wrongly, made ordinary ones.

Knows one decoded frame at a time; how frames come out of a file is the business of `viska._containers`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import AudioFrame

# Below, a file of some kilobytes would become hours of samples; above, the resampler's filter alone takes hundreds of
# megabytes. Speech is recorded at 4 to 192 kHz, and instruments reach 768 kHz.
MIN_RATE, MAX_RATE = 1_000, 1_000_000

SUSPICIOUS_PEAK = 64.0
"""No float recording is this far beyond full scale."""

_GUESSED = 8  # channels without a place are taken for those of the usual layout of so many, up to this number


def check_rate(rate: int) -> None:
    """Raise ValueError for a declared rate in Hz that no recording of speech has; 0 stands for an unknown one."""
    if rate and not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"it declares a sample rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are accepted")


class Repair:
    """Makes frames ordinary, and counts what it changed in samples that are no numbers.

    `silenced` counts the samples that were NaN or infinite, which become 0. `peak` is the largest of those beyond
    `SUSPICIOUS_PEAK`, which are cut off there, as conversion to 16 bits makes silence of the largest; 0.0 for none.
    """

    def __init__(self) -> None:
        self.silenced = 0
        self.peak = 0.0

    def __call__(self, frame: "AudioFrame") -> "AudioFrame":
        """The frame, or a like one with finite samples, and mono where its channels are at no known place."""
        if frame.format.name.startswith(("flt", "dbl")):
            frame = self._finite(frame)
        return frame if _has_places(frame) else _averaged(frame)

    def _finite(self, frame: "AudioFrame") -> "AudioFrame":
        dtype: type[np.floating[Any]] = np.float32 if frame.format.bytes == 4 else np.float64
        count = frame.samples if frame.format.is_planar else frame.samples * frame.layout.nb_channels
        planes = [np.frombuffer(memoryview(plane), dtype, count) for plane in frame.planes]
        if all(float(np.abs(plane).max(initial=0.0)) <= SUSPICIOUS_PEAK for plane in planes):  # not so for NaN
            return frame
        samples = np.stack(planes)
        finite = np.isfinite(samples)
        samples[~finite] = 0
        self.silenced += int(finite.size - finite.sum())
        peak = float(np.abs(samples).max())
        if peak > SUSPICIOUS_PEAK:
            self.peak = max(self.peak, peak)
        return _like(frame, samples.clip(-SUSPICIOUS_PEAK, SUSPICIOUS_PEAK), frame.layout.name)


def _has_places(frame: "AudioFrame") -> bool:
    """Whether FFmpeg knows, or guesses by their number, where the channels are; if not, it refuses to mix them."""
    names = [channel.name for channel in frame.layout.channels]
    numbered = len(names) > _GUESSED and "NONE" in names
    return not numbered and not any(name.startswith("AMBI") for name in names)  # nor does it mix ambisonics


def _averaged(frame: "AudioFrame") -> "AudioFrame":
    """One channel, the mean of all, in the sample format of the frame."""
    samples = frame.to_ndarray()  # (C, samples) planar, else (1, samples * C)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    mean = samples.mean(axis=0, dtype=np.float64)[None]
    if samples.dtype.kind != "f":
        mean = np.rint(mean)
    return _like(frame, mean.astype(samples.dtype), "mono")


def _like(frame: "AudioFrame", samples: NDArray[Any], layout: str) -> "AudioFrame":
    from av import AudioFrame

    copy = AudioFrame.from_ndarray(samples, format=frame.format.name, layout=layout)
    copy.sample_rate, copy.pts, copy.time_base = frame.sample_rate, frame.pts, frame.time_base
    return copy
