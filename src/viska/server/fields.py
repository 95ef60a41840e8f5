"""The fields of a form, as the real clients send them, to what is wanted of the recogniser.

Lists come as `name[]` repeated, as `name` repeated or with commas; objects as `name[key]` or as JSON. What is accepted
but has no effect here is named in `Wanted.unused`, which the answer tells in a header.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from viska.errors import OptionError
from viska.languages import language_code
from viska.server.errors import ApiError, invalid
from viska.transcription import transcribe_options

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES = ("segment", "word")
LISTS = {
    "timestamp_granularities",
    "include",
    "keywords",
    "hotwords",
    "languages",
    "known_speaker_names",
    "known_speaker_references",
}
MAX_SPEAKERS = 4
MAX_BEAMS = 16
MAX_BATCH = 8
MAX_CHARACTERS = 10_000
"""Of a prompt, and of all keywords together: more has no effect, and may take very long to make tokens of."""
WITHOUT_EFFECT = {"chunking_strategy", "known_speaker_names", "known_speaker_references"}


@dataclass(frozen=True)
class Wanted:
    """What a request asks for."""

    task: str
    model: str
    response_format: str = "json"
    stream: bool = False
    granularities: frozenset[str] = frozenset()
    logprobs: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


def parse(fields: Iterable[tuple[str, str]], task: str) -> Wanted:
    """Read the fields of a transcription or translation. Raises ApiError that names the field at fault."""
    values = gather(fields)
    model = values.one("model")
    if not model:
        raise invalid("model", "there is no model; send the form field 'model'", "missing_required_parameter")
    if values.one("response_format") == "diarized_json":
        message = "diarized_json needs to tell speakers apart, which this server cannot do yet; use verbose_json"
        raise invalid("response_format", message, "unsupported_value")
    response_format = values.choice("response_format", FORMATS, "json")
    stream = values.flag("stream", False)
    _check_format(response_format, stream)
    granularities = values.choices("timestamp_granularities", GRANULARITIES)
    logprobs = "logprobs" in values.choices("include", ("logprobs",))
    if logprobs and response_format != "json":
        raise invalid("include", f"include logprobs goes with response_format json, not {response_format}")
    _check_speakers(values)
    _check_chunking(values)
    unused = {name for name in WITHOUT_EFFECT if name in values}
    words = "word" in granularities and response_format == "verbose_json"
    if granularities and response_format != "verbose_json":
        unused.add("timestamp_granularities")
    options = _options(values, task, words=words, logprobs=logprobs)
    return Wanted(
        task,
        model,
        response_format,
        stream,
        granularities or frozenset({"segment"}),
        logprobs,
        options,
        tuple(sorted(unused | values.unread())),
    )


def gather(fields: Iterable[tuple[str, str]]) -> "Values":
    """The values of each field, by its name without brackets; parts of an object under `name[key]`."""
    found = defaultdict[str, list[str]](list)
    for name, value in fields:
        found[name.removesuffix("[]")].append(value)
    return Values(found)


class Values:
    """Fields with their values; reading one takes note of it."""

    def __init__(self, found: Mapping[str, list[str]]) -> None:
        self._found = {name: values for name, values in found.items() if any(values)}
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return any(key.partition("[")[0] == name for key in self._found)

    def one(self, name: str) -> str | None:
        """The only value; None where there is none, or an empty one."""
        self._read.add(name)
        values = self._found.get(name, [])
        if len(values) > 1:
            raise invalid(name, f"{name} came {len(values)} times; send it once")
        return values[0] if values else None

    def many(self, name: str) -> list[str]:
        """The values of a list, those with commas taken apart."""
        self._read.add(name)
        values = self._found.get(name, [])
        parts = values[0].split(",") if len(values) == 1 else values
        return [part.strip() for part in parts if part.strip()]

    def parts(self, name: str) -> dict[str, str]:
        """The parts of an object that came as `name[key]`."""
        found = {}
        for key in [key for key in self._found if key.startswith(name + "[") and key.endswith("]")]:
            self._read.add(key)
            found[key[len(name) + 1 : -1]] = self._found[key][0]
        return found

    def choice(self, name: str, accepted: tuple[str, ...], default: str) -> str:
        """One of several words."""
        value = self.one(name) or default
        if value not in accepted:
            raise invalid(name, f"{name} is {value[:100]!r}; accepted are {', '.join(accepted)}", "unsupported_value")
        return value

    def choices(self, name: str, accepted: tuple[str, ...]) -> frozenset[str]:
        """Some of several words."""
        values = self.many(name)
        for value in values:
            if value not in accepted:
                raise invalid(
                    name, f"{name} has {value[:100]!r}; accepted are {', '.join(accepted)}", "unsupported_value"
                )
        return frozenset(values)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.one(name)
        if value is None:
            return default
        if value.lower() not in ("true", "false"):
            raise invalid(name, f"{name} is {value[:100]!r}; accepted are true and false")
        return value.lower() == "true"

    def number(self, name: str, least: float, most: float, *, whole: bool = False) -> float | None:
        """A number within limits."""
        value = self.one(name)
        if value is None:
            return None
        try:
            number = int(value) if whole else float(value)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:  # which is not true of nan either
            kind = "whole numbers" if whole else "numbers"
            raise invalid(name, f"{name} is {value[:100]!r}; accepted are {kind} from {least:g} to {most:g}")
        return number

    def unread(self) -> set[str]:
        """The names that nobody asked for, fit for a header."""
        names = {name.partition("[")[0][:40] for name in self._found.keys() - self._read}
        return {name for name in names if name.isascii() and name.replace("_", "").isalnum()}


def _check_format(response_format: str, stream: bool) -> None:
    if stream and response_format not in ("json", "text", "verbose_json"):
        message = f"stream sends text as it comes and cannot send {response_format}; use json, or leave stream out"
        raise invalid("stream", message, "unsupported_value")


def _check_speakers(values: Values) -> None:
    names, references = values.many("known_speaker_names"), values.many("known_speaker_references")
    for name, given in (("known_speaker_names", names), ("known_speaker_references", references)):
        # A single data URL has a comma of its own, and counts as two.
        if len(given) > MAX_SPEAKERS:
            raise invalid(name, f"{name} has {len(given)} entries; accepted are {MAX_SPEAKERS}")


def _check_chunking(values: Values) -> None:
    """Recordings are always cut where the model says so; what is asked for is checked, and has no effect."""
    given, parts = values.one("chunking_strategy"), values.parts("chunking_strategy")
    if given and given.lstrip().startswith("{"):
        try:
            parts = {**json.loads(given), **parts}
        except (ValueError, TypeError, RecursionError):
            raise invalid("chunking_strategy", "chunking_strategy is no JSON object") from None
        given = None
    kind = given or parts.get("type")
    if kind is not None and kind not in ("auto", "server_vad", "null"):
        raise invalid("chunking_strategy", "chunking_strategy has an unknown type; accepted are auto and server_vad")


def _options(values: Values, task: str, *, words: bool, logprobs: bool) -> dict[str, Any]:
    """The options of `viska.transcribe` that are asked for."""
    options: dict[str, Any] = {"task": task}
    if prompt := values.one("prompt"):
        _check_characters("prompt", [prompt])
        options["initial_prompt"] = prompt
    if temperature := values.number("temperature", 0, 1):
        options["temperature"] = (temperature,)
    if task == "transcribe":
        options |= _language_options(values)
    if bias := [*values.many("keywords"), *values.many("hotwords")]:
        _check_characters("keywords", bias)
        options["bias"] = bias
    if words:
        options["word_timestamps"] = True
    if logprobs:
        options["token_logprobs"] = True
    for name, extension in EXTENSIONS.items():
        if (value := extension.read(values, name)) is not None:
            options[name] = value
    try:
        transcribe_options(options)
    except OptionError as error:
        raise ApiError(400, str(error), code="invalid_value", param=_mentioned(str(error), options)) from None
    return options


def _check_characters(name: str, texts: Iterable[str]) -> None:
    if (found := sum(map(len, texts))) > MAX_CHARACTERS:
        raise invalid(name, f"{name} has {found} characters; accepted are {MAX_CHARACTERS}")


def _mentioned(message: str, options: Mapping[str, Any]) -> str | None:
    """The option that a message begins with."""
    first = message.partition(" ")[0]
    return {"initial_prompt": "prompt", "bias": "keywords"}.get(first, first) if first in options else None


def _language_options(values: Values) -> dict[str, Any]:
    language, languages = values.one("language"), values.many("languages")
    for name in languages:
        _known_language("languages", name)
    if language:
        _known_language("language", language)
    options = {"language": language, "languages": languages}
    return {name: value for name, value in options.items() if value}


def _known_language(param: str, name: str) -> None:
    try:
        language_code(name[:100])
    except OptionError as error:
        raise invalid(param, str(error), "unsupported_value") from None


@dataclass(frozen=True)
class Extension:
    """An option of `viska.transcribe` that a request may set: a switch, or a number within bounds (it costs time)."""

    kind: str
    least: float = 0
    most: float = 1

    def read(self, values: Values, name: str) -> Any:
        """The value, or None where it is left out."""
        if self.kind == "boolean":
            return values.flag(name, False) if name in values else None
        return values.number(name, self.least, self.most, whole=self.kind == "integer")


EXTENSIONS = {
    "beam_size": Extension("integer", 1, MAX_BEAMS),
    "best_of": Extension("integer", 1, MAX_BEAMS),
    "batch_size": Extension("integer", 1, MAX_BATCH),
    "patience": Extension("number", 1, 4),
    "length_penalty": Extension("number", 0, 1),
    "seed": Extension("integer", 0, 2**63 - 1),
    "condition_on_previous_text": Extension("boolean"),
    "compression_ratio_threshold": Extension("number", 0, 1000),
    "logprob_threshold": Extension("number", -1000, 0),
    "no_speech_threshold": Extension("number", 0, 1),
    "repetition_penalty": Extension("number", 0.1, 10),
    "no_repeat_ngram_size": Extension("integer", 0, 100),
    "bias_strength": Extension("number", 0, 20),
    "multilingual": Extension("boolean"),
}
"""Options beyond the hosted API."""
