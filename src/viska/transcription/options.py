"""Everything that can be asked of a transcription, in one frozen value that Python and the command line share."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from viska.decoding.options import DecodingOptions, validate
from viska.errors import OptionError
from viska.kinds import check_kinds
from viska.model import ModelDimensions
from viska.vad import vad_options

logger = logging.getLogger(__name__)

COMPAT = (None, "openai")


@dataclass(frozen=True)
class TranscribeOptions:
    """How to transcribe a recording.

    Names and defaults are those of openai/whisper, but for that of `condition_on_previous_text`; from `compat` on they
    are ours.
    """

    temperature: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Tried in order, until the text of a window passes the thresholds."""
    compression_ratio_threshold: float | None = 2.4
    """Text that compresses better than this is taken as a repetition loop and decoded again; None never."""
    logprob_threshold: float | None = -1.0
    """Text with a lower mean log-probability is decoded again; None never."""
    no_speech_threshold: float | None = 0.6
    """A window with a higher probability of no speech, and text of low probability, is skipped; None never."""
    condition_on_previous_text: bool | None = None
    """Whether each window is given the text before it as a prompt. None: wherever windows are decoded in order."""
    initial_prompt: str | None = None
    """Text to stand before the first window: names and spellings to expect, or the style."""
    carry_initial_prompt: bool = False
    """Whether the initial prompt stands before every window."""
    clip_timestamps: tuple[float, ...] = (0.0,)
    """Start, end, start, end ... of the parts to transcribe, in seconds; the last end may be left out. With `compat` a
    clip that ends before it starts is passed over; else it is an OptionError."""
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
    language_detection_segments: int | None = None
    """How many half minutes from the start on tell the language, where it is not given: the first in which one reaches
    `language_detection_threshold` decides, else the mean. None takes the first half minute that has speech, and, up to
    five, those behind it until five seconds of speech are heard and a language reaches the threshold; without voice
    activity (`compat`, `guard` False) the first of the recording."""
    language_detection_threshold: float | None = 0.5
    """The probability that is enough to ask for no further half minute; with None all that may be asked vote."""
    multilingual: bool = False
    """Whether the language may change: told of each window, which goes on in the one before unless another reaches
    `language_detection_threshold`. Where it changes, the text before is no prompt."""
    audio_track: int | None = None
    """Which audio track of a file, counted from 0; None takes the best."""
    channel: int | str | None = None
    """Which channel, counted from 0, or by name: "left", "right", or FFmpeg's; None takes the mean of all."""
    batch_size: int = 1
    """How many windows are decoded at once. With more than 1 a recording is cut into windows that know nothing of each
    other, at pauses; what is asked of each stays the same. With `condition_on_previous_text` True its windows are
    decoded in order all the same, and only those of several recordings (`transcribe_many`) at once."""
    vad_filter: bool = False
    """Whether to leave out, before anything is decoded, where nobody speaks. Times stay those of the recording."""
    vad_parameters: Mapping[str, Any] | None = None
    """The fields of `viska.vad.VadOptions` that are to differ from its defaults."""
    short_context: bool | None = None
    """Whether the encoder hears a short window with a few seconds of silence behind it instead of with half a minute
    in all; text that looks doubtful is decoded again with all of it. None: where the model's `compute_type` is not
    "float32", which is asked for to have the reference's text. Not with `compat`."""
    guard: bool = True
    """Whether text is held against all that is known of its window: what is made up, repeated or taken from the prompt
    is dropped or decoded again, and speech without text is looked at again. `Transcript.record` tells. Not with
    `compat`."""
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    """How each window is decoded; its temperature and prompt are set per window."""

    @property
    def independent(self) -> bool:
        """Whether windows know nothing of each other."""
        return self.batch_size > 1 and not self.condition_on_previous_text

    @property
    def guarded(self) -> bool:
        """Whether the guard is on."""
        return self.guard and self.compat is None

    @property
    def conditions(self) -> bool:
        """Whether each window is given the text before it."""
        return self.condition_on_previous_text is not False and not self.independent

    def decoding_at(self, temperature: float, prompt: Iterable[int]) -> DecodingOptions:
        """The decoding options of one attempt: beams belong to temperature 0, several samples to the others."""
        options = replace(self.decoding, temperature=temperature, prompt=list(prompt) or None)
        if temperature > 0:
            return replace(options, beam_size=None, patience=None)
        return replace(options, best_of=None)


LATEST_S = 1e9
"""Of a recording of thirty years, which nobody has."""
LARGEST_BATCH = 1024
"""Half minutes: eight hours and a half at once."""
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
    if not all(0 <= second <= LATEST_S for second in seconds):
        raise OptionError(f"clip_timestamps is {given!r}; every time must be from 0 to {LATEST_S:.0f} seconds")
    return seconds or (0.0,)


def _validate(options: TranscribeOptions) -> None:
    check_kinds(options)
    if options.compat not in COMPAT:
        raise OptionError(f"compat is {options.compat!r}; accepted are None and 'openai'")
    if not options.temperature:
        raise OptionError("temperature is empty; give at least one number, 0 or more")
    if options.hallucination_silence_threshold is not None and not options.word_timestamps:
        raise OptionError("hallucination_silence_threshold looks at words: give word_timestamps too")
    if options.decoding.task == "lang_id":
        raise OptionError("task 'lang_id' tells a language and transcribes nothing; use detect_language")
    _validate_clips(options)
    _validate_batch(options)
    _validate_detection(options)
    for temperature in options.temperature:
        validate(options.decoding_at(temperature, ()))


def _validate_clips(options: TranscribeOptions) -> None:
    points = options.clip_timestamps
    for start, end in zip(points[::2], points[1::2], strict=False):  # the last may have no end
        if end < start and options.compat is None:
            raise OptionError(
                f"clip_timestamps: the clip from {start} to {end} s has its end before its start; give start,end,..."
            )


def _validate_batch(options: TranscribeOptions) -> None:
    if not 1 <= options.batch_size <= LARGEST_BATCH:
        raise OptionError(f"batch_size is {options.batch_size}; it must be from 1 to {LARGEST_BATCH}")
    vad_options(options.vad_parameters)
    if options.vad_parameters and not options.vad_filter:
        raise OptionError("vad_parameters say how to leave out silence: give vad_filter too")
    if options.compat == "openai" and (options.batch_size > 1 or options.vad_filter):
        raise OptionError("compat 'openai' decodes every window in order: leave out batch_size and vad_filter")


def _validate_detection(options: TranscribeOptions) -> None:
    n_asked = options.language_detection_segments
    if n_asked is not None and n_asked < 1:
        raise OptionError(f"language_detection_segments is {n_asked}; it must be 1 or more, or None")
    threshold = options.language_detection_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise OptionError(f"language_detection_threshold is {threshold}; it must be from 0 to 1, or None")
    if options.multilingual and options.decoding.language is not None:
        raise OptionError("multilingual tells the language of each window: leave language out; languages may limit it")


def warn_of_lost_translation(options: TranscribeOptions, dims: ModelDimensions, *, is_multilingual: bool) -> None:
    """Say so where a translation is asked of a model that was not taught any, and answers in the language spoken.

    Models with a shortened decoder (large-v3-turbo, distil-large-v3) and English-only ones were trained on
    transcription alone.
    """
    if options.decoding.task != "translate":
        return
    if not is_multilingual:
        logger.warning("this model knows English alone and translates nothing; use a multilingual one, such as medium")
    elif dims.n_text_layer < dims.n_audio_layer:
        logger.warning(
            "this model has never learnt to translate: the text will be in the language spoken; use medium or large-v3"
        )
