"""What subtitles are made of: cues of timed words, in whole milliseconds, and how times are written."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from viska.errors import OptionError


@dataclass(frozen=True, slots=True)
class TimedText:
    """A word of a cue, behind the space or line break that parts it from the word before; times in milliseconds."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown at once, from `start` to `end` in milliseconds."""

    start: int
    end: int
    words: tuple[TimedText, ...]

    @property
    def text(self) -> str:
        """The lines, with line breaks between them."""
        return "".join(word.text for word in self.words)


def has_words(segments: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any segment knows when its words were said."""
    return any(segment.get("words") is not None for segment in segments)


def milliseconds(seconds: float) -> int:
    """The nearest whole number. Raises OptionError for a time that is negative or not finite."""
    if not (math.isfinite(seconds) and seconds >= 0):
        raise OptionError(f"the time {seconds} s cannot be written: give a finite number of seconds, 0 or more")
    return round(seconds * 1000)


def format_timestamp(seconds: float, always_include_hours: bool = False, decimal_marker: str = ".") -> str:
    """`[HH:]MM:SS.mmm`, rounded once, to whole milliseconds; hours only from 1 h on unless asked for always.

    Raises OptionError for a time that is negative or not finite.
    """
    return stamp(milliseconds(seconds), always_include_hours, decimal_marker)


def stamp(time: int, always_include_hours: bool, decimal_marker: str) -> str:
    """`format_timestamp` of whole milliseconds."""
    seconds, thousandths = divmod(time, 1000)
    clock = [seconds // 3600, seconds // 60 % 60, seconds % 60]
    if not (always_include_hours or clock[0]):
        del clock[0]
    return ":".join(f"{number:02d}" for number in clock) + f"{decimal_marker}{thousandths:03d}"


def centiseconds(time: int) -> int:
    """The nearest hundredth of a second to these milliseconds; halves up, so that order is kept."""
    return (time + 5) // 10
