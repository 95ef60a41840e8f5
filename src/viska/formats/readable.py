"""Viska's own layout: of all ways to cut a transcript into cues, and cues into lines, the one that reads best.

Both cuts are shortest paths over the places where a line may break, so no choice is regretted a few words later.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, pairwise
from math import inf
from typing import Any

from viska.formats.cues import Cue, TimedText
from viska.formats.pieces import Piece, pieces_of
from viska.formats.presets import GRAMMARS, NO_GRAMMAR, Grammar, Preset

SENTENCE_ENDS = tuple(".?!…。．？！؟۔।")  # noqa: RUF001  # the marks of other scripts
CLAUSE_ENDS = tuple(",;:–—、，；：،؛")  # noqa: RUF001
CLOSING_QUOTES = "\"'”’»)]」』）"  # noqa: RUF001

# What a break costs, by where it is. The scale is the cost of one more cue.
CUE = 10.0
AFTER_CLAUSE, AT_PAUSE, BEFORE_LINK, ANYWHERE, INSIDE_PHRASE = 2.0, 3.0, 4.0, 8.0, 14.0
PAUSE_MS = 300  # long enough to be heard as one
MISSING_SECOND = 10.0  # for each second that a cue is shown too short
LINE = 1e6  # more than everything else together: never a line more than needed
IMBALANCE = 10.0

CLOSE_GAP_MS = 500  # a shorter time without text is a flicker: the cue stays instead

Run = tuple[int, int]


def readable_cues(transcript: Mapping[str, Any], preset: Preset) -> list[Cue]:
    """The cues: in order, apart, none of negative time, and all of the text."""
    layout = Layout(pieces_of(transcript), preset, GRAMMARS.get(transcript.get("language") or "", NO_GRAMMAR))
    return list(_timed(layout, layout.cues()))


class Layout:
    """Where pieces may be cut into cues and lines, and what that costs."""

    def __init__(self, pieces: list[Piece], preset: Preset, grammar: Grammar) -> None:
        self.pieces = pieces
        self.preset = preset
        self.breaks = [break_cost(left, right, grammar) for left, right in pairwise(pieces)] + [0.0]
        self._columns = [0, *accumulate(piece.width + piece.spaced for piece in pieces)]

    def width(self, start: int, end: int) -> int:
        """The columns of a line of these pieces."""
        return self._columns[end] - self._columns[start] - self.pieces[start].spaced

    def seconds_to_read(self, start: int, end: int) -> float:
        """How long these pieces should be shown."""
        return max(self.preset.min_duration, self.width(start, end) / self.preset.max_speed)

    def cues(self) -> list[Run]:
        """The pieces of each cue."""
        return cheapest_runs(0, len(self.pieces), self._cue_ends, self._cue_cost)

    def lines(self, start: int, end: int) -> list[Run]:
        """The pieces of each line of a cue."""
        return cheapest_runs(
            start, end, lambda begin: self._line_ends(begin, end), lambda begin, stop: self._line_cost(begin, stop, end)
        )

    def _cue_ends(self, start: int) -> Iterator[int]:
        """Where a cue that starts here may end: after one piece, and after each more that it has room and time for."""
        pieces, preset = self.pieces, self.preset
        lines, line_start = 1, start
        yield start + 1
        for last in range(start + 1, len(pieces)):
            if self.width(line_start, last + 1) > preset.max_line_width:
                lines, line_start = lines + 1, last
            if (
                lines > preset.max_line_count
                or last - start == preset.max_words
                or pieces[last].end - pieces[start].start > preset.max_duration * 1000
                or pieces[last].start - pieces[last - 1].end > preset.max_pause * 1000
            ):
                return
            yield last + 1

    def _cue_cost(self, start: int, end: int) -> float:
        next_start = self.pieces[end].start if end < len(self.pieces) else inf
        time = min(self.preset.max_duration, (next_start - self.pieces[start].start) / 1000 - self.preset.gap)
        missing = max(0.0, self.seconds_to_read(start, end) - time)
        return CUE + self.breaks[end - 1] + MISSING_SECOND * missing

    def _line_ends(self, start: int, stop: int) -> Iterator[int]:
        yield start + 1
        for end in range(start + 2, stop + 1):
            if self.width(start, end) > self.preset.max_line_width:
                return
            yield end

    def _line_cost(self, start: int, end: int, stop: int) -> float:
        fullness = self.width(start, end) / self.preset.max_line_width
        return LINE + IMBALANCE * fullness**2 + (self.breaks[end - 1] if end < stop else 0.0)


def cheapest_runs(
    first: int, last: int, ends: Callable[[int], Iterable[int]], cost: Callable[[int, int], float]
) -> list[Run]:
    """The runs (start, end) that fill `first`..`last` at the lowest sum of costs.

    `ends(start)` are the ends that a run may have, the nearest of which is start + 1.
    """
    best = {first: (0.0, first)}  # by the end of the runs so far: their cost, and the start of the last
    for start in range(first, last):
        so_far = best[start][0]
        for end in ends(start):
            candidate = (so_far + cost(start, end), start)
            if end not in best or candidate < best[end]:
                best[end] = candidate
    runs: list[Run] = []
    end = last
    while end > first:
        start = best[end][1]
        runs.append((start, end))
        end = start
    return runs[::-1]


def break_cost(left: Piece, right: Piece, grammar: Grammar) -> float:
    """How bad it reads when a line or cue ends between these two. Segments end where the model heard a phrase end."""
    before, after = left.text.lower(), right.text.lower()
    if before in grammar.openers or before in grammar.links or _inside_name(left.text, right.text, grammar):
        return INSIDE_PHRASE
    end = left.text.rstrip(CLOSING_QUOTES) or left.text
    if end.endswith(SENTENCE_ENDS):
        return 0.0
    if end.endswith(CLAUSE_ENDS):
        return AFTER_CLAUSE
    if right.opens or right.start - left.end >= PAUSE_MS:
        return AT_PAUSE
    if not right.spaced:
        return _unspaced_cost(left.text[-1], right.text[0])
    return BEFORE_LINK if after in grammar.links else ANYWHERE


def _inside_name(left: str, right: str, grammar: Grammar) -> bool:
    """Two capitalised words, or an initial and what follows it."""
    initial = len(left) == 2 and left[0].isupper() and left[1] == "."
    capitalised = grammar.names and left[0].isupper() and left[-1].isalpha() and right[0].isupper()
    return initial or capitalised


def _unspaced_cost(left: str, right: str) -> float:
    """Between two characters: Japanese phrases begin with kanji or katakana and end in hiragana."""
    before, after = (unicodedata.name(character, "").split(" ")[0] for character in (left, right))
    if after == "HIRAGANA" or before == after == "KATAKANA":
        return INSIDE_PHRASE
    return BEFORE_LINK if before == "HIRAGANA" else ANYWHERE


def _timed(layout: Layout, runs: list[Run]) -> Iterator[Cue]:
    """Cues with their times: from the first word until all is said and can be read, and the next one is due."""
    shown_until = 0
    for number, (first, last) in enumerate(runs):
        pieces = layout.pieces[first:last]
        start = max(pieces[0].start, shown_until)
        end = max(start + round(layout.seconds_to_read(first, last) * 1000), *(piece.end for piece in pieces))
        if number + 1 < len(runs):
            end = _end_before(layout.pieces[last].start, start, end, layout.preset)
        end = max(start + 1, min(end, start + round(layout.preset.max_duration * 1000)))
        yield Cue(start, end, tuple(_words(layout, first, last, start, end)))
        shown_until = end


def _end_before(next_start: int, start: int, end: int, preset: Preset) -> int:
    """The end of a cue whose successor begins at `next_start`."""
    gap = round(preset.gap * 1000)
    limit = next_start - (gap if next_start - start > 2 * gap else 0)
    return limit if end > limit - CLOSE_GAP_MS else end


def _words(layout: Layout, first: int, last: int, start: int, end: int) -> Iterator[TimedText]:
    """The words of a cue, laid out in lines, their times within its own."""
    line_starts = {begin for begin, _ in layout.lines(first, last)} - {first}
    for number in range(first, last):
        piece = layout.pieces[number]
        joint = "\n" if number in line_starts else " " if piece.spaced and number > first else ""
        begins, ends = (min(max(time, start), end) for time in (piece.start, piece.end))
        yield TimedText(joint + piece.text, begins, ends)
