"""A transcript as txt, vtt, srt, tsv and json, in the layout of openai/whisper, and its way into files.

    to_srt(transcript)                                    -> the content, a str
    write(transcript, "talk.wav", "subtitles", "srt")     -> [Path("subtitles/talk.srt")]

Each `to_*` is a pure function of a `Transcript`, or of any mapping laid out like openai/whisper's results. Cues follow
the segments; words are not looked at.
"""

import errno
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from viska.errors import OptionError, OutputError
from viska.result import DictView

_ADVICE = {
    errno.ENOSPC: "free some space, or choose another output folder",
    errno.EDQUOT: "free some of your quota, or choose another output folder",
    errno.EISDIR: "there is a folder of that name: move it away, or choose another output folder",
    errno.ENOTDIR: "a part of the path is a file: choose another output folder",
    errno.EEXIST: "a file has the name of the folder: choose another output folder",
    errno.ENAMETOOLONG: "give the input a shorter name",
}


def format_timestamp(seconds: float, always_include_hours: bool = False, decimal_marker: str = ".") -> str:
    """`[HH:]MM:SS.mmm`, rounded once, to whole milliseconds; hours only from 1 h on unless asked for always.

    Raises OptionError for a time that is negative or not finite.
    """
    minutes, milliseconds = divmod(_milliseconds(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    prefix = f"{hours:02d}:" if always_include_hours or hours > 0 else ""
    return f"{prefix}{minutes:02d}:{milliseconds // 1000:02d}{decimal_marker}{milliseconds % 1000:03d}"


def to_txt(transcript: Mapping[str, Any]) -> str:
    """One segment a line."""
    return "".join(f"{segment['text'].strip()}\n" for segment in transcript["segments"])


def to_vtt(transcript: Mapping[str, Any]) -> str:
    """WebVTT: `MM:SS.mmm`, with hours where there are any."""
    cues = (f"{start} --> {end}\n{text}\n\n" for start, end, text in _cues(transcript, False, "."))
    return "WEBVTT\n\n" + "".join(cues)


def to_srt(transcript: Mapping[str, Any]) -> str:
    """SubRip: numbered from 1, `HH:MM:SS,mmm`."""
    cues = enumerate(_cues(transcript, True, ","), start=1)
    return "".join(f"{number}\n{start} --> {end}\n{text}\n\n" for number, (start, end, text) in cues)


def to_tsv(transcript: Mapping[str, Any]) -> str:
    """Start and end in whole milliseconds, and the text with its tabs made spaces; the first line names the columns."""
    rows = ["start\tend\ttext\n"]
    for segment in transcript["segments"]:
        start, end = _milliseconds(segment["start"]), _milliseconds(segment["end"])
        rows.append(f"{start}\t{end}\t{segment['text'].strip().replace(chr(9), ' ')}\n")
    return "".join(rows)


def to_json(transcript: Mapping[str, Any]) -> str:
    """The whole result on one line of ASCII."""
    return json.dumps(transcript, default=_plain)


FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "txt": to_txt,
    "vtt": to_vtt,
    "srt": to_srt,
    "tsv": to_tsv,
    "json": to_json,
}


def write(
    transcript: Mapping[str, Any],
    audio_path: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    output_format: str = "all",
) -> list[Path]:
    """Write the transcript of `audio_path` as `output_dir`/STEM.FORMAT, UTF-8, and return the paths.

    `output_format` is a key of FORMATS or "all". A missing folder is made, an older file replaced. Each file appears
    whole or not at all. Raises OptionError for an unknown format, OutputError if a file cannot be written.
    """
    if output_format != "all" and output_format not in FORMATS:
        raise OptionError(f"unknown output format {output_format!r}: give one of {', '.join([*FORMATS, 'all'])}")
    stem = Path(audio_path).stem
    if not stem:
        raise OutputError(f"{os.fspath(audio_path)!r} has no file name to call the output by: give the path of a file")
    chosen = list(FORMATS) if output_format == "all" else [output_format]
    # All contents before the first file: what cannot be formatted leaves no files behind.
    contents = {Path(output_dir) / f"{stem}.{name}": FORMATS[name](transcript) for name in chosen}
    for path, content in contents.items():
        try:
            _write_whole(path, content.encode("utf-8"))
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "check its permissions, or choose another output folder")
            raise OutputError(f"cannot write {path}: {error.strerror or error}; {advice}") from error
    return list(contents)


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside `path` and rename, so that no reader, and no crash, ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not derived from the name of the target, which may be as long as the file system allows.
    temporary = path.with_name(f".viska-{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _cues(transcript: Mapping[str, Any], hours: bool, marker: str) -> Iterator[tuple[str, str, str]]:
    """Start, end and text of each segment; the arrow, which would end a cue's text, is shortened."""
    for segment in transcript["segments"]:
        start, end = (format_timestamp(segment[key], hours, marker) for key in ("start", "end"))
        yield start, end, segment["text"].strip().replace("-->", "->")


def _milliseconds(seconds: float) -> int:
    if not (math.isfinite(seconds) and seconds >= 0):
        raise OptionError(f"the time {seconds} s cannot be written: give a finite number of seconds, 0 or more")
    return round(seconds * 1000)


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, DictView):
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
