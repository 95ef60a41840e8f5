"""From a file, bytes, a pipe or an array to samples, and from samples to the log-mel spectrogram that Whisper hears.

    samples = load_audio("talk.mp3")                       # (samples,) float32, mono, 16 kHz
    mel = log_mel_spectrogram(samples, padding=N_SAMPLES)  # (80, frames) float32

Source of the numbers: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2.
"""

import errno
import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from shutil import copyfileobj
from typing import Any, BinaryIO, TypeAlias, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from viska import _containers
from viska._containers import AudioTrack as AudioTrack
from viska.errors import AudioError, OptionError, OutputError

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000  # Hz
N_FFT = 400  # samples: windows of 25 ms
HOP_LENGTH = 160  # samples: one frame every 10 ms
CHUNK_LENGTH = 30  # s: what the encoder takes at once
N_SAMPLES = CHUNK_LENGTH * SAMPLE_RATE
N_FRAMES = N_SAMPLES // HOP_LENGTH
N_SAMPLES_PER_TOKEN = HOP_LENGTH * 2  # the encoder's second convolution has stride 2
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH
TOKENS_PER_SECOND = SAMPLE_RATE // N_SAMPLES_PER_TOKEN

AudioSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any] | torch.Tensor"
)
Array = TypeVar("Array", NDArray[Any], torch.Tensor)

_MAX_CHANNELS = 64
_SUSPICIOUS_PEAK = 64.0  # no float recording is this far beyond full scale
_SPOOL_IN_MEMORY = 32 * 2**20  # bytes of a pipe to hold before they go to disk
WHOLE_FRAMES = 60000  # up to ten minutes in one piece
BLOCK_FRAMES = 30000  # beyond, five minutes at a time: 50 MB of spectrum
_FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31}
_ACCEPTED = (
    "a path, '-' for standard input, the bytes of a file, a file opened in binary mode, or a numpy array or torch "
    "tensor of float, int16, int32 or uint8 samples"
)


def load_audio(
    file: AudioSource,
    sr: int = SAMPLE_RATE,
    *,
    track: int | None = None,
    channel: int | str | None = None,
    timed: bool = False,
) -> NDArray[np.float32]:
    """Audio as mono float32 samples within ±1, (samples,), at `sr` Hz.

    `file` is a path (sound or video, in any format that FFmpeg reads), "-" (standard input), the bytes of a file, or a
    binary file object, which is read from its beginning, beside the main thread, and left open. An array or tensor is
    taken to be at `sr` Hz already: (samples,) or (channels, samples); float32 mono comes back as it is, not copied. A
    file that breaks off gives what it still holds, with a logged warning.

    Of several audio tracks (`audio_tracks` lists them) the one numbered `track` is taken, or the best one; of several
    channels the one with the number or name `channel` ("left", "right", or FFmpeg's: "FC"), or the mean of all.

    The samples are those of the ffmpeg program, which puts what sounds one behind the other. With `timed` they stand
    where players play them: silence is put in where the sound begins later than the file, or has gaps.

    Raises AudioError where the input cannot be read as audio, or has no such track or channel; OptionError for what can
    be no track or channel. Needs no ffmpeg program.
    """
    _check_rate(sr)
    choice = choice_of(track, channel, timed)
    if isinstance(file, (np.ndarray, torch.Tensor)):
        return _mono(_array_samples(file, choice), choice.channel)
    with _opened(file) as (stream, name):
        return _containers.decode(stream, name, sr, choice)


def load_channels(
    file: AudioSource, sr: int = SAMPLE_RATE, *, track: int | None = None, timed: bool = False
) -> NDArray[np.float32]:
    """The channels apart: (channels, samples) float32 at `sr` Hz. Takes and raises what `load_audio` does."""
    _check_rate(sr)
    choice = choice_of(track, None, timed)
    if isinstance(file, (np.ndarray, torch.Tensor)):
        return np.atleast_2d(_array_samples(file, choice))
    with _opened(file) as (stream, name):
        return _containers.decode_channels(stream, name, sr, choice)


def audio_tracks(file: AudioSource) -> list[AudioTrack]:
    """The audio tracks of a file and their channels, in order. Raises AudioError where it has none.

    >>> [(track.index, track.language, track.channels) for track in audio_tracks("film.mkv")]
    [(0, 'eng', ('FL', 'FR')), (1, 'deu', ('FL', 'FR'))]
    """
    if isinstance(file, (np.ndarray, torch.Tensor)):
        raise AudioError("An array has no tracks; give a file.")
    with _opened(file) as (stream, name):
        return _containers.list_tracks(stream, name)


def _check_rate(sr: Any) -> None:
    if not isinstance(sr, int) or sr <= 0:
        raise AudioError(f"A sample rate of {sr!r} was given; it must be a whole number of Hz above 0, such as 16000.")


def choice_of(track: Any, channel: Any, timed: bool = False) -> _containers.Choice:
    """What is to be taken of a file. Raises OptionError for what can be no track or channel of any."""
    if not (track is None or _is_count(track)):
        raise OptionError(f"the audio track is {track!r}; accepted are whole numbers from 0, or none for the best.")
    named = isinstance(channel, str) and _containers.may_be_channel(channel)
    if not (channel is None or _is_count(channel) or named):
        apart = " viska.transcribe_channels transcribes each by itself." if channel == "all" else ""
        raise OptionError(
            f"the channel is {channel!r}; accepted are whole numbers from 0, 'left', 'right', FFmpeg's names, such as "
            f"'FC', or none for all mixed.{apart}"
        )
    return _containers.Choice(track, channel, timed)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def audio_blocks(
    file: AudioSource, *, track: int | None = None, channel: int | str | None = None, timed: bool = False
) -> Iterator[bytearray]:
    """What `load_audio` loads of a file, at 16 kHz and not yet as floats: blocks of native 16-bit samples."""
    with _opened(file) as (stream, name):
        yield from _containers.decode_blocks(stream, name, SAMPLE_RATE, choice_of(track, channel, timed))


@contextmanager
def _opened(file: Any) -> Iterator[tuple[BinaryIO, str]]:
    """A seekable binary file at its beginning, and what to call it in messages."""
    raw: Any
    with ExitStack() as stack:
        if isinstance(file, (bytes, bytearray, memoryview)):
            name, raw = "The input given as bytes", io.BytesIO(file)
        elif isinstance(file, str) and file == "-":
            name, raw = "Standard input", getattr(sys.stdin, "buffer", sys.stdin)
        elif isinstance(file, (str, os.PathLike)):
            path = Path(os.fsdecode(file))
            name = f"The file {os.fsdecode(file)!r}"
            raw = stack.enter_context(_open_path(path, name))
        else:
            name, raw = f"The file object {getattr(file, 'name', type(file).__name__)!r}", file
        if not hasattr(raw, "read"):
            raise AudioError(f"{type(file).__name__!r} cannot be read as audio; accepted are {_ACCEPTED}.")
        yield stack.enter_context(_seekable(raw, name)), name


def _open_path(path: Path, name: str) -> BinaryIO:
    try:
        if path.is_dir():
            raise AudioError(f"{name} is a folder; give one audio file in it.")
        return path.open("rb")
    except FileNotFoundError:
        hint = "addresses are not fetched: download it first" if "://" in name else "check the path"
        raise AudioError(f"{name} does not exist; {hint}.") from None
    except PermissionError:
        raise AudioError(f"{name} may not be read; change its permissions, or give a copy of it.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise AudioError(f"{name} cannot be opened ({error}); give the path of a readable audio file.") from error


@contextmanager
def _seekable(file: Any, name: str) -> Iterator[BinaryIO]:
    """The file at its beginning; a pipe is spooled first, because some formats keep their index at the end."""
    if getattr(file, "closed", False):
        raise AudioError(f"{name} is closed; give it before closing it.")
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_IN_MEMORY) as spool:
        try:
            if isinstance(file.read(0), str):
                raise AudioError(f"{name} is in text mode; open it with mode 'rb'.")
            if not (hasattr(file, "seekable") and file.seekable()):
                _spool(file, spool)
                file = spool
            if file.seek(0, os.SEEK_END) == 0:
                raise AudioError(f"{name} is empty; accepted are {_containers.FORMATS}.")
            file.seek(0)
        except OutputError:
            raise
        except OSError as error:
            raise AudioError(f"{name} cannot be read ({error}); try again, or give another file.") from error
        yield file


def _spool(file: Any, spool: Any) -> None:
    try:
        copyfileobj(file, spool)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise no_room(error) from error
        raise


def no_room(error: OSError) -> OutputError:
    """The error of sound that finds no room in the folder for temporary files."""
    return OutputError(
        f"the sound cannot be kept in {tempfile.gettempdir()}: {error.strerror}; make room there, or name another "
        "folder with the environment variable TMPDIR"
    )


def _tensor_to_array(tensor: torch.Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _float_samples(array: NDArray[Any]) -> NDArray[np.float32]:
    """Samples of any accepted type as float32 within ±1, in the shape given."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # float64 beyond float32 is infinite, and refused below
            samples: NDArray[np.float32] = array.astype(np.float32, copy=False)
    elif array.dtype == np.uint8:
        samples = (array.astype(np.float32) - np.float32(128)) / np.float32(128)
    elif (full_scale := _FULL_SCALE.get(array.dtype.newbyteorder("="))) is not None:
        samples = array.astype(np.float32)
        samples /= full_scale
    else:
        raise AudioError(f"An array of {array.dtype} was given; accepted are float, int16, int32 and uint8 samples.")
    _check_range(samples)
    return samples


def _check_range(samples: NDArray[np.float32]) -> None:
    if samples.size == 0:
        return
    peak = max(float(samples.max()), -float(samples.min()))
    if not np.isfinite(peak):
        raise AudioError(
            "The samples hold NaN or infinity; every sample must be finite: replace them (numpy.nan_to_num)."
        )
    if peak > _SUSPICIOUS_PEAK:
        logger.warning("float samples reach %g but belong within ±1; divide 16-bit values by 32768", peak)


def _array_samples(array: NDArray[Any] | torch.Tensor, choice: _containers.Choice) -> NDArray[np.float32]:
    """(samples,) or (channels, samples) float32 within ±1."""
    if choice.track is not None:
        raise AudioError(f"An array has no audio tracks, and track {choice.track} is wanted: leave it out.")
    samples = _float_samples(_tensor_to_array(array) if isinstance(array, torch.Tensor) else array)
    if samples.ndim != 1 and not (samples.ndim == 2 and 1 <= samples.shape[0] <= _MAX_CHANNELS):
        raise AudioError(
            f"An array of shape {samples.shape} was given; accepted are (samples,) and (channels, samples) with 1 to "
            f"{_MAX_CHANNELS} channels: choose one recording, or transpose (samples, channels)."
        )
    return samples


def _mono(samples: NDArray[np.float32], channel: int | str | None) -> NDArray[np.float32]:
    """The one channel, the mean of all for None, or the only one there is."""
    n_channels = 1 if samples.ndim == 1 else samples.shape[0]
    number = _containers.channel_number(_containers.default_names(n_channels), channel, "The array")
    if samples.ndim == 1:
        return samples
    mixed: NDArray[np.float32] = samples.mean(axis=0, dtype=np.float32) if n_channels > 1 else samples[0]
    return mixed if number is None else cast("NDArray[np.float32]", samples[number])


def pad_or_trim(array: Array, length: int = N_SAMPLES, *, axis: int = -1) -> Array:
    """The array or tensor with zeros appended, or its end cut off, so that `axis` has `length` entries."""
    size = array.shape[axis]
    if size > length:
        kept = [slice(None)] * array.ndim
        kept[axis] = slice(length)
        return array[tuple(kept)]
    if size == length:
        return array
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - size)
    if isinstance(array, torch.Tensor):
        # torch counts axes from the last one
        return F.pad(array, [width for pair in reversed(widths) for width in pair])
    return np.pad(array, widths)


@cache
def mel_filters(device: str | torch.device, n_mels: int) -> torch.Tensor:
    """Triangular filters from the power spectrum to mel bands, (n_mels, 201) float32; do not write to it.

    Slaney's mel scale (linear to 1 kHz, logarithmic above) and Slaney's normalisation (equal area): Slaney 1998,
    "Auditory Toolbox". Whisper models have 80 or 128 bands; OptionError for others.
    """
    if n_mels not in (80, 128):
        raise OptionError(f"n_mels={n_mels!r} was given; Whisper models have 80 or 128 mel bands.")
    bins_hz = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    edges_hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    lower, centre, upper = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising = (bins_hz - lower) / (centre - lower)
    falling = (upper - bins_hz) / (upper - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)  # rounded here too, as Whisper's were
    filters = triangles * (2 / (upper - lower))
    return torch.from_numpy(filters.astype(np.float32)).to(device)


_LINEAR_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27  # 27 bands from 1 to 6.4 kHz


def _hz_to_mel(hz: float) -> float:
    """Slaney's scale above its break, where the upper end of every filterbank lies."""
    return float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))


def log_mel_spectrogram(
    audio: AudioSource,
    n_mels: int = 80,
    padding: int = 0,
    device: str | torch.device | None = None,
) -> torch.Tensor:
    """The log-mel spectrogram, (n_mels, frames) float32, with one frame for every 160 samples (10 ms).

    `audio` is what `load_audio` reads, or 16 kHz samples: (samples,), or (batch, samples) for (batch, n_mels, frames).
    `padding` zeros are appended. Values lie within 2.0 below the loudest of the whole input, a batch being one input as
    it is in openai/whisper. Inputs too short for the transform's reflection at the ends are extended with zeros.

    Raises AudioError where the audio cannot be used, OptionError for `n_mels` other than 80 and 128 or a negative
    `padding`.
    """
    if padding < 0:
        raise OptionError(f"padding={padding!r} was given; it must be 0 or more samples.")
    samples = _tensor_samples(audio, device)
    filters = mel_filters(samples.device, n_mels)
    n_frames = (samples.shape[-1] + padding) // HOP_LENGTH
    spectrogram = torch.empty(*samples.shape[:-1], n_mels, n_frames, dtype=torch.float32, device=samples.device)
    if spectrogram.numel() == 0:
        return spectrogram
    # In one piece the spectrum of ten hours would take 6 GB, and each step another copy.
    block = n_frames if n_frames <= WHOLE_FRAMES else BLOCK_FRAMES
    for first in range(0, n_frames, block):
        last = min(first + block, n_frames)
        spectrogram[..., first:last] = log_mel_frames(
            lambda start, stop: samples[..., start:stop], first, last, samples.shape[-1] + padding, filters
        )
    return scale_log_mel(spectrogram, spectrogram.max())


def scale_log_mel(spectrogram: torch.Tensor, loudest: torch.Tensor) -> torch.Tensor:
    """Logarithms of mel energies as the network takes them: within 2.0 below those of the loudest.

    Raises AudioError where the loudest is no finite number.
    """
    if not torch.isfinite(loudest):
        raise AudioError("The samples hold NaN, infinity or values beyond all scale; float samples belong within ±1.")
    return spectrogram.clamp(min=loudest - 8.0).add_(4.0).div_(4.0)  # clamp makes the only copy; gradients need it


def log_mel_frames(
    read: Callable[[int, int], torch.Tensor], first: int, last: int, total: int, filters: torch.Tensor
) -> torch.Tensor:
    """Logarithms of mel energies of the frames from `first` to `last`, (..., n_mels, last - first), not yet scaled.

    `read` gives samples (..., stop - start), fewer at the end of the input, which is then silent up to `total` samples.
    """
    return _log_mel(_samples_of_frames(read, first, last, total), filters)


def _tensor_samples(audio: Any, device: str | torch.device | None) -> torch.Tensor:
    if not isinstance(audio, (np.ndarray, torch.Tensor)):
        audio = load_audio(audio)
    if isinstance(audio, torch.Tensor) and not audio.is_floating_point():
        audio = _tensor_to_array(audio)
    if isinstance(audio, np.ndarray):
        audio = np.require(_float_samples(audio), requirements=["C", "W"])  # what torch can share, a copy otherwise
        audio = torch.from_numpy(audio)
    samples: torch.Tensor = audio.float() if device is None else audio.to(device).float()
    if samples.ndim not in (1, 2):
        raise AudioError(
            f"An array of shape {tuple(samples.shape)} was given; accepted are (samples,) and (batch, samples)."
        )
    return samples


def _samples_of_frames(read: Callable[[int, int], torch.Tensor], first: int, last: int, total: int) -> torch.Tensor:
    """What the windows of frames first..last-1 cover of the input, zero-padded to `total` samples and reflected."""
    reach = N_FFT // 2  # windows are centred on their frame, so that they reach beyond both ends
    total = max(total, reach + 1)  # the least that can be reflected
    start, stop = first * HOP_LENGTH - reach, (last - 1) * HOP_LENGTH + reach + 1  # reflection needs one more
    inside = read(max(start, 0), min(stop, total))
    inside = F.pad(inside, (0, min(stop, total) - max(start, 0) - inside.shape[-1]))
    return F.pad(inside[None], (max(-start, 0), max(stop - total, 0)), mode="reflect")[0]


def _log_mel(piece: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(N_FFT, dtype=torch.float32, device=piece.device)
    spectrum = torch.stft(piece, N_FFT, HOP_LENGTH, window=window, center=False, return_complex=True)
    return torch.clamp(filters @ spectrum.abs() ** 2, min=1e-10).log10()
