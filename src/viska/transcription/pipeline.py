"""A recording of any length to a transcript: planner, decoding with fallback, splitter, assembler, in this order.

Radford et al. (2022), sections 3.8 and 4.5.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from inspect import Parameter, Signature, signature
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor
from tqdm import tqdm

from viska.audio import (
    FRAMES_PER_SECOND,
    N_FRAMES,
    N_SAMPLES,
    SAMPLE_RATE,
    load_audio,
    log_mel_spectrogram,
    pad_or_trim,
)
from viska.decoding import DecodingResult, decode, detect_language, tokenizer_for
from viska.decoding.options import compute_dtype
from viska.errors import LanguageError
from viska.formats import format_timestamp
from viska.languages import LANGUAGES, language_code
from viska.model import Whisper
from viska.result import Segment, Transcript
from viska.timing import find_alignment, merge_punctuations
from viska.transcription.assembler import Assembler
from viska.transcription.fallback import Thresholds, decode_with_fallback
from viska.transcription.language import detection_windows, follow, likeliest, vote
from viska.transcription.options import DECODING, OWN, TranscribeOptions, transcribe_options
from viska.transcription.planner import PromptHistory, SequentialPlanner, Window, clips_in_frames
from viska.transcription.silence import Recording, last_word_end, skip_silence
from viska.transcription.splitter import Split, blanked, split, text_tokens
from viska.transcription.words import pace_of, place_words, shorten_at_sentence_ends

logger = logging.getLogger(__name__)


class Transcription:
    """One recording on its way to a transcript.

    Iterate over it for the segments as they are decided; `transcript()` has what was decided so far. Raises AudioError
    for what cannot be read, OptionError and LanguageError for options that are not accepted.
    """

    def __init__(self, model: Whisper, audio: Any, options: TranscribeOptions | None = None) -> None:
        self.model = model
        self.options = options or TranscribeOptions()
        compat = self.options.compat == "openai"
        given_language = self._given_language()
        samples = load_audio(audio)
        # Half a minute of silence behind the end, so that the last window is a whole one.
        self.mel = log_mel_spectrogram(samples, model.dims.n_mels, padding=N_SAMPLES)  # (n_mels, n_frames + 3000)
        self.n_frames = self.mel.shape[-1] - N_FRAMES
        self.duration_s = len(samples) / SAMPLE_RATE
        self.position_s = 0.0
        self.last_speech_s = 0.0
        self._features: tuple[Window, Tensor] | None = None

        self.language_probs: dict[str, float] | None = None
        self.language = self.window_language = given_language or self._detect_language()
        decoding = self.options.decoding
        self.tokenizer = tokenizer_for(model, language=self.language, task=decoding.task)
        history = PromptHistory(
            self.tokenizer.encode(" " + self.options.initial_prompt.strip()) if self.options.initial_prompt else (),
            room=model.dims.n_text_ctx // 2 - 1,
            condition=self.options.condition_on_previous_text,
            carry_initial=self.options.carry_initial_prompt,
            compat=compat,
        )
        self.planner = SequentialPlanner(clips_in_frames(self.options.clip_timestamps, self.n_frames), history)
        self.thresholds = Thresholds(
            self.options.compression_ratio_threshold, self.options.logprob_threshold, self.options.no_speech_threshold
        )
        self.assembler = Assembler(self.tokenizer, self.duration_s, compat=compat)

    def __iter__(self) -> Iterator[Segment]:
        """The segments, each as soon as its window is decided."""
        while (window := self.planner.next()) is not None:
            self.position_s = window.start_s
            if self.options.multilingual:
                window = self._follow_language(window)
            result = self._decode(window)
            if self.thresholds.silent(result):
                self.planner.skip(window)
                continue
            found, decided = split(result, window, self.tokenizer), True
            if self.options.word_timestamps:
                found, decided = self._with_words(found, window)
            if not decided:
                self.planner.skip(window, found.consumed)
                continue
            language = result.language if self.options.multilingual else None
            segments = [replace(blanked(segment), language=language) for segment in found.segments]
            tokens = [token for segment in segments for token in segment.tokens]
            self.planner.advance(window, found.consumed, tokens, result.temperature)
            yield from self.assembler.add(segments)
        self.position_s = self.duration_s

    def transcript(self) -> Transcript:
        """What was decided so far."""
        return self.assembler.transcript(self.language)

    def _given_language(self) -> str | None:
        language = self.options.decoding.language
        code = language_code(language) if language is not None else None
        if self.model.is_multilingual:
            return code
        if self.options.multilingual:
            raise LanguageError("this model knows English alone: leave multilingual out, or use a multilingual model")
        if code not in (None, "en"):
            logger.warning("the model knows English alone; language %r is taken as 'en'", language)
        return "en"

    def _detect_language(self) -> str:
        """The language of the first half minute, or of as many as are asked for, by the model."""
        windows = detection_windows(self.n_frames, self.options.language_detection_segments)
        probs = vote(map(self._hear_language, windows), self.options.language_detection_threshold)
        self.language_probs = probs
        language = likeliest(probs)
        logger.info("detected language: %s (%.0f %%)", LANGUAGES[language], 100 * probs[language])
        return language

    def _hear_language(self, window: Window) -> dict[str, float]:
        _, probs = detect_language(self.model, self._embed(window), languages=self.options.decoding.languages)
        return cast(dict[str, float], probs[0])

    def _follow_language(self, window: Window) -> Window:
        """Go over to the language of a window, which text in another one shall not stand before.

        Behind such a prompt the model says nothing, or goes on in the language of the prompt.
        """
        spoken = self.assembler.segments
        before = (spoken[-1].language if spoken else None) or self.language
        language = follow(before, self._hear_language(window), self.options.language_detection_threshold)
        self.window_language = language
        self.tokenizer = tokenizer_for(self.model, language=language, task=self.options.decoding.task)
        if spoken and language != before:
            self.planner.history.forget()
        return self.planner.next() or window

    def _embed(self, window: Window) -> Tensor:
        """Audio features (1, S, D) of a window; the last are kept: the first window serves to tell the language too."""
        if self._features is None or (self._features[0].start, self._features[0].size) != (window.start, window.size):
            weights = next(self.model.parameters())
            dtype = compute_dtype(weights.dtype, weights.device, fp16=self.options.decoding.fp16)
            mel = pad_or_trim(self.mel[:, window.start : window.start + window.size], N_FRAMES)  # (n_mels, 3000)
            with torch.no_grad():
                self._features = window, self.model.embed_audio(mel[None].to(weights.device, dtype))
        return self._features[1]

    def _decode(self, window: Window) -> DecodingResult:
        features = self._embed(window)[0]  # (S, D)

        def attempt(temperature: float) -> DecodingResult:
            options = self.options.decoding_at(temperature, window.prompt)
            return cast(DecodingResult, decode(self.model, features, options, language=self.window_language))

        keep_last = self.options.compat == "openai"
        return decode_with_fallback(attempt, self.options.temperature, self.thresholds, keep_last=keep_last)

    def _with_words(self, found: Split, window: Window) -> tuple[Split, bool]:
        """The segments of a window with their words, and whether they are decided."""
        options = self.options
        own_tokens = [text_tokens(segment.tokens, self.tokenizer) for segment in found.segments]
        alignment = find_alignment(
            self.model, self.tokenizer, list(chain.from_iterable(own_tokens)), self._embed(window)[0], window.size
        )
        pace = pace_of(alignment)
        if pace is not None:
            shorten_at_sentence_ends(alignment, pace)
        merge_punctuations(alignment, options.prepend_punctuations, options.append_punctuations)
        n_tokens = [len(tokens) for tokens in own_tokens]
        times = {"offset_s": window.start_s, "last_speech_s": self.last_speech_s}
        segments = tuple(place_words(found.segments, n_tokens, alignment, pace, **times))
        found = replace(found, segments=segments)
        end_s = last_word_end(segments)
        if not found.ends_closed and end_s is not None and end_s > window.start_s:
            found = replace(found, consumed=round(end_s * FRAMES_PER_SECOND) - window.start)
        decided = True
        if options.hallucination_silence_threshold is not None:
            recording = Recording(self.n_frames, self.last_speech_s)
            found, decided = skip_silence(found, window, recording, options.hallucination_silence_threshold)
        if decided and (end_s := last_word_end(found.segments)) is not None:
            self.last_speech_s = end_s
        return found, decided


def transcribe(
    model: Whisper,
    audio: Any,
    *,
    verbose: bool | None = None,
    on_segment: Callable[[Segment], None] | None = None,
    **options: Any,
) -> Transcript:
    """Transcribe a recording of any length.

    `audio` is a path, "-" for standard input, bytes, a binary file, or samples at 16 kHz. `verbose` True prints each
    segment as it comes, False shows a progress bar on a terminal, None stays silent. `on_segment` is called with each
    segment as it is decided. The other keywords are those of `TranscribeOptions` and `DecodingOptions`.

    Raises AudioError for what cannot be read, OptionError and LanguageError for options that are not accepted.

    >>> transcribe(viska.load_model("base"), "talk.mp3", language="en").text
    """
    job = Transcription(model, audio, transcribe_options(options))
    if verbose is not None and job.language_probs is not None:
        print(f"Detected language: {LANGUAGES[job.language].title()}")  # noqa: T201  # verbose asks for it
    with progress_bar(job, show=verbose is False) as bar:
        for segment in job:
            if verbose:
                print(segment_line(segment), flush=True)  # noqa: T201  # verbose asks for it
            if on_segment is not None:
                on_segment(segment)
            bar.update(job.position_s - bar.n)
        bar.update(job.position_s - bar.n)
    return job.transcript()


def progress_bar(job: Transcription, *, show: bool) -> "tqdm[Any]":
    """A bar over the seconds of the recording, on standard error, where that is a terminal."""
    return tqdm(
        total=round(job.duration_s, 2), unit="s", disable=not (show and sys.stderr.isatty()), bar_format=BAR_FORMAT
    )


BAR_FORMAT = "{percentage:3.0f} %|{bar}| {n:.0f}/{total:.0f} s of audio [{elapsed}<{remaining}]"


def segment_line(segment: Segment) -> str:
    """A segment for reading along: [start --> end] text."""
    return f"[{format_timestamp(segment.start)} --> {format_timestamp(segment.end)}] {segment.text}"


def _spelled_out() -> Signature:
    """The signature of `transcribe` with every option by its name, for help and for tools that look."""
    own = [
        parameter for parameter in signature(transcribe).parameters.values() if parameter.kind != Parameter.VAR_KEYWORD
    ]
    defaults = {**_defaults(TranscribeOptions, OWN), **_defaults(TranscribeOptions().decoding.__class__, DECODING)}
    spelled = [Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in defaults.items()]
    return Signature([*own, *spelled], return_annotation=Transcript)


def _defaults(options: type, names: set[str]) -> dict[str, Any]:
    blank = options()
    return {name: getattr(blank, name) for name in options.__dataclass_fields__ if name in names}  # type: ignore[attr-defined]


transcribe.__signature__ = _spelled_out()  # type: ignore[attr-defined]
