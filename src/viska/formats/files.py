"""Formats by name, and files that appear whole or not at all."""

import errno
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from viska.errors import OptionError, OutputError
from viska.formats.karaoke import to_ass, to_lrc
from viska.formats.lines import LineOptions
from viska.formats.plain import to_json, to_tsv, to_txt
from viska.formats.presets import PRESETS, Preset
from viska.formats.subtitles import to_srt, to_vtt

FORMATS: Mapping[str, Callable[..., str]] = {
    "txt": to_txt,
    "vtt": to_vtt,
    "srt": to_srt,
    "tsv": to_tsv,
    "json": to_json,
    "lrc": to_lrc,
    "ass": to_ass,
}
ALL = ("txt", "vtt", "srt", "tsv", "json")  # what "all" means to users of openai/whisper
LAID_OUT = ("vtt", "srt", "lrc", "ass")
"""Formats of cues, which take options."""
_ENDINGS = ", ".join(f".{name}" for name in FORMATS)

_ADVICE = {
    errno.ENOSPC: "free some space, or choose another output folder",
    errno.EDQUOT: "free some of your quota, or choose another output folder",
    errno.EFBIG: "files may not be so large here (ulimit -f): raise the limit, or choose another output folder",
    errno.EISDIR: "there is a folder of that name: move it away, or choose another output folder",
    errno.ENOTDIR: "a part of the path is a file: choose another output folder",
    errno.EEXIST: "a file has the name of the folder: choose another output folder",
    errno.ENAMETOOLONG: "give the input a shorter name",
}


def write(
    transcript: Mapping[str, Any],
    audio_path: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    output_format: str = "all",
    options: LineOptions | Preset | None = None,
) -> list[Path]:
    """Write the transcript of `audio_path` as `output_dir`/STEM.FORMAT, UTF-8, and return the paths.

    `output_format` is a key of FORMATS, or "all" for txt, vtt, srt, tsv and json. `options` lay out the cues of vtt,
    srt, lrc and ass. A missing folder is made, an older file replaced. Each file appears whole or not at all. Raises
    OptionError for an unknown format or options that do not fit, OutputError if a file cannot be written.
    """
    paths = output_paths(audio_path, output_dir, output_format)
    # All contents before the first file: what cannot be formatted leaves no files behind.
    contents = {path: _content(transcript, name, options) for name, path in paths.items()}
    for path, content in contents.items():
        write_text(path, content)
    return list(contents)


def output_paths(
    audio_path: str | os.PathLike[str], output_dir: str | os.PathLike[str], output_format: str = "all"
) -> dict[str, Path]:
    """Format -> the file that `write` writes. Raises OptionError for an unknown format, OutputError for no name."""
    if output_format != "all" and output_format not in FORMATS:
        raise OptionError(f"unknown output format {output_format!r}: give one of {', '.join([*FORMATS, 'all'])}")
    stem = Path(audio_path).stem
    if not stem:
        raise OutputError(f"{os.fspath(audio_path)!r} has no file name to call the output by: give the path of a file")
    chosen = ALL if output_format == "all" else (output_format,)
    return {name: Path(output_dir) / f"{stem}.{name}" for name in chosen}


def save(
    transcript: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    preset: Preset | str | None = None,
    **line_options: Any,
) -> Path:
    """Write the transcript as this file, UTF-8, in the format of its ending, a key of FORMATS; returns the path.

    Cues are laid out as the `preset`, or its name in PRESETS, says, or as the options of `LineOptions` do; `karaoke`
    goes with both. A missing folder is made, an older file replaced; the file appears whole or not at all. Raises
    OptionError for another ending and for options that do not fit, OutputError if the file cannot be written.

    >>> save(transcript, "talk.srt", max_line_width=42, max_line_count=2)
    """
    path = Path(path)
    name = path.suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise OptionError(f"{os.fspath(path)!r} does not end in the name of a format: let it end in {_ENDINGS}")
    options = _layout(preset, line_options)
    if options is not None and name not in LAID_OUT:
        raise OptionError(f"{name} has no cues to lay out: leave the options out, or save as {', '.join(LAID_OUT)}")
    write_text(path, _content(transcript, name, options))
    return path


def write_text(path: Path, content: str) -> None:
    """Write a file that appears whole or not at all, UTF-8, line ends as they are; a missing folder is made.

    Half of a surrogate pair, as in names of files that are not UTF-8, is written as its escape, which JSON reads back.
    Raises OutputError if it cannot be written.
    """
    try:
        _write_whole(path, content.encode("utf-8", "backslashreplace"))
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check its permissions, or choose another output folder")
        raise OutputError(f"cannot write {path}: {error.strerror or error}; {advice}") from error


def _layout(preset: Preset | str | None, line_options: Mapping[str, Any]) -> LineOptions | Preset | None:
    accepted = [field.name for field in fields(LineOptions)]
    if unknown := sorted(set(line_options) - set(accepted)):
        raise OptionError(f"unknown option {', '.join(unknown)}: give some of preset, {', '.join(accepted)}")
    if preset is None:
        return LineOptions(**line_options) if line_options else None
    if contradicting := [name for name in line_options if name != "karaoke"]:
        raise OptionError(f"a preset lays cues out by itself: leave out {', '.join(contradicting)}, or the preset")
    if isinstance(preset, str) and preset not in PRESETS:
        raise OptionError(f"unknown preset {preset!r}: give one of {', '.join(PRESETS)}, or a Preset(...)")
    chosen = PRESETS[preset] if isinstance(preset, str) else preset
    return replace(chosen, **line_options) if isinstance(chosen, Preset) else chosen


def _content(transcript: Mapping[str, Any], name: str, options: LineOptions | Preset | None) -> str:
    return FORMATS[name](transcript, options) if name in LAID_OUT else FORMATS[name](transcript)


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside `path` and rename, so that no reader, and no crash, ever sees half a file.

    Of a link its target is written. A pipe or a device is written to: it is not to become a file.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not derived from the name of the target, which may be as long as the file system allows.
    temporary = path.with_name(f".viska-{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
