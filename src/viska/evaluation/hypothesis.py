"""What an engine made of a recording, ours or another one."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from viska.errors import LanguageError, OptionError
from viska.evaluation.manifest import code_without_region, read_records
from viska.result import Transcript

_EXAMPLE = '{"path": "a.wav", "text": "what was heard", "language": "en", "seconds": 1.5}'

HEARD = ("text", "segments", "words", "error")
FIELDS = frozenset({"path", "language", "seconds", *HEARD})


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word with its times (s), the model's probability, and a calibrated confidence where there is one (0..1)."""

    text: str
    start: float | None = None
    end: float | None = None
    probability: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class HeardSegment:
    """A stretch of text with its times in seconds."""

    text: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The text of a recording.

    `language` is the code of what was *told* by the engine, None where it was given to it. `seconds` is what it took,
    reading included. `duration` is that of the recording in seconds, where the engine has measured it. `error` is the
    message where there is no transcript.
    """

    text: str = ""
    language: str | None = None
    segments: tuple[HeardSegment, ...] = ()
    words: tuple[HeardWord, ...] = ()
    seconds: float | None = None
    duration: float | None = None
    error: str | None = None


def from_transcript(transcript: Transcript, language: str | None, seconds: float | None) -> Hypothesis:
    """Our own result as a hypothesis."""
    record = transcript.to_dict()
    return _hypothesis({**record, "language": language, "seconds": seconds}, "the transcript")


def read_hypotheses(path: str | Path) -> dict[str, Hypothesis]:
    """Hypotheses by the paths of a manifest, from JSON lines.

    Fields: path, text, language, segments, words, seconds, error. Only the path has to be there; a line with fields of
    other names where these say nothing of what was heard is refused. Segments and words have the layout of
    openai/whisper's results; words may be in their segments. Raises OptionError, which names the line, and AudioError
    where there is no such file.
    """
    found = {}
    for number, record in read_records(Path(path)):
        where = f"{path}, line {number}"
        name = record.get("path")
        if not isinstance(name, str):
            raise OptionError(f"{where}: path is {name!r}; give that of the manifest, as in {_EXAMPLE}")
        if name in found:
            raise OptionError(f"{where}: {name!r} has a hypothesis already; give one for each recording")
        if set(record) - FIELDS and all(record.get(field) is None for field in HEARD):
            raise OptionError(f"{where}: none of {', '.join(HEARD)} is there; give what was heard, as in {_EXAMPLE}")
        found[name] = _hypothesis(record, where)
    return found


def _hypothesis(record: Mapping[str, Any], where: str) -> Hypothesis:
    text, language, error = (_text(record, name, where) for name in ("text", "language", "error"))
    segments = _objects(record, "segments", where)
    words = _objects(record, "words", where) or [word for one in segments for word in _objects(one, "words", where)]
    if text is None:
        text = "".join(_text(segment, "text", where) or "" for segment in segments)
    if not text and not segments:
        text = " ".join(_word(word, where).text.strip() for word in words)
    return Hypothesis(
        text=text,
        language=language and _code(language),
        segments=tuple(_segment(segment, where) for segment in segments),
        words=tuple(_word(word, where) for word in words),
        seconds=_number(record, "seconds", where, at_least=0),
        error=error or None,
    )


def _code(told: str) -> str:
    """Whisper's code of a language, as manifests have it; what Whisper does not know stays as it was told."""
    try:
        return code_without_region(told)
    except LanguageError:
        return told


def _segment(record: Mapping[str, Any], where: str) -> HeardSegment:
    return HeardSegment(
        _text(record, "text", where) or "", *(_number(record, name, where) for name in ("start", "end"))
    )


def _word(record: Mapping[str, Any], where: str) -> HeardWord:
    text = _text(record, "word", where) or _text(record, "text", where) or ""
    times = (_number(record, name, where) for name in ("start", "end"))
    sure = (_number(record, name, where, at_least=0, at_most=1) for name in ("probability", "confidence"))
    return HeardWord(text, *times, *sure)


def _text(record: Mapping[str, Any], name: str, where: str) -> str | None:
    value = record.get(name)
    if value is None or isinstance(value, str):
        return value
    raise OptionError(f"{where}: {name} is {value!r:.80}; accepted is a text or null, as in {_EXAMPLE}")


def _number(
    record: Mapping[str, Any], name: str, where: str, *, at_least: float = -inf, at_most: float = inf
) -> float | None:
    value = record.get(name)
    if value is None:
        return None
    try:
        number = not isinstance(value, bool) and isinstance(value, int | float) and isfinite(value)
        if number and at_least <= value <= at_most:
            return float(value)
    except OverflowError:  # an integer beyond every float
        pass
    limits = f" from {at_least} to {at_most}" if at_most < inf else f", {at_least} or more," if at_least > -inf else ""
    raise OptionError(f"{where}: {name} is {value!r:.80}; accepted is a number{limits} or null")


def _objects(record: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    value = record.get(name) or []
    if isinstance(value, list | tuple) and all(isinstance(one, Mapping) for one in value):
        return list(value)
    raise OptionError(f"{where}: {name} is {value!r:.80}; accepted is a list of objects")
