"""One audio track of an open file on its way to mono 16-bit PCM.

Knows packets, frames and resamplers; which track it is, and what is said of it, is the business of `viska._containers`.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, cast

from viska._clock import Clock
from viska._frames import MAX_RATE, MIN_RATE, Repair, like, samples_of

if TYPE_CHECKING:  # loading FFmpeg's libraries takes a while, so that PyAV is imported where it is used
    from av import AudioFrame, AudioResampler, Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer

_SILENCE_S = 60  # at once


class Track:
    """One audio track, or a channel of it, on its way to mono 16-bit PCM, with a count of what had to be left out.

    `reached_s` tells how far the file was read, by its own clock, whatever the track.
    """

    def __init__(self, stream: "AudioStream", sr: int, channel: int | None = None, clock: Clock | None = None) -> None:
        self.stream = stream
        self.sr = sr
        self.channel = channel
        self.clock = clock
        self.reached_s = 0.0
        self.damaged_packets = 0
        self.read_error = ""
        self.repair = Repair()
        self._resampler: AudioResampler | _SixteenBitResampler | None = None
        self._input_format: tuple[str, str, int] | None = None

    def blocks(self, container: "InputContainer") -> Iterator[memoryview]:
        """Native 16-bit samples, block by block."""
        for frame, following in pairwise(chain(self._frames(container), [None])):
            assert frame is not None  # only the one behind the last is
            if self.clock is not None:
                next_s = None if following is None else following.time
                yield from self._silence(self.clock.wait(frame.time, _seconds(frame), next_s))
            yield from self._resampled(frame if self.channel is None else _only_channel(frame, self.channel))
        yield from self._flushed()

    def _silence(self, seconds: float) -> Iterator[memoryview]:
        """Zeros, behind what the resampler still holds."""
        if seconds == 0:
            return
        yield from self._flushed()
        self._resampler = None
        n_samples = round(seconds * self.sr)
        for first in range(0, n_samples, _SILENCE_S * self.sr):
            yield memoryview(bytes(2 * min(_SILENCE_S * self.sr, n_samples - first)))

    def _frames(self, container: "InputContainer") -> "Iterator[AudioFrame]":
        from av.error import FFmpegError

        for packet in chain(self._packets(container), [None]):
            try:
                for frame in self.stream.decode(packet):
                    if MIN_RATE <= frame.sample_rate <= MAX_RATE:
                        yield frame
                    else:  # a header damaged in the middle
                        self.damaged_packets += 1
            except EOFError:  # decoders are drained by the last packet of an intact file already
                pass
            except FFmpegError:
                self.damaged_packets += 1

    def _packets(self, container: "InputContainer") -> "Iterator[Packet[Any]]":
        from av.error import FFmpegError

        try:
            for packet in container.demux():
                self.reached_s = max(self.reached_s, _end_s(packet))
                if packet.stream.index == self.stream.index:
                    yield packet
        except (FFmpegError, OSError) as error:  # the file breaks off; what the decoder still holds is good
            self.read_error = reason(error)
        except IndexError:  # PyAV, at the end, where a track appeared in the middle that it does not know
            pass

    def _resampled(self, frame: "AudioFrame") -> Iterator[memoryview]:
        frame = self.repair(frame)
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


def _only_channel(frame: "AudioFrame", channel: int) -> "AudioFrame":
    """A mono frame of this channel, bit for bit."""
    n_channels = len(frame.layout.channels)
    if channel >= n_channels:
        raise ValueError(f"from {frame.time} s on there are {n_channels} channels, and channel {channel} is wanted")
    return like(frame, samples_of(frame)[channel : channel + 1], "mono")


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


def _seconds(frame: "AudioFrame") -> float:
    return frame.samples / frame.sample_rate


def _end_s(packet: "Packet[Any]") -> float:
    """When it ends, by the file's clock; 0.0 where the file does not say so."""
    if packet.pts is None or packet.time_base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def reason(error: Exception) -> str:
    """The cause in words; FFmpeg's errors repeat the file's name, and some have no text."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
