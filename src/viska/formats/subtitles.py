"""SubRip and WebVTT."""

import re
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from typing import Any

from viska.errors import OptionError
from viska.formats.channels import by_channel
from viska.formats.cues import Cue, stamp
from viska.formats.lines import LineOptions, highlighted, line_cues
from viska.formats.presets import PRESETS, Preset
from viska.formats.readable import readable_cues

_ARROW = re.compile("-{2,}>")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def to_cues(transcript: Mapping[str, Any], options: LineOptions | Preset | None = None) -> Iterable[Cue]:
    """The cues of a transcript: in Viska's own layout for a `Preset`, else in openai/whisper's, words not highlighted.

    Where channels were transcribed apart, each is laid out by itself: only cues of two channels can overlap.
    Raises OptionError for options of another kind, and for line options where words are lacking.
    """
    _check(options)
    parts = [_cues(part, options) for part in by_channel(transcript)]
    return parts[0] if len(parts) == 1 else merge(*parts, key=lambda cue: cue.start)


def _cues(transcript: Mapping[str, Any], options: LineOptions | Preset | None) -> Iterable[Cue]:
    if isinstance(options, Preset):
        return readable_cues(transcript, options)
    return line_cues(transcript, options or LineOptions())


def to_srt(transcript: Mapping[str, Any], options: LineOptions | Preset | None = None) -> str:
    """SubRip: numbered from 1, `HH:MM:SS,mmm`.

    Byte for byte what openai/whisper writes for the same line options, but for what no player could read: an arrow
    `-->` in the text is shortened there too where words are known, and no cue ends before it starts.
    Raises OptionError as `to_cues` does.
    """
    cues = enumerate(_shown(transcript, options), start=1)
    return "".join(f"{number}\n{_times(cue, True, ',')}\n{_without_arrow(cue.text)}\n\n" for number, cue in cues)


def to_vtt(transcript: Mapping[str, Any], options: LineOptions | Preset | None = None) -> str:
    """WebVTT: `MM:SS.mmm`, with hours where there are any.

    As with `to_srt`; in Viska's own layout and for karaoke `&`, `<` and `>` are escaped, which openai/whisper does not
    do. With karaoke each word is in a span of its own, behind the time at which it is said.
    """
    if karaoke := isinstance(options, LineOptions | Preset) and options.karaoke:
        _check_words(transcript)
    escapes = _ESCAPES if isinstance(options, Preset) else {}
    cues = (
        f"{_times(cue, False, '.')}\n{_sung_text(cue) if karaoke else _without_arrow(cue.text).translate(escapes)}\n\n"
        for cue in _shown(transcript, options)
    )
    return "WEBVTT\n\n" + "".join(cues)


def _check_words(transcript: Mapping[str, Any]) -> None:
    for number, segment in enumerate(transcript["segments"]):
        if segment.get("words") is None and segment["text"].strip():
            raise OptionError(f"karaoke needs words, and segment {number} has none: transcribe with word_timestamps")


def _sung_text(cue: Cue) -> str:
    """The words, each behind its time; a time that does not go on within the cue is left out, as WebVTT wants it."""
    parts = []
    latest = cue.start
    for word in cue.words:
        text = word.text.lstrip()
        parts.append(word.text[: len(word.text) - len(text)])
        if latest < word.start < cue.end:
            parts.append(f"<{stamp(word.start, True, '.')}>")
            latest = word.start
        parts.append(f"<c>{text.translate(_ESCAPES)}</c>")
    return "".join(parts)


def _check(options: object) -> None:
    if not (options is None or isinstance(options, LineOptions | Preset)):
        raise OptionError(
            f"options is {options!r}; accepted are None, LineOptions(...), Preset(...) and PRESETS[...] with one of "
            f"{', '.join(PRESETS)}"
        )


def _shown(transcript: Mapping[str, Any], options: LineOptions | Preset | None) -> Iterator[Cue]:
    for cue in to_cues(transcript, options):
        if isinstance(options, LineOptions) and options.highlight_words:
            yield from highlighted(cue)
        else:
            yield cue


def _times(cue: Cue, hours: bool, marker: str) -> str:
    return f"{stamp(cue.start, hours, marker)} --> {stamp(cue.end, hours, marker)}"


def _without_arrow(text: str) -> str:
    """The text with `->` for each arrow, which would be taken for a line of times."""
    return _ARROW.sub("->", text)
