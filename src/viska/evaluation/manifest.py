"""What to transcribe and what is said in it: JSON lines, one recording a line.

Known fields: `path` (relative to the manifest), `kind` ("short"), `language` (one of Whisper's, by code or English
name; null: none, or another one; "mul": several, named in `languages`), `text` (the reference, or null),
`partial_text` (a reference that leaves out an introduction or an ending), `duration` (s), `segments` ([start, end,
text]: reference times), `raw_format` (headerless samples), `speech` (whether there is any), `notes`, `sha256`. Only
`path` has to be there; other fields are ignored.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from viska.errors import AudioError, LanguageError, OptionError
from viska.languages import language_code

SPEECHLESS_KINDS = frozenset({"noise", "silence", "music"})
MULTILINGUAL = "mul"
ENCODINGS = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}
"""Of headerless samples: the name in a manifest, and numpy's name."""

_SPEECH_AFTER_ALL = re.compile(r"\b(some speech|not speech[- ]free|sung|singing|lyrics|vocals?)\b", re.IGNORECASE)
_LABEL = re.compile(r"<[^>]*>|\[[^\]]*\]|\([^)]*\)")
"""What Whisper's normalisation leaves out."""
_EXAMPLE = '{"path": "a.wav", "language": "en", "kind": "short", "text": "what is said"}'


@dataclass(frozen=True, slots=True)
class RawFormat:
    """How headerless samples are stored: Hz, channels (interleaved), one of `ENCODINGS`."""

    sample_rate: int
    channels: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """A stretch of reference text; `start` and `end` in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and what is known of it. `path` is as the manifest has it, `file` where it is."""

    path: str
    file: Path
    kind: str = "speech"
    language: str | None = None
    languages: tuple[str, ...] = ()
    text: str | None = None
    partial_text: str | None = None
    duration: float | None = None
    phrases: tuple[Phrase, ...] = ()
    raw_format: RawFormat | None = None
    speech: bool | None = None
    notes: str = ""
    sha256: str | None = None

    @property
    def reference(self) -> str | None:
        """What is said, or the part of it that is known; a part of nothing says nothing."""
        return (self.partial_text or None) if self.text is None else self.text

    @property
    def free_ends(self) -> bool:
        """Whether more may be said before and behind the reference."""
        return self.text is None and self.partial_text is not None

    @property
    def silent(self) -> bool:
        """Whether the right transcript is empty: of noise, silence and music, unless the notes tell of speech in it."""
        if self.speech is not None:
            return not self.speech
        if says_something(self.reference or ""):
            return False
        return self.reference is not None or (
            self.kind in SPEECHLESS_KINDS and not _SPEECH_AFTER_ALL.search(self.notes)
        )


def says_something(text: str) -> bool:
    """Whether words are left of a text where its labels, such as "[Music]" or "(laughter)", are left out."""
    return any(letter.isalnum() for letter in _LABEL.sub("", text))


def read_manifest(path: str | Path) -> list[Clip]:
    """The clips of a manifest, in its order. Raises OptionError, which names the line, and AudioError for no file."""
    path = Path(path)
    seen: dict[str, int] = {}
    clips = []
    for number, record in read_records(path):
        with_line = f"{path}, line {number}"
        clip = _clip(record, path.parent, with_line)
        if clip.path in seen:
            raise OptionError(f"{with_line}: {clip.path!r} is in line {seen[clip.path]} already; name each file once")
        seen[clip.path] = number
        clips.append(clip)
    if not clips:
        raise OptionError(f"{path} names no recordings; it needs one a line, such as {_EXAMPLE}")
    return clips


def read_records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a JSON-lines file with the numbers of their lines; blank lines are left out."""
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            json.dumps(record, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise OptionError(
                f"{path}, line {number}: {_shown(error.object[error.start : error.end])} is half of a surrogate pair, "
                "which is no character; give the character itself, or both halves"
            ) from None
        except (ValueError, RecursionError) as error:
            raise OptionError(
                f"{path}, line {number}: no JSON ({error}); each line is one object: {_EXAMPLE}"
            ) from None
        if not isinstance(record, dict):
            raise OptionError(
                f"{path}, line {number}: {_shown(record)} is no object; each line is one, such as {_EXAMPLE}"
            )
        yield number, record


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{path} cannot be read ({reason}); give the path of a file of JSON lines") from None


def _clip(record: Mapping[str, Any], folder: Path, where: str) -> Clip:
    path = _field(record, "path", str, where)
    if not path or "\0" in path:
        raise OptionError(f"{where}: path is {_shown(path)}; give that of a recording, relative to the manifest")
    clip = Clip(
        path=path,
        file=folder / path,
        kind=_field(record, "kind", str, where) or "speech",
        language=_language(_field(record, "language", str, where), where),
        languages=_languages(record, where),
        text=_field(record, "text", str, where),
        partial_text=_field(record, "partial_text", str, where),
        duration=_duration(record.get("duration"), where),
        phrases=_phrases(record, where),
        raw_format=_raw_format(record, where),
        speech=_field(record, "speech", bool, where),
        notes=_field(record, "notes", str, where) or "",
        sha256=_field(record, "sha256", str, where),
    )
    _check_reference(clip, where)
    return clip


def _check_reference(clip: Clip, where: str) -> None:
    """Raise OptionError where a record contradicts itself."""
    if clip.text is not None and clip.partial_text is not None:
        raise OptionError(
            f"{where}: text and partial_text are both given; give text where all that is said is known, "
            "and partial_text where a part is"
        )
    if clip.speech is False and (clip.reference or "").strip():
        raise OptionError(
            f"{where}: speech is false, and the reference is {_shown(clip.reference)}; leave one of them out"
        )


def _field(record: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    value = record.get(name)
    if value is None or isinstance(value, kind):
        return value
    accepted = {str: "a text or null", bool: "true, false or null", list: "a list or null", dict: "an object or null"}
    raise OptionError(f"{where}: {name} is {_shown(value)}; accepted is {accepted[kind]}")


def _language(given: str | None, where: str) -> str | None:
    """The code that Whisper has for a language, since it decides what is counted; a region is left out."""
    if given is None or given == MULTILINGUAL:
        return given
    try:
        return code_without_region(given)
    except LanguageError as error:
        raise OptionError(
            f"{where}: {error} Accepted too are 'mul' (several) and null (none, or a language that Whisper does not "
            "know: it is counted in words)"
        ) from None


def code_without_region(given: str) -> str:
    """Whisper's code of a language by name or code: "pt-BR" -> "pt". Raises LanguageError for one it does not know."""
    return language_code(re.split("[-_]", given)[0])


def _languages(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    given = _field(record, "languages", list, where) or []
    if not all(isinstance(code, str) for code in given):
        raise OptionError(f"{where}: languages is {_shown(given)}; accepted is a list of codes such as ['en', 'de']")
    return tuple(code for one in given if (code := _language(one, where)) is not None)


def _duration(value: Any, where: str) -> float | None:
    seconds = _seconds(value, "duration", where)
    if seconds == 0:
        raise OptionError(f"{where}: duration is {_shown(value)}; accepted are seconds, more than 0, or null: measured")
    return seconds


def _seconds(value: Any, name: str, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_time(value):
        raise OptionError(f"{where}: {name} is {_shown(value)}; accepted are seconds, 0 or more")
    return float(value)


def _is_time(value: float) -> bool:
    try:
        return isfinite(value) and value >= 0
    except OverflowError:  # an integer beyond every float
        return False


def _phrases(record: Mapping[str, Any], where: str) -> tuple[Phrase, ...]:
    phrases = []
    for phrase in _field(record, "segments", list, where) or []:
        if not isinstance(phrase, list) or len(phrase) < 3 or not isinstance(phrase[2], str):
            raise OptionError(f"{where}: segments has {_shown(phrase)}; accepted are lists of [start, end, text]")
        start, end = (_seconds(time, "a time of segments", where) for time in phrase[:2])
        if start is None or end is None or end < start:
            raise OptionError(f"{where}: segments has {_shown(phrase)}; its end must not lie before its start")
        phrases.append(Phrase(start, end, phrase[2]))
    return tuple(phrases)


def _raw_format(record: Mapping[str, Any], where: str) -> RawFormat | None:
    given = _field(record, "raw_format", dict, where)
    if given is None:
        return None
    rate, channels, encoding = (given.get(name) for name in ("sample_rate", "channels", "encoding"))
    whole = isinstance(rate, int) and isinstance(channels, int) and isinstance(encoding, str)
    if not (whole and 1 <= rate <= 768_000 and 1 <= channels <= 64 and encoding in ENCODINGS):
        raise OptionError(
            f"{where}: raw_format is {_shown(given)}; accepted are sample_rate (1 to 768000), channels (1 to 64) and "
            f"encoding ({', '.join(ENCODINGS)})"
        )
    return RawFormat(rate, channels, encoding)


def _shown(value: Any) -> str:
    """What was given, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
