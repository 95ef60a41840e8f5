"""A recording of any length without holding all of it: samples on disk, log-mel frames made when they are asked for."""

import tempfile
import weakref
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from viska._containers import float_samples
from viska.audio import (
    BLOCK_FRAMES,
    HOP_LENGTH,
    N_SAMPLES,
    SAMPLE_RATE,
    WHOLE_FRAMES,
    AudioSource,
    audio_blocks,
    load_audio,
    log_mel_frames,
    log_mel_spectrogram,
    mel_filters,
    no_room,
    scale_log_mel,
)
from viska.errors import OutputError

_IN_MEMORY = WHOLE_FRAMES * HOP_LENGTH * 2  # bytes of 16-bit samples
_BLOCK_SAMPLES = BLOCK_FRAMES * HOP_LENGTH


class Recording:
    """Mono samples at 16 kHz, float32 within ±1: an array that was given, or the sound of a file, on disk where long.

    Raises what `load_audio` raises, and OutputError where a long file finds no room in the folder for temporary files.
    """

    def __init__(
        self,
        audio: AudioSource,
        *,
        track: int | None = None,
        channel: int | str | None = None,
        timed: bool = False,
    ) -> None:
        self._array: NDArray[np.float32] | None = None
        if isinstance(audio, (np.ndarray, Tensor)):
            self._array = load_audio(audio, track=track, channel=channel)
            self.n_samples = len(self._array)
            return
        self._pcm = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  # lives as long as this
        weakref.finalize(self, self._pcm.close)
        try:
            for block in audio_blocks(audio, track=track, channel=channel, timed=timed):
                self._pcm.write(block)
        except OutputError:
            raise
        except OSError as error:
            raise no_room(error) from error
        self.n_samples = self._pcm.tell() // 2

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds."""
        return self.n_samples / SAMPLE_RATE

    def samples(self, start: int, stop: int) -> NDArray[np.float32]:
        """The samples from `start` to `stop`, or to the end."""
        if self._array is not None:
            return self._array[start:stop]
        self._pcm.seek(2 * start)
        return float_samples(cast(BinaryIO, self._pcm).read(2 * max(min(stop, self.n_samples) - start, 0)))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All samples, some minutes at a time."""
        for start in range(0, self.n_samples, _BLOCK_SAMPLES):
            yield self.samples(start, start + _BLOCK_SAMPLES)


class LogMel:
    """The log-mel frames of a recording and of half a minute of silence behind it; see `log_mel_spectrogram`.

    Those of more than ten minutes are made when they are asked for, the loudest of all having been looked for before;
    with `exact` all are made at once, since in another grouping sums may be rounded otherwise.
    """

    def __init__(self, recording: Recording, n_mels: int, *, exact: bool = False) -> None:
        self._recording = recording
        self.n_frames = recording.n_samples // HOP_LENGTH
        self._total = recording.n_samples + N_SAMPLES
        self._filters = mel_filters("cpu", n_mels)
        self._whole: Tensor | None = None
        if exact or self.n_frames <= WHOLE_FRAMES:
            samples = recording.samples(0, recording.n_samples)
            self._whole = log_mel_spectrogram(samples, n_mels, padding=N_SAMPLES)
        else:
            firsts = range(0, self.n_frames, BLOCK_FRAMES)
            blocks = (self._energies(first, min(first + BLOCK_FRAMES, self.n_frames)) for first in firsts)
            # As plain numbers: small tensors, made while a block was held, would keep its memory from being used again.
            self._loudest = torch.tensor([block.max().item() for block in blocks]).max()

    def frames(self, first: int, last: int) -> Tensor:
        """(n_mels, last - first) float32."""
        if self._whole is not None:
            return self._whole[:, first:last]
        return scale_log_mel(self._energies(first, last), self._loudest)

    def _energies(self, first: int, last: int) -> Tensor:
        def read(start: int, stop: int) -> Tensor:
            return torch.from_numpy(self._recording.samples(start, stop))

        return log_mel_frames(read, first, last, self._total, self._filters)
