"""A transcript as pieces: the shortest texts between which a line may break, each with its time.

Words where they are known; else the text of segments, cut at spaces and, in scripts without spaces, between characters.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from viska.formats.cues import milliseconds

# Languages that part no words by spaces: those whose words Whisper's tokenizer takes character by character.
NO_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})

# What may neither end nor begin a line where there are no spaces; with the Thai vowels written before or behind theirs.
OPENING = frozenset("([{<「『（《〈【〔“‘¿¡เแโใไ")  # noqa: RUF001  # full-width marks
CLOSING = frozenset(")]}>」』）》〉】〕”’.,!?:;。、，．！？：；…ー～々ゝゞっッゃゅょャュョぁぃぅぇぉァィゥェォะาำๅๆ")  # noqa: RUF001

JOINER = "\u200d"  # makes one emoji of two


@dataclass(frozen=True, slots=True)
class Piece:
    """A text without spaces around it, and its time in milliseconds."""

    text: str
    start: int
    end: int
    spaced: bool
    """Whether a space parts it from the piece before."""
    opens: bool
    """Whether a segment begins with it."""

    @property
    def width(self) -> int:
        """The columns it takes."""
        return display_width(self.text)


def display_width(text: str) -> int:
    """The columns that a text takes: 2 for a wide character, 0 for one that joins or combines."""
    return sum(_column_count(character) for character in text)


def pieces_of(transcript: Mapping[str, Any]) -> list[Piece]:
    """All the text of the segments, in order, starts never going back.

    Raises OptionError for a time that is negative or not finite.
    """
    language = transcript.get("language") or ""
    pieces: list[Piece] = []
    latest = 0
    for raw in _raw_pieces(transcript, language):
        start = max(raw.start, latest)
        piece = replace(raw, start=start, end=max(raw.end, start))
        latest = start
        before = pieces[-1] if pieces else None
        if before and not _may_part(before, piece, language):
            pieces[-1] = replace(before, text=before.text + piece.text, end=max(before.end, piece.end))
            continue
        spaced = piece.spaced or (piece.opens and not (before and _runs_on(before.text, piece.text, language)))
        pieces.append(replace(piece, spaced=spaced))
    return pieces


def _raw_pieces(transcript: Mapping[str, Any], language: str) -> Iterator[Piece]:
    """Pieces that may yet have to be joined."""
    segments = transcript["segments"]
    # A word may stand with the segment before its own, so all are compared first; no text may be lost.
    spoken = "".join(word["word"] for segment in segments for word in segment.get("words") or ())
    complete = _bare(spoken) == _bare("".join(segment["text"] for segment in segments))
    for segment in segments:
        words = segment.get("words") or ()
        if complete or _bare("".join(word["word"] for word in words)) == _bare(segment["text"]):
            raw = _from_words(words)
        else:
            raw = _from_text(segment, language)
        for number, piece in enumerate(raw):
            yield replace(piece, opens=number == 0)


def _from_words(words: tuple[Mapping[str, Any], ...]) -> Iterator[Piece]:
    for word in words:
        start, end = milliseconds(word["start"]), milliseconds(word["end"])
        texts = word["word"].split()
        for number, text in enumerate(texts):
            yield Piece(text, start, end, number > 0 or word["word"][:1].isspace(), opens=False)


def _from_text(segment: Mapping[str, Any], language: str) -> Iterator[Piece]:
    """The text of a segment, with times in proportion to the columns."""
    start, end = milliseconds(segment["start"]), milliseconds(segment["end"])
    texts = [
        (text, number == 0 and (place > 0 or segment["text"][0].isspace()))
        for place, part in enumerate(segment["text"].split())
        for number, text in enumerate(_characters(part) if _without_spaces(part, language) else [part])
    ]
    spent = [0, *accumulate(max(1, display_width(text)) for text, _ in texts)]
    times = [start + max(0, end - start) * columns // spent[-1] for columns in spent] if texts else []
    for (text, spaced), begins, ends in zip(texts, times, times[1:], strict=False):
        yield Piece(text, begins, ends, spaced, opens=False)


def _may_part(before: Piece, piece: Piece, language: str) -> bool:
    """Whether a line may break between two pieces."""
    if piece.spaced:
        return True
    if not _runs_on(before.text, piece.text, language):
        return piece.opens
    return before.text[-1] not in OPENING and piece.text[0] not in CLOSING


def _runs_on(left: str, right: str, language: str) -> bool:
    """Whether the script writes one text behind the other without a space."""
    return language in NO_SPACES or _is_ideographic(left[-1]) or _is_ideographic(right[0])


def _without_spaces(text: str, language: str) -> bool:
    return language in NO_SPACES or any(_is_ideographic(character) for character in text)


def _characters(text: str) -> list[str]:
    """The characters as a reader counts them: marks, joined emoji and words of other scripts are kept whole."""
    pattern = re.compile(r"[0-9A-Za-z\u00c0-\u024f'’.,\-]+|.", re.DOTALL)  # noqa: RUF001
    characters: list[str] = []
    for match in pattern.finditer(text):
        part = match[0]
        if characters and (_column_count(part[0]) == 0 or _is_skin_tone(part) or characters[-1].endswith(JOINER)):
            characters[-1] += part
        else:
            characters.append(part)
    return characters


def _is_ideographic(character: str) -> bool:
    """Wide, and of a script without spaces; Korean has them."""
    wide = unicodedata.east_asian_width(character) in "WF"
    return wide and not unicodedata.name(character, "").startswith("HANGUL")


def _is_skin_tone(character: str) -> bool:
    return "\U0001f3fb" <= character <= "\U0001f3ff"


def _column_count(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _bare(text: str) -> str:
    return "".join(text.split())
