"""Everything that can be asked of a transcription, in one frozen value that Python and the command line share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from typing import Any

from viska.decoding.options import DecodingOptions, validate
from viska.errors import OptionError

COMPAT = (None, "openai")


@dataclass(frozen=True)
class TranscribeOptions:
    """How to transcribe a recording. Names and defaults are those of openai/whisper, from `compat` on ours."""

    temperature: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Tried in order, until the text of a window passes the thresholds."""
    compression_ratio_threshold: float | None = 2.4
    """Text that compresses better than this is taken as a repetition loop and decoded again; None never."""
    logprob_threshold: float | None = -1.0
    """Text with a lower mean log-probability is decoded again; None never."""
    no_speech_threshold: float | None = 0.6
    """A window with a higher probability of no speech, and text of low probability, is skipped; None never."""
    condition_on_previous_text: bool = True
    """Whether each window is given the text before it as a prompt."""
    initial_prompt: str | None = None
    """Text to stand before the first window: names and spellings to expect, or the style."""
    carry_initial_prompt: bool = False
    """Whether the initial prompt stands before every window."""
    clip_timestamps: tuple[float, ...] = (0.0,)
    """Start, end, start, end ... of the parts to transcribe, in seconds; the last end may be left out."""
    word_timestamps: bool = False
    """Whether to tell when each word was said."""
    prepend_punctuations: str = "\"'“¿([{-"
    """Marks that belong to the word behind them."""
    append_punctuations: str = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001  # full-width marks
    """Marks that belong to the word before them."""
    hallucination_silence_threshold: float | None = None
    """With word times: silence of so many seconds around odd text has it taken for made up, and jumped over."""
    compat: str | None = None
    """"openai" gives openai/whisper's behaviour to the token; None Viska's own."""
    language_detection_segments: int = 1
    """How many half minutes from the start on tell the language, where it is not given."""
    language_detection_threshold: float | None = 0.5
    """The first of them in which a language reaches this probability decides; else, and for None, the mean over all."""
    multilingual: bool = False
    """Whether the language may change: told of each window, which goes on in the one before unless another reaches
    `language_detection_threshold`. Where it changes, the text before is no prompt."""
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    """How each window is decoded; its temperature and prompt are set per window."""

    def decoding_at(self, temperature: float, prompt: Iterable[int]) -> DecodingOptions:
        """The decoding options of one attempt: beams belong to temperature 0, several samples to the others."""
        options = replace(self.decoding, temperature=temperature, prompt=list(prompt) or None)
        if temperature > 0:
            return replace(options, beam_size=None, patience=None)
        return replace(options, best_of=None)


OWN = {option.name for option in fields(TranscribeOptions)} - {"decoding"}
DECODING = {option.name for option in fields(DecodingOptions)} - {"temperature", "prompt"}


def transcribe_options(keywords: Mapping[str, Any]) -> TranscribeOptions:
    """Options from loose keywords, those of `DecodingOptions` among them. Raises OptionError for all others."""
    if unknown := sorted(set(keywords) - OWN - DECODING):
        raise OptionError(f"unknown option {', '.join(unknown)}; accepted are {', '.join(sorted(OWN | DECODING))}")
    own = {name: value for name, value in keywords.items() if name in OWN}
    if "temperature" in own:
        own["temperature"] = _temperatures(own["temperature"])
    if "clip_timestamps" in own:
        own["clip_timestamps"] = _clip_timestamps(own["clip_timestamps"])
    decoding = DecodingOptions(**{name: value for name, value in keywords.items() if name in DECODING})
    options = TranscribeOptions(**own, decoding=decoding)
    _validate(options)
    return options


def _temperatures(given: Any) -> tuple[float, ...]:
    try:
        temperatures = tuple(given) if isinstance(given, Iterable) else (float(given),)
        return tuple(float(temperature) for temperature in temperatures)
    except (TypeError, ValueError):
        raise OptionError(f"temperature is {given!r}; accepted are one number or several, 0 or more") from None


def _clip_timestamps(given: Any) -> tuple[float, ...]:
    """Seconds from "s,e,s,e", from a list of numbers, or from one number."""
    parts = [part for part in given.split(",") if part.strip()] if isinstance(given, str) else given
    try:
        seconds = tuple(float(part) for part in parts) if isinstance(parts, Iterable) else (float(parts),)
    except (TypeError, ValueError):
        raise OptionError(f"clip_timestamps is {given!r}; accepted are seconds as start,end,start,end,...") from None
    if not all(isfinite(second) and second >= 0 for second in seconds):
        raise OptionError(f"clip_timestamps is {given!r}; every time must be 0 or more")
    return seconds or (0.0,)


def _validate(options: TranscribeOptions) -> None:
    if options.compat not in COMPAT:
        raise OptionError(f"compat is {options.compat!r}; accepted are None and 'openai'")
    if not options.temperature:
        raise OptionError("temperature is empty; give at least one number, 0 or more")
    if options.hallucination_silence_threshold is not None and not options.word_timestamps:
        raise OptionError("hallucination_silence_threshold looks at words: give word_timestamps too")
    if options.decoding.task == "lang_id":
        raise OptionError("task 'lang_id' tells a language and transcribes nothing; use detect_language")
    _validate_detection(options)
    for temperature in options.temperature:
        validate(options.decoding_at(temperature, ()))


def _validate_detection(options: TranscribeOptions) -> None:
    if options.language_detection_segments < 1:
        raise OptionError(f"language_detection_segments is {options.language_detection_segments}; it must be 1 or more")
    threshold = options.language_detection_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise OptionError(f"language_detection_threshold is {threshold}; it must be from 0 to 1, or None")
    if options.multilingual and options.decoding.language is not None:
        raise OptionError("multilingual tells the language of each window: leave language out; languages may limit it")
