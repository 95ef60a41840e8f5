"""Sound files of any format to float32 samples, through PyAV (FFmpeg's libraries, no ffmpeg program).

Knows open binary files only; where they come from is the business of `viska.audio`.
"""

import logging
import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from viska.errors import AudioError

if TYPE_CHECKING:  # loading FFmpeg's libraries takes a while, so that PyAV is imported where it is used
    from av import AudioFrame, AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer

logger = logging.getLogger(__name__)

FORMATS = "WAV, FLAC, MP3, M4A, Ogg, Opus, WebM, MP4 and whatever else FFmpeg decodes"

# A playlist is a file that names other files or addresses. Nothing but the file that was given is ever opened.
_OPTIONS = {"protocol_whitelist": "none"}

# Declared durations are off by the encoder's padding, so that only a larger gap counts as missing.
_TOLERANCE_S = 0.2

# Sizes from here on (2 GiB, 4 GiB) are what programs write into a WAV header when they do not know the size yet.
_UNKNOWN_SIZE = 0x7FFF0000


def decode(file: BinaryIO, name: str, sr: int) -> NDArray[np.float32]:
    """The best audio track of a seekable binary file, mixed down to mono at `sr` Hz: (samples,), within ±1.

    The samples go through 16 bits, as `ffmpeg -ac 1 -f s16le` gives them. What is damaged is left out with a logged
    warning, as is what a file that breaks off no longer has. Raises AudioError where nothing can be decoded.
    """
    from av.error import FFmpegError

    try:
        missing = _missing_share(file)
        with _open(file) as container:
            stream = _pick(container, name)
            track = _Track(stream, sr)
            pcm = bytearray()  # grows in place: one copy of the whole, at 2 bytes a sample
            for block in track.blocks(container):
                pcm += block
            had_s = len(pcm) / 2 / sr
            declared_s = _declared_seconds(container, stream) if missing is None else had_s / (1 - missing)
            _report(name, had_s, declared_s, track)
    except (FFmpegError, OSError, ValueError, EOFError) as error:
        raise AudioError(
            f"{name} cannot be read as audio ({_reason(error)}). Accepted are {FORMATS}; check that the file is whole "
            "and holds sound, or convert it to WAV."
        ) from error
    samples = np.frombuffer(pcm, dtype=np.int16).astype(np.float32)
    samples /= 32768
    return samples


def _missing_share(file: BinaryIO) -> float | None:
    """The part that a WAV or AIFF file lacks of the size in its header, 0 to 1; None for other formats.

    FFmpeg replaces the declared duration of a short WAV file by the one that it found.
    """
    head = file.read(8)
    actual = file.seek(0, os.SEEK_END)
    file.seek(0)
    byte_order = {b"RIFF": "<", b"FORM": ">"}.get(head[:4])
    if byte_order is None or len(head) < 8:
        return None
    declared = struct.unpack(f"{byte_order}I", head[4:])[0] + 8
    return 0.0 if declared >= _UNKNOWN_SIZE else max(0.0, 1 - actual / declared)


def _open(file: BinaryIO) -> "InputContainer":
    import av

    try:
        return av.open(file, mode="r", options=_OPTIONS)
    except UnicodeDecodeError:
        # Tags in an unknown encoding. PyAV before 19 is strict about them unless told otherwise, later ones never are.
        file.seek(0)
        tolerant: dict[str, Any] = {"metadata_errors": "replace"}
        return cast("InputContainer", av.open(file, mode="r", options=_OPTIONS, **tolerant))


def _pick(container: "InputContainer", name: str) -> "AudioStream":
    """The default track, then the one of most channels, then the first: the order of the ffmpeg program."""
    from av.stream import Disposition

    tracks = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if tracks:
        return max(tracks, key=lambda track: (bool(track.disposition & Disposition.default), track.channels))
    found = ", ".join(stream.type for stream in container.streams) or "nothing"
    raise AudioError(
        f"{name} has no audio track that can be decoded (it holds: {found}). Accepted are {FORMATS}; "
        "give a file with sound."
    )


class _Track:
    """One audio track on its way to mono 16-bit PCM, with a count of what had to be left out."""

    def __init__(self, stream: "AudioStream", sr: int) -> None:
        self.stream = stream
        self.sr = sr
        self.damaged_packets = 0
        self.read_error = ""
        self._resampler: AudioResampler | _SixteenBitResampler | None = None
        self._input_format: tuple[str, str, int] | None = None

    def blocks(self, container: "InputContainer") -> Iterator[memoryview]:
        """Native 16-bit samples, block by block."""
        for frame in self._frames(container):
            yield from self._resampled(frame)
        yield from self._flushed()

    def _frames(self, container: "InputContainer") -> "Iterator[AudioFrame]":
        from av.error import FFmpegError

        packets = container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except (FFmpegError, OSError) as error:  # the file breaks off; what the decoder still holds is good
                self.read_error = _reason(error)
                packet = None
            try:
                yield from self.stream.decode(packet)
            except EOFError:  # decoders are drained by the last packet of an intact file already
                pass
            except FFmpegError:
                self.damaged_packets += 1
            if packet is None:
                return

    def _resampled(self, frame: "AudioFrame") -> Iterator[memoryview]:
        input_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or input_format != self._input_format:  # streams may change in the middle
            yield from self._flushed()
            self._resampler = _resampler(frame, self.sr)
            self._input_format = input_format
        for resampled in self._resampler.resample(frame):
            yield _pcm(resampled)

    def _flushed(self) -> Iterator[memoryview]:
        for frame in self._resampler.resample(None) if self._resampler else ():
            if frame is not None:  # a resampler with nothing to do hands the None back
                yield _pcm(frame)


def _resampler(frame: "AudioFrame", sr: int) -> "AudioResampler | _SixteenBitResampler":
    """To mono 16-bit at `sr` Hz, from frames like this one."""
    from av import AudioResampler

    if frame.format.bytes <= 2 and frame.sample_rate != sr:
        return _SixteenBitResampler(frame, sr)
    return AudioResampler(format="s16", layout="mono", rate=sr)


class _SixteenBitResampler:
    """A resampler that computes in 16 bits where its input has no more.

    So did the ffmpeg program before version 7, which gives most users of openai/whisper their samples. Later ones
    compute in float, which differs by up to four 16-bit steps in one sample of a thousand.
    """

    def __init__(self, like: "AudioFrame", sr: int) -> None:
        from av.filter import Graph

        self.graph = Graph()
        source = self.graph.add_abuffer(
            sample_rate=like.sample_rate,
            format=like.format.name,
            layout=like.layout.name,
            time_base=Fraction(1, like.sample_rate),
        )
        resample = self.graph.add("aresample", f"{sr}:internal_sample_fmt=s16p")
        mono = self.graph.add("aformat", f"sample_fmts=s16:channel_layouts=mono:sample_rates={sr}")
        self.graph.link_nodes(source, resample, mono, self.graph.add("abuffersink")).configure()

    def resample(self, frame: "AudioFrame | None") -> "list[AudioFrame]":
        """The frames that are ready; None flushes."""
        if frame is not None:
            frame.pts = None  # the graph counts for itself: gaps in a damaged file are not filled
        self.graph.push(frame)
        ready: list[AudioFrame] = []
        while True:
            try:
                ready.append(cast("AudioFrame", self.graph.pull()))
            except (BlockingIOError, EOFError):
                return ready


def _pcm(frame: "AudioFrame") -> memoryview:
    return memoryview(frame.planes[0])[: 2 * frame.samples]  # planes are padded


def _declared_seconds(container: "InputContainer", stream: "AudioStream") -> float:
    """The duration that the file promises; 0.0 where it promises none for this track."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / 1_000_000
    return 0.0


def _report(name: str, had_s: float, declared_s: float, track: _Track) -> None:
    """Warn of what is missing; AudioError where everything is."""
    if had_s == 0:
        raise AudioError(
            f"{name} has an audio track but no sound in it could be decoded. Accepted are {FORMATS}; check that the "
            "file is whole."
        )
    if track.damaged_packets or track.read_error or declared_s - had_s > _TOLERANCE_S:
        logger.warning(
            "%s is damaged or breaks off: %.1f s of %.1f s could be decoded (damaged packets left out: %d)%s",
            name,
            had_s,
            max(declared_s, had_s),
            track.damaged_packets,
            f"; {track.read_error}" if track.read_error else "",
        )


def _reason(error: Exception) -> str:
    """The cause in words; FFmpeg's errors repeat the file's name, and some have no text."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
