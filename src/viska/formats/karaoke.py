"""LRC and ASS: formats that tell when each word is said, where that is known."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from viska.formats.cues import Cue, TimedText, centiseconds, has_words
from viska.formats.lines import LineOptions
from viska.formats.presets import Preset
from viska.formats.subtitles import to_cues

LONG_GAP_MS = 3000  # LRC lines have no end: behind a line an empty one is due if the next comes later than this

_STAMP_ALIKE = re.compile(r"[\[<](\d+:\d+(?:[.:]\d+)?)[\]>]")
# No player agrees with another on how to escape these in ASS; these look the same and mean nothing.
_HARMLESS = str.maketrans({"{": "\uff5b", "}": "\uff5d", "\\": "\\\u2060"})

_ASS_HEADER = """\
[Script Info]
ScriptType: v4.00+
PlayResX: 1920
PlayResY: 1080
WrapStyle: 0
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,64,&H00FFFFFF,&H00A0A0A0,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,1,2,96,96,64,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    words: tuple[TimedText, ...]


def to_lrc(transcript: Mapping[str, Any], options: LineOptions | Preset | None = None) -> str:
    """LRC: `[mm:ss.xx]` before each line, `<mm:ss.xx>` before each word where words are known.

    An empty line ends a text that a long gap, or nothing, follows. What looks like a stamp in the text gets round
    brackets. Raises OptionError as `to_cues` does.
    """
    stamped = has_words(transcript["segments"])
    lines = [line for cue in to_cues(transcript, options) for line in _lines(cue)]
    rows = []
    for number, line in enumerate(lines, start=1):
        rows.append(f"[{_lrc_time(line.start)}]{_lrc_text(line, stamped)}\n")
        if number == len(lines) or lines[number].start - line.end > LONG_GAP_MS:
            rows.append(f"[{_lrc_time(line.end)}]\n")
    return "".join(rows)


def to_ass(transcript: Mapping[str, Any], options: LineOptions | Preset | None = None) -> str:
    r"""Advanced SubStation Alpha: an event for each cue, with `{\k}` karaoke where words are known.

    The karaoke times of an event fill it, the gaps between words with them. Braces become full-width ones, and a
    backslash is kept from meaning anything. Raises OptionError as `to_cues` does.
    """
    sung = has_words(transcript["segments"])
    rows = [_ASS_HEADER]
    for cue in to_cues(transcript, options):
        if cue.text.strip():
            text = _sung_text(cue) if sung else "".join(f"{joint}{text}" for joint, text, _ in _ass_words(cue))
            rows.append(f"Dialogue: 0,{_ass_time(cue.start)},{_ass_time(cue.end)},Default,,0,0,0,,{text}\n")
    return "".join(rows)


def _lines(cue: Cue) -> Iterator[_Line]:
    """The lines of a cue that have text, each from its first word to its last."""
    words = [word for word in cue.words if word.text.strip()]
    begins = [number for number, word in enumerate(words) if number == 0 or word.text.startswith("\n")]
    for first, last in pairwise([*begins, len(words)]):
        start = cue.start if first == 0 else words[first].start
        end = cue.end if last == len(words) else words[last - 1].end
        yield _Line(start, end, tuple(words[first:last]))


def _lrc_text(line: _Line, stamped: bool) -> str:
    parts = []
    for number, word in enumerate(line.words):
        text = _STAMP_ALIKE.sub(r"(\1)", " ".join(word.text.split()))
        joint = " " if number > 0 and word.text[0].isspace() else ""
        parts.append(f"{joint}<{_lrc_time(word.start)}>{text}" if stamped else f"{joint}{text}")
    return "".join(parts)


def _lrc_time(time: int) -> str:
    minutes, rest = divmod(centiseconds(time), 6000)
    return f"{minutes:02d}:{rest // 100:02d}.{rest % 100:02d}"


def _ass_words(cue: Cue) -> Iterator[tuple[str, str, int]]:
    r"""What parts each word from the last (nothing, a space or `\N`), its harmless text, and its start."""
    words = [word for word in cue.words if word.text.strip()]
    for number, word in enumerate(words):
        joint = ""
        if number > 0 and word.text[0].isspace():
            joint = r"\N" if word.text[0] == "\n" else " "
        yield joint, " ".join(word.text.split()).translate(_HARMLESS), word.start


def _sung_text(cue: Cue) -> str:
    words = list(_ass_words(cue))
    # A word is sung until the next begins, so that the durations add up to the event's.
    marks = [centiseconds(max(cue.start, min(start, cue.end))) for _, _, start in words]
    parts = []
    if waits := marks[0] - centiseconds(cue.start):
        parts.append(f"{{\\k{waits}}}")
    for (joint, text, _), (start, end) in zip(words, pairwise([*marks, centiseconds(cue.end)]), strict=True):
        parts.append(f"{joint}{{\\k{end - start}}}{text}")
    return "".join(parts)


def _ass_time(time: int) -> str:
    seconds, hundredths = divmod(centiseconds(time), 100)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{hundredths:02d}"
