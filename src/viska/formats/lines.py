"""The layout of openai/whisper: a cue for each segment, its words in lines as four options ask.

Differs from it where its files cannot be read back: see `to_srt`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

from viska.errors import OptionError
from viska.formats.cues import Cue, TimedText, has_words, milliseconds

LONG_PAUSE_S = 3.0  # between the starts of two words; a cue that may join segments ends there
UNLIMITED = 1000  # characters a line, words a line: openai/whisper's own bound where none is given


@dataclass(frozen=True, kw_only=True)
class LineOptions:
    """The line options of openai/whisper for srt and vtt. Each of them needs a transcript with words.

    Cues keep to their segments, unless both width and count are given: then they run on, up to a long pause.
    Raises OptionError for a number that is not a whole one of 1 or more.
    """

    max_line_width: int | None = None
    """Characters a line; a longer word gets a line of its own."""
    max_line_count: int | None = None
    """Lines a cue; without a width, lines end only after 1000 characters."""
    max_words_per_line: int | None = None
    """Words a cue, counted from the start of the segment; says nothing when both width and count are given."""
    highlight_words: bool = False
    """Whether every word gets a cue of its own that shows it underlined among the others; srt and vtt only."""
    karaoke: bool = False
    """Whether a cue tells when each of its words is said; vtt only, as lrc and ass always do."""

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_line_count", "max_words_per_line"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise OptionError(f"{name} is {value!r}; accepted are None and whole numbers from 1")
        for name in ("highlight_words", "karaoke"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} is {getattr(self, name)!r}; accepted are True and False")
        if self.highlight_words and self.karaoke:
            raise OptionError("highlight_words and karaoke mark words in two ways: give one of them")

    @property
    def given(self) -> list[str]:
        """The names of the options that are not at their defaults."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]


def line_cues(transcript: Mapping[str, Any], options: LineOptions) -> Iterator[Cue]:
    """The cues, words not yet highlighted. Raises OptionError if options are given and a segment has no words."""
    segments = transcript["segments"]
    _check_words(segments, options)
    if not has_words(segments):
        for segment in segments:
            start, end = _times(segment)
            yield Cue(start, end, (TimedText(segment["text"].strip(), start, end),))
        return
    for words in _stretches(segments, options):
        lines = list(_lines(words, options.max_line_width or UNLIMITED))
        count = options.max_line_count or len(lines)
        for first in range(0, len(lines), count):
            yield _cue(lines[first : first + count])


def highlighted(cue: Cue) -> Iterator[Cue]:
    """The cue once for each word, which is underlined, and as it is for the time between words."""
    shown_until = cue.start
    for number, word in enumerate(cue.words):
        if word.start > shown_until:
            yield Cue(shown_until, word.start, cue.words)
        marked = TimedText(_underlined(word.text), word.start, word.end)
        yield Cue(word.start, word.end, (*cue.words[:number], marked, *cue.words[number + 1 :]))
        shown_until = word.end


def _check_words(segments: Sequence[Mapping[str, Any]], options: LineOptions) -> None:
    if not options.given:
        return
    for number, segment in enumerate(segments):
        if segment.get("words") is None and segment["text"].strip():
            names = ", ".join(options.given)
            raise OptionError(f"{names} need words, and segment {number} has none: transcribe with word_timestamps")


def _stretches(segments: Sequence[Mapping[str, Any]], options: LineOptions) -> Iterator[list[Mapping[str, Any]]]:
    """The words that may share cues: those of a segment, or so many of it, or all up to a long pause."""
    if options.max_line_width is not None and options.max_line_count is not None:
        stretch: list[Mapping[str, Any]] = []
        for word in chain.from_iterable(map(_words, segments)):
            # The seconds as they come: rounded first, 3.0000000000000004 s would be no long pause.
            if stretch and word["start"] - stretch[-1]["start"] > LONG_PAUSE_S:
                yield stretch
                stretch = []
            stretch.append(word)
        if stretch:
            yield stretch
        return
    size = options.max_words_per_line or UNLIMITED
    for words in map(_words, segments):
        for first in range(0, len(words), size):
            yield list(words[first : first + size])


def _words(segment: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The words of a segment; one that has none, though others do, is as good as one word."""
    words: Sequence[Mapping[str, Any]] | None = segment.get("words")
    if words is None:
        return [{"word": segment["text"], "start": segment["start"], "end": segment["end"]}]
    return words


def _lines(words: Iterable[Mapping[str, Any]], width: int) -> Iterator[list[TimedText]]:
    """The words of each line, filled from the first on."""
    line: list[TimedText] = []
    used = 0
    for word in words:
        text = word["word"]
        if used and used + len(text) > width:
            yield line
            line, used = [], 0
        if not used:
            text = text.strip()
        used += len(text)
        line.append(TimedText(text, *_times(word)))
    if line:
        yield line


def _cue(lines: Sequence[Sequence[TimedText]]) -> Cue:
    words = list(lines[0])
    for first, *others in lines[1:]:
        words += [replace(first, text="\n" + first.text), *others]
    return Cue(words[0].start, words[-1].end, tuple(words))


def _times(item: Mapping[str, Any]) -> tuple[int, int]:
    return milliseconds(item["start"]), milliseconds(item["end"])


def _underlined(text: str) -> str:
    """The text between tags, the space before it outside."""
    word = text.lstrip()
    return f"{text[: len(text) - len(word)]}<u>{word}</u>"
