"""What users of `whisper.utils` import, by the same names: converters of flags, and writers of results.

Viska's own code uses `viska.formats`, on which the writers stand.
"""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any, TextIO, TypeVar

from viska.errors import OptionError, OutputError
from viska.formats import FORMATS, LineOptions, write, write_text
from viska.formats import format_timestamp as format_timestamp
from viska.text import compression_ratio as compression_ratio

Number = TypeVar("Number", int, float)


def exact_div(x: int, y: int) -> int:
    """`x` / `y`, which must be whole. Raises OptionError where it is not."""
    quotient, rest = divmod(x, y)
    if rest:
        raise OptionError(f"{x} is no multiple of {y}: give one that is")
    return quotient


def str2bool(string: str) -> bool:
    """The value of "True" or "False". Raises OptionError for any other text."""
    if string not in ("True", "False"):
        raise OptionError(f"{string!r} is neither True nor False")
    return string == "True"


def optional_int(string: str) -> int | None:
    """A whole number, or None for "None". Raises OptionError for any other text."""
    return _unless_none(int, string, "a whole number")


def optional_float(string: str) -> float | None:
    """A number, or None for "None". Raises OptionError for any other text."""
    return _unless_none(float, string, "a number")


def _unless_none(kind: Callable[[str], Number], text: str, described: str) -> Number | None:
    if text == "None":
        return None
    try:
        return kind(text)
    except ValueError as error:
        raise OptionError(f"{text!r} is neither {described} nor None") from error


def make_safe(string: str) -> str:
    """The text with "?" for each character that standard output cannot show, so that printing it does not fail."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return string.encode(encoding, errors="replace").decode(encoding)


def get_start(segments: Sequence[Mapping[str, Any]]) -> float | None:
    """Start in seconds of the first word, or of the first segment where there are no words; None without segments."""
    timed = _words(segments) or segments
    return timed[0]["start"] if timed else None


def get_end(segments: Sequence[Mapping[str, Any]]) -> float | None:
    """End in seconds of the last word, or of the last segment where there are no words; None without segments."""
    timed = _words(segments) or segments
    return timed[-1]["end"] if timed else None


def _words(segments: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [word for segment in segments for word in segment.get("words") or ()]


class ResultWriter(ABC):
    """Writes results into a folder: `writer(result, "talk.wav")` makes `output_dir`/talk.`extension`.

    A format of one's own is a subclass with an `extension` and a `write_result`.
    """

    extension: str

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = output_dir

    def __call__(
        self,
        result: Mapping[str, Any],
        audio_path: str | os.PathLike[str],
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the file, UTF-8; a missing folder is made, an older file replaced.

        `options` and `kwargs` go to `write_result`. Raises OutputError if the file cannot be written.
        """
        content = StringIO()  # the whole content before the file: what cannot be formatted spoils no older file
        self.write_result(result, content, options, **kwargs)
        if not Path(audio_path).name:
            raise OutputError(f"{os.fspath(audio_path)!r} has no file name to call the output by: give one")
        write_text(Path(self.output_dir, f"{Path(audio_path).stem}.{self.extension}"), content.getvalue())

    @abstractmethod
    def write_result(
        self, result: Mapping[str, Any], file: TextIO, options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Write the content into an open text file."""


class _FormatWriter(ResultWriter):
    """A writer of one of `viska.formats`."""

    takes_options = False

    def write_result(
        self, result: Mapping[str, Any], file: TextIO, options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Write the content into an open text file.

        Options are those of `viska.formats.LineOptions`, in the mapping or as keywords, which go before it; as in
        openai/whisper they do nothing where the result has no words. Raises OptionError for others.
        """
        line_options = _line_options(result, options, kwargs)
        to_format = FORMATS[self.extension]
        file.write(to_format(result, line_options) if self.takes_options else to_format(result))


class SubtitlesWriter(_FormatWriter):
    """A writer of cues, which line options lay out."""

    takes_options = True


class WriteTXT(_FormatWriter):
    """One segment a line."""

    extension = "txt"


class WriteVTT(SubtitlesWriter):
    """WebVTT."""

    extension = "vtt"


class WriteSRT(SubtitlesWriter):
    """SubRip."""

    extension = "srt"


class WriteTSV(_FormatWriter):
    """Start and end in whole milliseconds, and the text."""

    extension = "tsv"


class WriteJSON(_FormatWriter):
    """The whole result."""

    extension = "json"


_WRITERS = {writer.extension: writer for writer in (WriteTXT, WriteVTT, WriteSRT, WriteTSV, WriteJSON)}


def get_writer(output_format: str, output_dir: str | os.PathLike[str]) -> Callable[..., None]:
    """The writer of "txt", "vtt", "srt", "tsv", "json", or of "all" of them; to be called as a `ResultWriter` is.

    Raises OptionError for any other format.
    """
    if output_format == "all":
        return _EveryFormat(output_dir)
    if output_format not in _WRITERS:
        raise OptionError(f"unknown output format {output_format!r}: give one of {', '.join([*_WRITERS, 'all'])}")
    return _WRITERS[output_format](output_dir)


class _EveryFormat:
    """Is called as a `ResultWriter` is, and writes a file of each format."""

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = output_dir

    def __call__(
        self,
        result: Mapping[str, Any],
        audio_path: str | os.PathLike[str],
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        write(result, audio_path, self.output_dir, "all", _line_options(result, options, kwargs))


def _line_options(
    result: Mapping[str, Any], options: Mapping[str, Any] | None, keywords: Mapping[str, Any]
) -> LineOptions:
    """The options that are given, of a result with words; None, 0 and False are not."""
    accepted = [field.name for field in fields(LineOptions)]
    both = [*(options or {}).items(), *keywords.items()]
    for name, _ in both:
        if name not in accepted:
            raise OptionError(f"unknown option {name!r}: give some of {', '.join(accepted)}")
    given = LineOptions(**{name: value for name, value in both if value})
    return given if _words(result["segments"]) else LineOptions()
