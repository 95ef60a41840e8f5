"""Sound files of any format to float32 samples, through PyAV (FFmpeg's libraries, no ffmpeg program).

Knows open binary files only; where they come from is the business of `viska.audio`.
"""

import logging
import os
import re
import struct
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from viska._aside import aside
from viska._clock import TOLERANCE_S, Clock
from viska._frames import check_rate
from viska._track import Track, reason
from viska.errors import AudioError, OutOfMemoryError

if TYPE_CHECKING:  # loading FFmpeg's libraries takes a while, so that PyAV is imported where it is used
    from av import AudioLayout
    from av.audio.stream import AudioStream
    from av.container import InputContainer

logger = logging.getLogger(__name__)

FORMATS = "WAV, FLAC, MP3, M4A, Ogg, Opus, WebM, MP4 and whatever else FFmpeg decodes"

# A playlist is a file that names other files or addresses. Nothing but the file that was given is ever opened.
_OPTIONS = {"protocol_whitelist": "none"}

# FFmpeg's own limit: a longer one is a clock that was set anew, in formats that allow for it.
_LONGEST_GAP_S = 10.0

_PICTURE_S = 1.0  # the last one may stand for so long, which not all formats tell

# What people say for FFmpeg's names.
_SIDES = {"left": "FL", "right": "FR"}

# All that FFmpeg has names for, and those that it, or `default_names`, numbers.
_PLACES = "FL FR FC LFE BL BR FLC FRC BC SL SR TC TFL TFC TFR TBL TBC TBR DL DR WL WR SDL SDR LFE2 TSL TSR BFC BFL BFR"
_PLACES += " SSL SSR TTL TTR BIL BIR UNSD UNK"
_CHANNEL = re.compile(rf"{_PLACES.replace(' ', '|')}|(C|USR|AMBI)\d+")

# Sizes from here on (2 GiB, 4 GiB) are what programs write into a WAV header when they do not know the size yet.
_UNKNOWN_SIZE = 0x7FFF0000

_OGG_PAGE = 65307  # bytes: the largest


@dataclass(frozen=True)
class AudioTrack:
    """An audio track of a file: its number among them, and what the file says of it.

    `channels` are FFmpeg's short names in order, ("FL", "FR") for stereo; `duration_s` is 0.0 where the file promises
    none; `default` tells the one that is taken where none is chosen.
    """

    index: int
    codec: str
    sample_rate: int
    channels: tuple[str, ...]
    duration_s: float
    language: str | None
    title: str | None
    default: bool


@dataclass(frozen=True)
class Choice:
    """What to take of a file: an audio track by number, None being the best one, and a channel of it by number.

    Instead of its number a channel may have its name, "left", "right" or FFmpeg's; None is the mean of all.
    `timed` is for silence where the file's clock leaves time without sound.
    """

    track: int | None = None
    channel: int | str | None = None
    timed: bool = False


def decode(file: BinaryIO, name: str, sr: int, choice: Choice = Choice()) -> NDArray[np.float32]:
    """An audio track of a seekable binary file, as mono at `sr` Hz: (samples,), within ±1.

    Raises what `decode_blocks` raises, and OutOfMemoryError.
    """
    try:
        pcm = bytearray()  # grows in place: one copy of the whole, at 2 bytes a sample
        for block in decode_blocks(file, name, sr, choice):
            pcm += block
        return float_samples(pcm)
    except MemoryError as error:
        raise OutOfMemoryError(
            f"{name} holds more sound than fits into memory; give a part of it, or use a machine with more."
        ) from error


def float_samples(pcm: bytes | bytearray) -> NDArray[np.float32]:
    """Native 16-bit samples as float32 within ±1."""
    samples = np.frombuffer(pcm, dtype=np.int16).astype(np.float32)
    samples /= 32768
    return samples


def decode_blocks(file: BinaryIO, name: str, sr: int, choice: Choice = Choice()) -> Iterator[bytearray]:
    """An audio track of a seekable binary file, as mono at `sr` Hz: blocks of native 16-bit samples.

    The samples are those of `ffmpeg -ac 1 -f s16le`, but for the silence of a `timed` choice. What is damaged is left
    out with a logged warning, as is what a file that breaks off no longer has. Raises AudioError where nothing can be
    decoded, and for a track or channel that the file does not have.
    """
    return aside(_decode_blocks(file, name, sr, choice))


def _decode_blocks(file: BinaryIO, name: str, sr: int, choice: Choice) -> Generator[memoryview, None, None]:
    from av.error import FFmpegError

    try:
        missing = _missing_share(file)
        with _open(file) as container:
            stream = _pick(container, name, choice.track)
            check_rate(stream.sample_rate)
            number = _channel_number(stream.layout, choice.channel, name)
            track = Track(stream, sr, number, clock_of(container) if choice.timed else None)
            n_bytes = 0
            for block in track.blocks(container):
                n_bytes += block.nbytes
                yield block
            if not track.read_error and _lacks_last_page(file):
                track.read_error = "the end is missing"
            had_s = n_bytes / 2 / sr
            declared_s = had_s / (1 - missing) if missing is not None else _promised_s(container, track)
            _report(name, had_s, declared_s, track)
    except (FFmpegError, OSError, ValueError, EOFError) as error:
        raise _unreadable(name, error) from error


def decode_channels(file: BinaryIO, name: str, sr: int, choice: Choice = Choice()) -> NDArray[np.float32]:
    """Each channel as `decode` gives it: (channels, samples); that of the choice is left aside."""
    channels = [decode(file, name, sr, replace(choice, channel=0))]
    for number in range(1, _count_channels(file, name, choice.track)):
        file.seek(0)
        channels.append(decode(file, name, sr, replace(choice, channel=number)))
    return np.stack(channels)


def _count_channels(file: BinaryIO, name: str, track: int | None) -> int:
    file.seek(0)
    with _open(file) as container:
        return _pick(container, name, track).channels


def list_tracks(file: BinaryIO, name: str) -> list[AudioTrack]:
    """The audio tracks of a seekable binary file. Raises AudioError where it has none, or cannot be read."""
    from av.error import FFmpegError

    try:
        with _open(file) as container:
            default = _pick(container, name, None)
            return [
                AudioTrack(
                    index=index,
                    codec=stream.codec_context.name,
                    sample_rate=stream.sample_rate,
                    channels=_channel_names(stream.layout),
                    duration_s=_declared_seconds(container, stream),
                    language=stream.language,
                    title=stream.metadata.get("title"),
                    default=stream is default,
                )
                for index, stream in enumerate(_audio_streams(container))
            ]
    except (FFmpegError, OSError, ValueError, EOFError) as error:
        raise _unreadable(name, error) from error


def default_names(n_channels: int) -> tuple[str, ...]:
    """What to call channels that have no names."""
    return ("FL", "FR") if n_channels == 2 else tuple(f"C{number}" for number in range(n_channels))


def may_be_channel(name: str) -> bool:
    """Whether any file may have a channel of this name, in whatever letters."""
    return _CHANNEL.fullmatch(_ffmpeg_name(name)) is not None


def channel_number(names: Sequence[str], channel: int | str | None, name: str) -> int | None:
    """The number of a channel that is given by it or by its name; None for None. Raises AudioError if it is not there.

    `names` are FFmpeg's names of the channels that there are, `name` what to call their source in the message.
    """
    if channel is None:
        return None
    number = channel
    if isinstance(channel, str):
        wanted = _ffmpeg_name(channel)
        number = names.index(wanted) if wanted in names else -1
    if isinstance(number, int) and 0 <= number < len(names):
        return number
    known = ", ".join(f"{number} ({label})" for number, label in enumerate(names))
    raise AudioError(f"{name} has no channel {channel!r}; it has {known}: give one of these, by number or name.")


def _ffmpeg_name(channel: str) -> str:
    return _SIDES.get(channel.lower(), channel.upper())


def _unreadable(name: str, error: Exception) -> AudioError:
    return AudioError(
        f"{name} cannot be read as audio ({reason(error)}). Accepted are {FORMATS}; check that the file is whole "
        "and holds sound, or convert it to WAV."
    )


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


def _lacks_last_page(file: BinaryIO) -> bool:
    """Whether this is an Ogg file without a whole page that says it is the last. FFmpeg takes such a file as whole."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return False
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _OGG_PAGE))
    end = file.read(_OGG_PAGE)
    page = end[end.rfind(b"OggS") :]
    is_last = len(page) > 26 and bool(page[5] & 4)
    return not is_last or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _open(file: BinaryIO) -> "InputContainer":
    import av

    try:
        return av.open(file, mode="r", options=_OPTIONS)
    except UnicodeDecodeError:
        # Tags in an unknown encoding. PyAV before 19 is strict about them unless told otherwise, later ones never are.
        file.seek(0)
        tolerant: dict[str, Any] = {"metadata_errors": "replace"}
        return cast("InputContainer", av.open(file, mode="r", options=_OPTIONS, **tolerant))


def _audio_streams(container: "InputContainer") -> "list[AudioStream]":
    return [stream for stream in container.streams.audio if stream.codec_context is not None]


def _pick(container: "InputContainer", name: str, track: int | None) -> "AudioStream":
    """The track of this number; else the default one, then the one of most channels, then the first, as ffmpeg does."""
    from av.stream import Disposition

    streams = _audio_streams(container)
    if not streams:
        found = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise AudioError(
            f"{name} has no audio track that can be decoded (it holds: {found}). Accepted are {FORMATS}; "
            "give a file with sound."
        )
    if track is None:
        return max(streams, key=lambda stream: (bool(stream.disposition & Disposition.default), stream.channels))
    if 0 <= track < len(streams):
        return streams[track]
    known = ", ".join(
        f"{number} ({stream.language or stream.codec_context.name}, channels: {stream.channels})"
        for number, stream in enumerate(streams)
    )
    raise AudioError(f"{name} has no audio track {track}; it has {known}: give the number of one of these.")


def _channel_number(layout: "AudioLayout", channel: int | str | None, name: str) -> int | None:
    """`channel_number`; None too for the only channel there is, which needs no taking apart."""
    number = channel_number(_channel_names(layout), channel, name)
    return None if layout.nb_channels == 1 else number


def _channel_names(layout: "AudioLayout") -> tuple[str, ...]:
    names = tuple(channel.name for channel in layout.channels)
    return default_names(len(names)) if "NONE" in names else names  # many a WAV file says how many channels, no more


def clock_of(container: "InputContainer") -> Clock:
    """The clock of an open file, before its first packet."""
    from av.format import Flags

    start_s, end_s = _limits(container)
    may_be_set_anew = container.format.flags & cast(int, Flags.ts_discont.value)
    return Clock(start_s, end_s or inf, _LONGEST_GAP_S if may_be_set_anew else inf)


def _limits(container: "InputContainer") -> tuple[float, float]:
    """When the file begins and ends by its own clock, in seconds; 0.0 for an end that it does not tell."""
    start, duration = container.start_time or 0, container.duration
    return start / 1_000_000, 0.0 if duration is None else (start + duration) / 1_000_000


def _promised_s(container: "InputContainer", track: Track) -> float:
    """The duration that the file promises for a track; 0.0 for none.

    Of several tracks it may be that of the longest, which the file has whole where any of them goes on to its end.
    """
    from av.stream import Disposition

    declared_s = _declared_seconds(container, track.stream)
    start_s, end_s = _limits(container)
    is_own = declared_s > 0 and abs(end_s - start_s - declared_s) > 0.001
    covers = sum(bool(stream.disposition & Disposition.attached_pic) for stream in container.streams)
    if is_own or len(container.streams) - covers == 1:
        return declared_s
    return 0.0 if track.reached_s > end_s - _PICTURE_S else end_s - start_s


def _declared_seconds(container: "InputContainer", stream: "AudioStream") -> float:
    """The duration that the file promises; 0.0 where it promises none for this track."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / 1_000_000
    return 0.0


def _report(name: str, had_s: float, declared_s: float, track: Track) -> None:
    """Warn of what is missing; AudioError where everything is."""
    if had_s == 0:
        raise AudioError(
            f"{name} has an audio track but no sound in it could be decoded. Accepted are {FORMATS}; check that the "
            "file is whole."
        )
    if track.damaged_packets or track.read_error or declared_s - had_s > TOLERANCE_S:
        logger.warning(
            "%s is damaged or breaks off: %.1f s of %.1f s could be decoded (damaged packets left out: %d)%s",
            name,
            had_s,
            max(declared_s, had_s),
            track.damaged_packets,
            f"; {track.read_error}" if track.read_error else "",
        )
    if track.clock is not None and track.clock.gaps_s > 0:
        logger.warning(
            "%s has gaps of %.1f s in all, which are taken for silence, as players do; packets may have been lost",
            name,
            track.clock.gaps_s,
        )
    if track.repair.silenced:
        logger.warning("%s: %d samples are NaN or infinite and were silenced", name, track.repair.silenced)
    if track.repair.peak:
        logger.warning("%s: samples reach %g but belong within ±1, and were cut off", name, track.repair.peak)
