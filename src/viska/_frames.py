"""Frames of sound that FFmpeg's mixer refuses or would take wrongly, made ordinary ones.

Knows one decoded frame at a time; how frames come out of a file is the business of `viska._track`.
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

_DTYPES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64}

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
        planes = _planes(frame)
        if all(float(np.abs(plane).max(initial=0.0)) <= SUSPICIOUS_PEAK for plane in planes):  # not so for NaN
            return frame
        samples = samples_of(frame).copy()
        finite = np.isfinite(samples)
        samples[~finite] = 0
        self.silenced += int(finite.size - finite.sum())
        peak = float(np.abs(samples).max())
        if peak > SUSPICIOUS_PEAK:
            self.peak = max(self.peak, peak)
        return like(frame, samples.clip(-SUSPICIOUS_PEAK, SUSPICIOUS_PEAK), frame.layout.name)


def _has_places(frame: "AudioFrame") -> bool:
    """Whether FFmpeg knows, or guesses by their number, where the channels are; if not, it refuses to mix them."""
    names = [channel.name for channel in frame.layout.channels]
    numbered = len(names) > _GUESSED and "NONE" in names
    return not numbered and not any(name.startswith("AMBI") for name in names)  # nor does it mix ambisonics


def _averaged(frame: "AudioFrame") -> "AudioFrame":
    """One channel, the mean of all, in the sample type of the frame."""
    samples = samples_of(frame)
    mean = samples.mean(axis=0, dtype=np.float64)[None]
    if samples.dtype.kind != "f":
        mean = np.rint(mean)
    return like(frame, mean.astype(samples.dtype), "mono")


def _planes(frame: "AudioFrame") -> list[NDArray[Any]]:
    """The memory of a frame: (samples,) of each channel, or (samples * channels,) where they are interleaved.

    Of eight channels or more `AudioFrame.planes` has planes that are not there (PyAV 18), and `AudioFrame.to_ndarray`
    reads them, which ends the process.
    """
    n_channels = frame.layout.nb_channels
    n_planes, count = (n_channels, frame.samples) if frame.format.is_planar else (1, frame.samples * n_channels)
    dtype = _DTYPES[frame.format.name.removesuffix("p")]
    return [np.frombuffer(memoryview(plane), dtype, count) for plane in frame.planes[:n_planes]]


def samples_of(frame: "AudioFrame") -> NDArray[Any]:
    """(channels, samples) in the sample type of the frame."""
    planes = _planes(frame)
    return np.stack(planes) if frame.format.is_planar else planes[0].reshape(-1, frame.layout.nb_channels).T


def like(frame: "AudioFrame", samples: NDArray[Any], layout: str) -> "AudioFrame":
    """A frame of (channels, samples) of this layout, in all else like the other one."""
    from av import AudioFrame

    packed = np.ascontiguousarray(samples.T).reshape(1, -1)  # of eight planes PyAV makes no frame
    copy = AudioFrame.from_ndarray(packed, format=frame.format.name.removesuffix("p"), layout=layout)
    copy.sample_rate, copy.pts, copy.time_base = frame.sample_rate, frame.pts, frame.time_base
    return copy
