"""A stretch of a recording whose windows are decoded one after the other.

It decides nothing about who decodes: `steps` yields what is to be decoded and is sent the results, so that one passage
can be worked through alone and many together.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, chain

from viska.audio import FRAMES_PER_SECOND, N_FRAMES
from viska.decoding import DecodingResult, tokenizer_for
from viska.engine import Heard
from viska.model import Whisper
from viska.result import GuardEvent, Segment
from viska.timing import Asides, WordTiming, align, merge_punctuations
from viska.tokenizer import Tokenizer
from viska.transcription.backend import Attempt, Backend
from viska.transcription.confidence import rate_words, with_confidence
from viska.transcription.fallback import Thresholds, decode_with_fallback
from viska.transcription.guard import (
    COPY_BYTES,
    LOOP,
    MISSED,
    NO_SPEECH,
    PAUSE_S,
    PROMPT,
    THIN,
    UNSURE_LOGPROB,
    Evidence,
    Span,
    apart,
    at_its_speech,
    cuts_speech,
    is_echo,
    is_half_heard,
    is_invented,
    is_speechless,
    is_thin,
    judge,
    may_hide_speech,
    silent_s,
)
from viska.transcription.hearing import Hearing
from viska.transcription.joins import parted, reaches_over
from viska.transcription.journal import Checkpoint
from viska.transcription.language import follow
from viska.transcription.loops import is_looping, without_loops
from viska.transcription.options import TranscribeOptions
from viska.transcription.planner import PromptHistory, SequentialPlanner, Window
from viska.transcription.silence import Recording, last_word_end, skip_silence
from viska.transcription.snapping import snap
from viska.transcription.speech import SpeechTrack
from viska.transcription.spelling import spellings_of
from viska.transcription.splitter import Split, blanked, split, text_tokens
from viska.transcription.stretch import Stretch
from viska.transcription.words import is_squeezed, pace_of, place_words, shorten_at_sentence_ends

LEAST_REST = 100  # frames; a shorter rest of a packed window is not worth a window of its own
REACH = 300  # frames behind the time of a text in which its last words are looked for


class Passage:
    """One stretch on its way to segments, which are in `decided` in the order of the recording.

    Where voice activity is known of the stretch, the guard (`guard`) is on, and what it did is in `events`. `stop`,
    once set, ends the passage before the next step; `speak` must say the language before the first. `journal`, if any,
    is told after each window where the passage stands.
    """

    tokenizer: Tokenizer
    language: str  # of the window
    settled_language: str  # of what was last said

    def __init__(
        self,
        model: Whisper,
        backend: Backend,
        options: TranscribeOptions,
        stretch: Stretch,
        history: PromptHistory,
        stop: threading.Event,
    ) -> None:
        self.model, self.backend, self.options, self.stretch = model, backend, options, stretch
        self.stop = stop
        self.hearing = Hearing(backend, stretch, options)
        self.planner = SequentialPlanner(stretch.clips, history)
        self.thresholds = Thresholds(
            options.compression_ratio_threshold, options.logprob_threshold, options.no_speech_threshold
        )
        self.decided: list[Segment] = []
        self.events: list[GuardEvent] = []
        self.finished = False
        self.error: Exception | None = None
        self.position_s = stretch.start_s(0.0)
        self.spoke = False
        self.last_speech_s = 0.0
        self.journal: Callable[[Checkpoint], None] | None = None
        self._told = 0, 0

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.stop.is_set()

    def speak(self, language: str) -> None:
        """Take the language of what is to come."""
        self.language = self.settled_language = language
        self.tokenizer = self._tokenizer_of(language)

    def _tokenizer_of(self, language: str) -> Tokenizer:
        return tokenizer_for(self.model, language=language, task=self.options.decoding.task)

    def steps(self) -> Generator[Attempt, DecodingResult, None]:
        """Yields attempts and is sent their results; ends with the passage."""
        while (window := self.planner.next()) is not None:
            self.position_s = self.stretch.start_s(window.start_s)
            if self.stretch.speech is not None and (quiet_s := silent_s(self.stretch.speech, window)):
                self.planner.skip(window, round(quiet_s * FRAMES_PER_SECOND))
                continue
            if self.options.multilingual:
                window = self._follow_language(window)
            result = yield from self._decode(window)
            if self.stretch.speech is not None:
                yield from self._guarded(self.stretch.speech, window, result)
            else:
                self._decide(window, result)
            self._note_down()
        self.finished = True
        self.hearing.forget()  # the passage stays until its recording is through
        self._note_down()

    def _note_down(self) -> None:
        if self.journal is not None:
            self.journal(self.checkpoint())

    def news(self) -> tuple[list[Segment], list[GuardEvent]]:
        """The segments decided, and the events, since the last time."""
        n_segments, n_events = self._told
        self._told = len(self.decided), len(self.events)
        return self.decided[n_segments:], self.events[n_events:]

    def checkpoint(self) -> Checkpoint:
        """Where it stands, between two windows."""
        planner, history = self.planner, self.planner.history
        return Checkpoint(
            planner.seek,
            len(planner.clips),
            tuple(history.since_reset),
            history.initial_in_reach,
            self.spoke,
            self.settled_language,
            self.last_speech_s,
            tuple(self.decided),
            tuple(self.events),
            self.finished,
        )

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Stand where another passage of the same stretch stood."""
        planner, history = self.planner, self.planner.history
        planner.seek = checkpoint.seek
        del planner.clips[: len(planner.clips) - checkpoint.clips_left]
        history.since_reset, history.initial_in_reach = list(checkpoint.history), checkpoint.initial_in_reach
        self.spoke, self.last_speech_s = checkpoint.spoke, checkpoint.last_speech_s
        self.speak(checkpoint.language)
        self.decided, self.events = list(checkpoint.segments), list(checkpoint.events)

    def _attempts(self, window: Window) -> Iterator[Attempt]:
        """At the temperatures in order; before them all with a shorter context, where that is enough for the window."""
        temperatures = self.options.temperature
        short = self.hearing.context(window)
        if short < N_FRAMES:
            yield self._attempt(self.hearing.hear(window, short), temperatures[0], window)
        for temperature in temperatures:
            yield self._attempt(self.hearing.hear(window), temperature, window)

    def _attempt(self, heard: Heard, temperature: float, window: Window) -> Attempt:
        options = self.options.decoding_at(temperature, window.prompt)
        stop_loops = self.stretch.speech is not None
        return Attempt(heard, replace(options, language=self.language), stop_loops)

    def _follow_language(self, window: Window) -> Window:
        """Go over to the language of a window, which text in another one shall not stand before.

        Behind such a prompt the model says nothing, or goes on in the language of the prompt.
        """
        before = self.settled_language
        language = follow(before, self.hearing.languages(window), self.options.language_detection_threshold)
        self.language, self.tokenizer = language, self._tokenizer_of(language)
        if self.spoke and language != before:
            self.planner.history.forget()
        return self.planner.next() or window

    def _decode(self, window: Window) -> Generator[Attempt, DecodingResult, DecodingResult]:
        """What a window says, by the first attempt that passes the thresholds, or the best of those that fail."""
        thresholds, speech = self.thresholds, self.stretch.speech
        if speech is not None:
            thresholds = replace(thresholds, looping=self._is_looping, speechless=is_speechless(speech, window))
        keep_last = self.options.compat == "openai"
        result = yield from decode_with_fallback(self._attempts(window), thresholds, keep_last=keep_last)
        if speech is not None:
            # What the decoder repeats by itself may have been said so; where it had failed before, it is a loop's rest.
            repaired = result.temperature > self.options.temperature[0] or thresholds.improbable(result)
            doubted = repaired or result.avg_logprob < UNSURE_LOGPROB
            result, surplus = without_loops(result, self.tokenizer, repeats=doubted)
            if surplus:
                self._note("dropped", LOOP, (window.start_s, window.end_s), surplus)
        return result

    def _is_looping(self, result: DecodingResult) -> bool:
        return is_looping(result, self.tokenizer)

    def _find(self, window: Window, result: DecodingResult, *, least_rest: int | None = None) -> tuple[Split, bool]:
        """The segments of a window, and whether they are decided; where they are not, nothing is said in it."""
        if self.thresholds.silent(result):
            return Split((), window.size, ends_closed=True), False
        if least_rest is None:
            least_rest = LEAST_REST if self.stretch.times is not None else 0
        found = split(result, window, self.tokenizer, least_rest=least_rest)
        if self.options.word_timestamps or self._is_doubtful(found):
            return self._with_words(found, window)
        return found, True

    def _is_doubtful(self, found: Split) -> bool:
        """Whether words are to tell if speech has no text, if text is a guess, and where silence was left out in it.

        Not of a translation: its words have no time of their own.
        """
        speech = self.stretch.speech
        if speech is None or self.options.decoding.task != "transcribe":
            return False
        signs = (may_hide_speech, is_thin, is_half_heard, is_invented)
        return any(
            reaches_over(segment, speech, self.stretch.long_joins_s) or any(sign(segment, speech) for sign in signs)
            for segment in found.segments
        )

    def _decide(self, window: Window, result: DecodingResult) -> None:
        found, decided = self._find(window, result)
        if decided:
            self._settle(window, found, result)
        else:
            self.planner.skip(window, found.consumed)

    def _settle(self, window: Window, found: Split, result: DecodingResult) -> None:
        language = result.language if self.options.multilingual else None
        segments = [replace(blanked(segment), language=language) for segment in found.segments]
        tokens = [token for segment in segments for token in segment.tokens]
        self.planner.advance(window, found.consumed, tokens, result.temperature)
        if self.options.compat is None and self.thresholds.repetitive(result):
            self.planner.history.forget()  # a repetition as a prompt is repeated
        if any(segment.text for segment in segments):
            self.spoke, self.settled_language = True, self.language
        if self.options.compat is None and any(segment.words for segment in segments):
            segments = self._snapped(window, segments, found.consumed or window.size)
            segments = [part for one in segments for part in parted(one, self.stretch.long_joins_s, self.tokenizer)]
        if self.stretch.speech is not None:
            segments = [with_confidence(segment, self.stretch.speech) for segment in segments]
            # Words say when a segment is said.
            speech, joins_s = self.stretch.speech, self.stretch.joins_s
            segments = [one if one.words else at_its_speech(one, speech, joins_s) for one in segments]
        if not self.options.word_timestamps:
            self.last_speech_s = max([self.last_speech_s, *(one.end for one in segments if one.text)])
            segments = [replace(segment, words=None) for segment in segments]
        self.decided += map(self.stretch.in_recording, segments)

    def _snapped(self, window: Window, segments: Sequence[Segment], consumed: int) -> list[Segment]:
        """The segments with their words at the edges of the pauses; what is heard next does not depend on it."""
        mel = self.stretch.frames(window.start, window.start + window.size)
        until_s = window.start_s + consumed / FRAMES_PER_SECOND
        return snap(segments, mel, start_s=window.start_s, until_s=until_s)

    def _guarded(
        self, speech: SpeechTrack, window: Window, result: DecodingResult
    ) -> Generator[Attempt, DecodingResult, None]:
        """Settle what the guard leaves of a window, and what it finds beside it."""
        found, decided = self._find(window, result)
        prompt = self.tokenizer.decode(text_tokens(window.prompt, self.tokenizer))
        verdict = judge(Evidence(found.segments, speech, window.start_s, self._settled_s(window, found), prompt))
        if verdict.echo:
            self._note("decoded again", PROMPT, (window.start_s, window.end_s), result.text)
            window = replace(window, prompt=())
            result = yield from self._decode(window)
            found, decided = self._find(window, result)
            verdict = judge(Evidence(found.segments, speech, window.start_s, self._settled_s(window, found)))
        for segment in verdict.dropped:
            self._note("dropped", NO_SPEECH, (segment.start, segment.end), segment.text)
        if verdict.again:
            text = "".join(segment.text for segment in verdict.again)
            self._note("decoded again", MISSED, (verdict.again[0].start, verdict.again[-1].end), text)
        segments = list(verdict.kept)
        for span in verdict.missed:
            at_start = span[0] - window.start_s < PAUSE_S  # where the text before may go on
            around = [*self.decided[-1:], *verdict.kept] if at_start else verdict.kept
            segments += yield from self._look_again(speech, span, around)
        for segment in [segment for segment in verdict.kept if is_thin(segment, speech)]:
            others = [other for other in verdict.kept if other is not segment]
            whole = yield from self._hear_apart(speech, segment, others)
            segments = [other for other in segments if other is not segment] + whole
        consumed = round(verdict.settled_s * FRAMES_PER_SECOND) - window.start
        if decided or segments:
            segments.sort(key=lambda segment: segment.start)
            self._settle(window, replace(found, segments=tuple(segments), consumed=consumed), result)
        else:
            self.planner.skip(window, consumed)

    def _hear_apart(
        self, speech: SpeechTrack, segment: Segment, around: Sequence[Segment]
    ) -> Generator[Attempt, DecodingResult, list[Segment]]:
        """What is said under a segment, pause by pause; the segment itself, where no more comes of it."""
        found: list[Segment] = []
        for span in apart(segment, speech):
            found += yield from self._look_again(speech, span, around, THIN)
        more = sum(len(one.text) for one in found) > len(segment.text)
        return found if more else [segment]

    def _look_again(
        self, speech: SpeechTrack, span: Span, around: Sequence[Segment], reason: str = MISSED
    ) -> Generator[Attempt, DecodingResult, tuple[Segment, ...]]:
        """What is said between two times that have speech and no text; nothing, where no sound text comes of it."""
        start, end = (round(time_s * FRAMES_PER_SECOND) for time_s in span)
        window = Window(start, end - start, ())
        result = yield from self._decode(window)
        found, _ = self._find(window, result, least_rest=N_FRAMES + 1)
        verdict = judge(Evidence(found.segments, speech, *span, goes_on=False))
        spoken = [segment for segment in verdict.kept if segment.text.strip() and segment.start < span[1]]
        kept = tuple(replace(segment, end=min(segment.end, span[1])) for segment in spoken)
        copied = is_echo(result.text, "".join(segment.text for segment in around), least_bytes=COPY_BYTES)
        sound = bool(kept) and not copied and not self.thresholds.failed(result)
        self._note("recovered" if sound else "left", reason, span, result.text)
        return kept if sound else ()

    def _settled_s(self, window: Window, found: Split) -> float:
        """Up to where a window is decided."""
        return window.start_s + (found.consumed or window.size) / FRAMES_PER_SECOND

    def _note(self, action: str, reason: str, span: Span, text: str) -> None:
        end_s = self.stretch.n_frames / FRAMES_PER_SECOND  # text may claim to be said in the silence behind it
        start, end = self.stretch.span(*(min(time_s, end_s) for time_s in span))
        self.events.append(GuardEvent(start, end, action, reason, text.strip()))

    def _asides(self, own_tokens: Sequence[Sequence[int]]) -> Asides:
        """Each segment has words of its own, and the guard's words a confidence; openai/whisper has neither."""
        if self.options.compat is not None:
            return Asides()
        tokenizer = self.tokenizer
        sureness = spellings_of(tokenizer.encoding, tokenizer.eot).probabilities if self.options.guarded else None
        return Asides(tuple(accumulate(map(len, own_tokens[:-1]))), sureness)

    def _breaks_off(self, window: Window, n_frames: int) -> bool:
        """Whether somebody goes on speaking where a window's text ends."""
        speech, own = self.stretch.speech, self.options.compat is None
        ends_s = window.start_s + n_frames / FRAMES_PER_SECOND
        return own and n_frames < window.size and speech is not None and cuts_speech(ends_s, speech)

    def _with_words(self, found: Split, window: Window) -> tuple[Split, bool]:
        """The segments of a window with their words, and whether they are decided."""
        options, own = self.options, self.options.compat is None
        own_tokens = [text_tokens(segment.tokens, self.tokenizer) for segment in found.segments]
        alignment, goes_on = self._aligned(own_tokens, found, window)
        pace = pace_of(alignment)
        if pace is not None:
            shorten_at_sentence_ends(alignment, pace)
        merge_punctuations(alignment, options.prepend_punctuations, options.append_punctuations)
        if options.guarded:
            rate_words(alignment, self.language if options.decoding.task == "transcribe" else "en")
        segments = place_words(
            found.segments,
            [len(tokens) for tokens in own_tokens],
            alignment,
            pace,
            offset_s=window.start_s,
            last_speech_s=self.last_speech_s,
            settle=own,
        )
        found = replace(found, segments=tuple(segments))
        end_s = last_word_end(segments)
        if end_s is not None and end_s > window.start_s and (goes_on or (not own and not found.ends_closed)):
            consumed = round(end_s * FRAMES_PER_SECOND) - window.start
            found = replace(found, consumed=max(found.consumed, consumed) if own else consumed)
        return self._without_odd_words(found, window)

    def _aligned(
        self, own_tokens: Sequence[Sequence[int]], found: Split, window: Window
    ) -> tuple[list[WordTiming], bool]:
        """When the words of a window's segments are said, and whether they go on behind the time of their segments."""
        # Of what is left to the next window there is no text, whose time the last words would claim.
        n_frames = (found.consumed if self.options.compat is None else 0) or window.size
        text = list(chain.from_iterable(own_tokens))
        read = partial(self.backend.read, self.hearing.heard_for_text(window))
        align_to = partial(align, read, self.tokenizer, text, asides=self._asides(own_tokens))
        alignment = align_to(n_frames)
        if self._breaks_off(window, n_frames) and is_squeezed(alignment):
            return align_to(min(n_frames + REACH, window.size)), True
        return alignment, False

    def _without_odd_words(self, found: Split, window: Window) -> tuple[Split, bool]:
        """The segments as far as their words do not look made up over silence, and whether they are decided."""
        decided, threshold_s = True, self.options.hallucination_silence_threshold
        if threshold_s is not None:
            recording = Recording(self.stretch.n_frames, self.last_speech_s)
            found, decided = skip_silence(found, window, recording, threshold_s)
        if decided and (end_s := last_word_end(found.segments)) is not None:
            self.last_speech_s = end_s
        return found, decided
