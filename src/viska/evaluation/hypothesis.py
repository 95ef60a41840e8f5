"""What an engine made of a recording, ours or another one."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from viska.errors import LanguageError, OptionError
from viska.evaluation.manifest import code_without_region, read_records
from viska.result import Transcript

_EXAMPLE = '{"path": "a.wav", "text": "what was heard", "language": "en", "seconds": 1.5}'


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

    Fields: path, text, language, segments, words, seconds, error; only the path has to be there. Segments and words
    have the layout of openai/whisper's results; words may be in their segments. Raises OptionError, which names the
    line, and AudioError where there is no such file.
    """
    found = {}
    for number, record in read_records(Path(path)):
        where = f"{path}, line {number}"
        name = record.get("path")
        if not isinstance(name, str):
            raise OptionError(f"{where}: path is {name!r}; give that of the manifest, as in {_EXAMPLE}")
        if name in found:
            raise OptionError(f"{where}: {name!r} has a hypothesis already; give one for each recording")
        found[name] = _hypothesis(record, where)
    return found


def _hypothesis(record: Mapping[str, Any], where: str) -> Hypothesis:
    text, language, error = (_text(record, name, where) for name in ("text", "language", "error"))
    segments = _objects(record, "segments", where)
    words = _objects(record, "words", where) or [word for one in segments for word in _objects(one, "words", where)]
    if text is None:
        text = "".join(_text(segment, "text", where) or "" for segment in segments)
    return Hypothesis(
        text=text,
        language=language and _code(language),
        segments=tuple(_segment(segment, where) for segment in segments),
        words=tuple(_word(word, where) for word in words),
        seconds=_number(record, "seconds", where),
        error=error,
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
    return HeardWord(text, *(_number(record, name, where) for name in ("start", "end", "probability", "confidence")))


def _text(record: Mapping[str, Any], name: str, where: str) -> str | None:
    value = record.get(name)
    if value is None or isinstance(value, str):
        return value
    raise OptionError(f"{where}: {name} is {value!r:.80}; accepted is a text or null, as in {_EXAMPLE}")


def _number(record: Mapping[str, Any], name: str, where: str) -> float | None:
    value = record.get(name)
    if value is None:
        return None
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and isfinite(value):
            return float(value)
    except OverflowError:  # an integer beyond every float
        pass
    raise OptionError(f"{where}: {name} is {value!r:.80}; accepted is a number or null")


def _objects(record: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    value = record.get(name) or []
    if isinstance(value, list | tuple) and all(isinstance(one, Mapping) for one in value):
        return list(value)
    raise OptionError(f"{where}: {name} is {value!r:.80}; accepted is a list of objects")
