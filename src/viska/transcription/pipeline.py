"""A recording of any length to a transcript.

Samples are cut into stretches (`stretch`), each of which is a passage (`passage`): windows (`planner`), decoding with
fallback (`fallback`), segments (`splitter`) and words (`words`). A `scheduler` has the passages decoded, one or many at
a time; the `assembler` puts their segments together. Radford et al. (2022), sections 3.8 and 4.5.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from inspect import Parameter, Signature, signature
from itertools import islice
from typing import Any

from tqdm import tqdm

from viska.audio import FRAMES_PER_SECOND
from viska.decoding import tokenizer_for
from viska.decoding.language import candidate_languages
from viska.errors import LanguageError, OptionError
from viska.formats import format_timestamp
from viska.languages import LANGUAGES, language_code
from viska.model import Whisper
from viska.recording import LogMel, Recording
from viska.result import Segment, Transcript
from viska.tokenizer import Tokenizer
from viska.transcription.assembler import Assembler
from viska.transcription.backend import Backend, backend_for
from viska.transcription.cutting import cut, whole
from viska.transcription.journal import Journal, identity_of
from viska.transcription.language import detection_windows, likeliest, vote, vote_by_speech, where_spoken
from viska.transcription.options import (
    DECODING,
    OWN,
    TranscribeOptions,
    transcribe_options,
    warn_of_lost_translation,
)
from viska.transcription.passage import Passage
from viska.transcription.planner import PromptHistory
from viska.transcription.scheduler import Scheduler
from viska.transcription.stretch import Stretch

logger = logging.getLogger(__name__)


class Transcription:
    """One recording on its way to a transcript.

    Iterate over it for the segments as they are decided; `transcript()` has what was decided so far, and `cancel()`,
    from any thread, ends the iteration before the next step of the decoder. `journal` is the path of a file in which
    every window is written down when it is decided: the same job with the same journal goes on from there, and gives
    all segments from the first on. The file stays; remove it when the result is safe. Raises AudioError for what cannot
    be read, OptionError and LanguageError for options that are not accepted, OptionError too for the journal of another
    job, and OutputError for one that cannot be written.
    """

    def __init__(
        self,
        model: Whisper,
        audio: Any,
        options: TranscribeOptions | None = None,
        *,
        backend: Backend | None = None,
        journal: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(model, Whisper):
            raise OptionError(f"model is of type {type(model).__name__}; accepted is what viska.load_model gives")
        self.model = model
        self.options = options or TranscribeOptions()
        compat = self.options.compat == "openai"
        given_language = self._given_language()
        warn_of_lost_translation(self.options, model.dims, is_multilingual=model.is_multilingual)
        recording: Recording = (
            audio
            if isinstance(audio, Recording)
            else Recording(audio, track=self.options.audio_track, channel=self.options.channel, timed=not compat)
        )
        self.mel = LogMel(recording, model.dims.n_mels, exact=compat)
        self.duration_s = recording.duration_s
        self.position_s = 0.0
        self._stop = threading.Event()
        self.backend = backend or backend_for(model, reference=compat, fp16=self.options.decoding.fp16)
        self._stretches = cut(recording, self.mel, self.options)
        self._passages: list[Passage] = []  # begun, and not yet all taken over, in order
        self._n_to_come = len(self._stretches)
        self._at_once = len(self._stretches) or 1  # how many are begun and finished before any other is begun
        self.journal: Journal | None = None
        if journal is not None:
            self.journal = Journal(journal, identity_of(recording, model, self.options, self._stretches))
            if self.options.independent:
                # The last bits of a sum depend on how many rows are multiplied at once: what is decoded again must
                # share its batch with those that it shared it with before, and no others.
                self._at_once = self.options.batch_size
                self.journal.forget_parts(self._at_once, len(self._stretches))

        self.language_probs: dict[str, float] | None = None
        self.language = given_language or ""
        self._first = self._passage(self._stretches[0]) if self._stretches else None
        if given_language is None:
            self.language = self._detect_language()
        self.assembler = Assembler(self._tokenizer, self.duration_s, compat=compat)

    def __iter__(self) -> Iterator[Segment]:
        """The segments, each as soon as its window is decided."""
        scheduler, passages = Scheduler(self.backend, self.options.batch_size), self.passages()
        for _ in range(0, len(self._stretches), self._at_once):
            for _ in scheduler.run(islice(passages, self._at_once)):
                yield from self.collect()
        yield from self.collect()

    def passages(self) -> Iterator[Passage]:
        """The passages in order, each made when it is its turn."""
        for number, stretch in enumerate(self._stretches):
            passage = self._first if number == 0 and self._first is not None else self._passage(stretch)
            self._first = None
            if self.journal is not None:
                self._go_on(passage, number, self.journal)
            self._passages.append(passage)
            self._n_to_come = len(self._stretches) - number - 1
            yield passage

    def collect(self) -> Iterator[Segment]:
        """The segments decided since the last time, as far as all before them is. Raises what a passage raised."""
        while self._passages:
            passage = self._passages[0]
            decided, events = passage.news()
            self.assembler.events += events
            self.position_s = max(self.position_s, passage.position_s)
            yield from self.assembler.add(decided)
            if passage.error is not None:
                raise passage.error
            if not passage.finished:
                return
            self._passages.pop(0)
        if self.finished and not self.cancelled:
            self.position_s = self.duration_s

    @property
    def finished(self) -> bool:
        """Whether all is decided and collected."""
        return not self._passages and not self._n_to_come

    @property
    def cancelled(self) -> bool:
        """Whether it is to be decoded no further."""
        return self._stop.is_set()

    @property
    def kept_s(self) -> float:
        """How much of the recording, in seconds, is decoded: with `vad_filter` the parts with speech, else all."""
        if not self.options.vad_filter:
            return self.duration_s
        return sum(stretch.n_frames for stretch in self._stretches) / FRAMES_PER_SECOND

    def cancel(self) -> None:
        """Decode no further; what was decided stays."""
        self._stop.set()

    def transcript(self) -> Transcript:
        """What was decided so far."""
        return self.assembler.transcript(self.language, guarded=self.options.guarded)

    @property
    def _tokenizer(self) -> Tokenizer:
        return tokenizer_for(self.model, language=self.language or "en", task=self.options.decoding.task)

    def _passage(self, stretch: Stretch) -> Passage:
        options = self.options
        tokenizer = self._tokenizer
        history = PromptHistory(
            tokenizer.encode(" " + options.initial_prompt.strip()) if options.initial_prompt else (),
            room=self.model.dims.n_text_ctx // 2 - 1,
            condition=options.conditions,
            carry_initial=options.carry_initial_prompt,
            compat=options.compat == "openai",
        )
        passage = Passage(self.model, self.backend, options, stretch, history, self._stop)
        passage.speak(self.language or "en")
        return passage

    def _go_on(self, passage: Passage, number: int, journal: Journal) -> None:
        """Let a passage go on from where the journal has it, and write on there."""
        checkpoint = journal.checkpoints.get(number)
        if checkpoint is not None:
            passage.go_on_from(checkpoint)
        if checkpoint is None or not checkpoint.finished:
            passage.journal = partial(journal.append, number)

    def _given_language(self) -> str | None:
        language = self.options.decoding.language
        code = language_code(language) if language is not None else None
        if self.model.is_multilingual:
            return code
        if self.options.multilingual:
            raise LanguageError("this model knows English alone: leave multilingual out, or use a multilingual model")
        languages = candidate_languages(self.options.decoding.languages)
        if languages is not None and "en" not in languages:
            among = ", ".join(sorted(languages))
            raise LanguageError(f"this model knows English alone, but languages are {among}; use a multilingual model")
        if code not in (None, "en"):
            logger.warning("the model knows English alone; language %r is taken as 'en'", language)
        return "en"

    def _detect_language(self) -> str:
        """The language of the recording, by the model or the journal."""
        first = self._first or self._passage(whole(self.mel, (0.0,)))
        probs = self.journal.language_probs if self.journal is not None else None
        if probs is None:
            probs = self._hear_language(first)
            if self.journal is not None:
                self.journal.hear(probs)
        self.language_probs = probs
        language = likeliest(probs)
        logger.info("detected language: %s (%.0f %%)", LANGUAGES[language], 100 * probs[language])
        first.speak(language)
        return language

    def _hear_language(self, first: Passage) -> dict[str, float]:
        """How probable each language is: in as many half minutes as are asked for, or else where somebody speaks."""
        n_asked, threshold = self.options.language_detection_segments, self.options.language_detection_threshold
        if n_asked is not None or first.stretch.speech is None:
            return vote(
                map(first.hearing.languages, detection_windows(first.stretch.n_frames, n_asked or 1)), threshold
            )
        heard = (
            ((first if stretch is first.stretch else self._passage(stretch)).hearing.languages(window), spoken_s)
            for stretch, window, spoken_s in where_spoken(self._stretches)
        )
        return vote_by_speech(heard, threshold)


def transcribe(
    model: Whisper,
    audio: Any,
    *,
    verbose: bool | None = None,
    on_segment: Callable[[Segment], None] | None = None,
    journal: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Transcript:
    """Transcribe a recording of any length.

    `audio` is a path, "-" for standard input, bytes, a binary file, or samples at 16 kHz. `verbose` True prints each
    segment as it comes, False shows a progress bar on a terminal, None stays silent. `on_segment` is called with each
    segment as it is decided. `journal` is the path of a file from which the same call goes on after it was broken off;
    remove it when the result is safe. The other keywords are those of `TranscribeOptions` and `DecodingOptions`.

    Raises AudioError for what cannot be read, OptionError and LanguageError for options that are not accepted,
    OptionError too for the journal of another job, and OutputError for one that cannot be written.

    >>> transcribe(viska.load_model("base"), "talk.mp3", language="en").text
    """
    if on_segment is not None and not callable(on_segment):
        raise OptionError(f"on_segment is {on_segment!r}; accepted is a function of a segment")
    job = Transcription(model, audio, transcribe_options(options), journal=journal)
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
    shown = show and sys.stderr is not None and sys.stderr.isatty()  # programs without a console have none
    return tqdm(total=round(job.duration_s, 2), unit="s", disable=not shown, bar_format=BAR_FORMAT)


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
