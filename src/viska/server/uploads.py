"""A multipart body to fields and an unnamed file on the disk, within limits of size and time.

The file never has a name: whatever happens to the request or the process, the system frees it with the last handle.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from math import inf
from typing import BinaryIO

import av
from av.error import FFmpegError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from viska._clock import Clock
from viska._containers import clock_of
from viska.audio import audio_tracks
from viska.server.errors import ApiError, invalid
from viska.server.settings import Settings

MAX_FIELDS = 300
MAX_FIELD_BYTES = 4 * 2**20  # references of known speakers are whole recordings
MAX_TEXT_BYTES = 24 * 2**20
MB = 1_000_000


@dataclass(frozen=True)
class Form:
    """The text fields of a request in order, and its file, open at the beginning."""

    fields: tuple[tuple[str, str], ...]
    file: BinaryIO | None = None
    size: int = 0
    filename: str | None = None

    def close(self) -> None:
        """Free the file."""
        if self.file is not None:
            self.file.close()


class _Parser(MultiPartParser):
    """Starlette's parser, with a bound on all text together, which it holds in memory, and forms that have to end."""

    text_bytes = 0
    ended = False

    def on_end(self) -> None:
        """Take note that the form is whole."""
        self.ended = True

    def close(self) -> None:
        """Free the files, those of a form that broke off included."""
        for file in self._files_to_close_on_error:
            file.close()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Count what stays in memory."""
        if self._current_part.file is None:
            self.text_bytes += end - start
            if self.text_bytes > MAX_TEXT_BYTES:
                raise MultiPartException(f"the text fields have more than {MAX_TEXT_BYTES // 2**20} MB together")
        super().on_part_data(data, start, end)


async def read_form(request: Request, settings: Settings) -> Form:
    """Read the body.

    Raises ApiError for what is no form, too large or too slow, ClientDisconnect where it breaks off.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise ApiError(
            415, f"the content type is {kind[:100]!r}; accepted is multipart/form-data", code="unsupported_media_type"
        )
    check_length(request.headers.get("content-length"), settings)
    parser = _Parser(
        request.headers,
        _limited(request, settings),
        max_files=1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        async with asyncio.timeout(settings.upload_timeout or None):
            parsed = await parser.parse()
    except TimeoutError:
        raise _too_slow(f"the upload took longer than {settings.upload_timeout:g} s") from None
    except MultiPartException as error:
        raise ApiError(400, f"the form cannot be read: {error.message}", code="invalid_multipart") from None
    try:
        if not parser.ended:
            raise ApiError(400, "the form breaks off before its last boundary", code="invalid_multipart")
        return _form(list(parsed.multi_items()))
    except ApiError:
        parser.close()
        raise


def _form(items: list[tuple[str, UploadFile | str]]) -> Form:
    fields = tuple((name, value) for name, value in items if isinstance(value, str))
    for name, value in items:
        if not isinstance(value, str):
            if name == "file":
                return Form(fields, value.file, value.size or 0, value.filename)
            raise invalid(name[:100], f"{name[:100]!r} came as a file; the only file is 'file'")
    return Form(fields)


def check_length(declared: str | None, settings: Settings) -> None:
    """Refuse what is declared to be too large before a byte of it is kept. Raises ApiError."""
    if declared is not None and declared.isdigit() and int(declared) > settings.max_upload * MB + MAX_TEXT_BYTES:
        raise _too_large(settings)


async def _limited(request: Request, settings: Settings) -> AsyncGenerator[bytes, None]:
    """The body, as long as it keeps coming and is not too large."""
    size = 0
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(settings.idle_timeout or None):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _too_slow(f"nothing came for {settings.idle_timeout:g} s") from None
        size += len(chunk)
        if size > settings.max_upload * MB + MAX_TEXT_BYTES:
            raise _too_large(settings)
        yield chunk


def check_file(form: Form, settings: Settings) -> BinaryIO:
    """The file of a form. Raises ApiError where there is none, an empty one, or one that is too large."""
    if form.file is None:
        raise invalid(
            "file", "there is no file; send the recording as the form field 'file'", "missing_required_parameter"
        )
    if form.size == 0:
        raise invalid("file", "the file is empty; send a recording", "invalid_audio")
    if form.size > settings.max_upload * MB:
        raise _too_large(settings)
    return form.file


def check_duration(file: BinaryIO, limit_s: float) -> float:
    """The seconds of a recording, at least. Raises AudioError where it is none, ApiError where beyond `limit_s`.

    Packets are counted and not decoded: a small file may hold days of silence, and may promise seconds.
    """
    tracks = audio_tracks(file)
    promised = max(track.duration_s for track in tracks)
    file.seek(0)
    if limit_s:
        promised = max(promised, _seconds_of_packets(file, limit_s))
    if limit_s and promised > limit_s:
        raise invalid(
            "file",
            f"the recording is longer than {limit_s:g} s, the limit of this server; send it in parts",
            "audio_too_long",
        )
    file.seek(0)
    return promised


def _seconds_of_packets(file: BinaryIO, limit_s: float) -> float:
    """The longest of the audio tracks by the durations of its packets, as far as just beyond the limit.

    Silence that players put before them, and between them, counts.
    """
    clocks = dict[int, Clock]()
    try:
        with av.open(file, mode="r", options={"protocol_whitelist": "none"}) as container:
            for packet in container.demux(*container.streams.audio):
                clock = clocks.setdefault(packet.stream.index, clock_of(container))
                if packet.duration and packet.time_base:
                    time_s = None if packet.pts is None else float(packet.pts * packet.time_base)
                    clock.wait(time_s, float(packet.duration * packet.time_base), next_s=inf)
                    if clock.had_s > limit_s:
                        break
    except (FFmpegError, OSError, ValueError, EOFError, IndexError):  # IndexError: PyAV, of a track that appears late
        pass  # damaged from here on; what comes before is decoded, and counts
    return max((clock.had_s for clock in clocks.values()), default=0.0)


def _too_large(settings: Settings) -> ApiError:
    return ApiError(
        413,
        f"the upload is larger than {settings.max_upload:g} MB, the limit of this server; compress or cut it",
        param="file",
        code="file_too_large",
        headers={"x-should-retry": "false"},
    )


def _too_slow(message: str) -> ApiError:
    # The connection is of no further use: bytes of the rest may still arrive.
    headers = {"x-should-retry": "false", "connection": "close"}
    return ApiError(408, f"{message}; send it faster", code="upload_timeout", headers=headers)
