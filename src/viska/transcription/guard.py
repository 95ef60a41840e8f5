"""The guard: text held against all that is known of its window, so that nothing is invented and nothing is lost.

Pure. It knows no phrases, it judges evidence: how much speech voice activity heard under a text, how sure the model was
of it, whether it goes round in circles, whether it stood in the prompt already, and what speech has no text at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise
from math import inf
from typing import TypeAlias

from viska.result import Segment
from viska.transcription.planner import Window
from viska.transcription.speech import SPOKEN, SpeechTrack

MARGIN_S = 0.5
"""By which the model's times of a segment may be off."""
LEAST_SPOKEN_S = 0.1
"""A shorter sound is no word: three frames of voice activity."""
LEAST_SPOKEN_S_PER_BYTE = 0.01
"""Nobody says so much so fast: in any script, speech has at most some 40 bytes of UTF-8 a second."""
SURE_LOGPROB, SURE_NO_SPEECH, SURE_PEAK = -0.25, 0.1, 0.2
"""A model that is so sure of a text, and of there being speech, is believed where voice activity only half hears it, as
it does singing and whispering."""
DOUBTFUL_LOGPROB, DOUBTFUL_SHARE, SLOW_S_PER_LETTER = -1.0, 0.5, 0.1
"""Text that no attempt made better than this is believed where most of its time is speech: less may be music. Its time
is not what the model claims, since a word in minutes of silence claims them all: it is from the first to the last sound
of speech, and at least what it takes to say it slowly."""
HEARD_PEAK, GUESSED = 0.98, 0.3
"""Voice activity is as good as certain somewhere in what somebody says. Where it never is, what the decoder makes of a
growl, a chime or a siren is believed only if it is surer of it than of a guess."""
UNSURE_LOGPROB = -0.5
"""What a less probable text says three times in a row is taken for the beginning of a loop. Where it was said so, there
is more speech than the one copy that stays, and that is heard again."""
MISSED_S = 2.0
"""Speech without text that is worth a decoding beside text: with less, times that are off would be taken for loss."""
PAUSE_S = 1.0
"""A pause so long parts speech from speech."""
ALONE_S = 0.8
"""Speech without text that is worth a decoding where pauses part it from all that has text, and speech beyond what it
takes to say a text slowly, which shows that more was said: a short sentence."""
BRISK_S_PER_LETTER = 0.045
"""What people say fast, short of haste."""
LETTERS_OF_A_DIGIT, LETTERS_OF_A_SIGN, FIRST_SIGN = 4, 3, "\u2e80"
"""A digit counts as its word, and a sign for a syllable or a word, as in Chinese, Japanese and Korean, for as much."""
LEFT_OUT_S = 2.0
"""Speech under one word, beyond what it takes to say it slowly, that shows that the decoder left words out there."""
EDGE_S = 0.3
"""Heard along with missed speech on both sides: voice activity comes late and ends early."""
LONG_SILENCE_S = 2.0
"""Silence at the beginning of a window that the window is moved behind: a decoder hears a short sentence after it as
nothing or as another one, and puts the first text into the first second whatever is said when."""
LEAST_ADVANCE_S = 10.0
"""Of a window that is moved, so that moving windows cannot cost more than three decodings for one."""
ECHO_BYTES = 40
"""Letters, in UTF-8, that a text has in common with its prompt by more than chance: half a dozen words."""
ECHO_SHARE, ECHO_RUN = 0.85, 4
"""A text is in its prompt with so much of its letters, in the same order and so many in a row at least: a decoder that
copies leaves a word out or changes one."""
COPY_BYTES = 10
"""The same for a text found at a second look and the text beside it, which may have been said in its place."""

NO_SPEECH, LOOP, PROMPT, MISSED = "no speech", "loop", "text of the prompt", "speech without text"
THIN = "too little text for its speech"


Span: TypeAlias = tuple[float, float]
"""Start and end, in seconds."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a window that was decoded, between two times in seconds; `prompt` is the text before it.

    `goes_on` says that another window hears what this one leaves.
    """

    segments: tuple[Segment, ...]
    speech: SpeechTrack
    start_s: float
    end_s: float
    prompt: str = ""
    goes_on: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a window: keep and drop these segments, and look again at speech that has no text.

    `settled_s` is up to where the window is decided: earlier than proposed where speech at its end has no text, or
    words were left out (`again`: from there on, segments are left to the next window), so that the next window begins
    there. `echo` says that the window is to be decoded again without a prompt before any of this is believed.
    """

    kept: tuple[Segment, ...]
    dropped: tuple[Segment, ...]
    again: tuple[Segment, ...]
    missed: tuple[Span, ...]
    settled_s: float
    echo: bool


def judge(evidence: Evidence) -> Verdict:
    """The verdict on a window."""
    texts = [segment.text for segment in evidence.segments if segment.text.strip()]
    echo = any(is_echo(text, evidence.prompt) for text in [*texts, "".join(texts)])
    evidence, again = before_words_left_out(evidence)
    said = [segment for segment in evidence.segments if segment.text.strip()]
    dropped = tuple(
        segment
        for segment, between in zip(said, _own_time(said, evidence.start_s), strict=True)
        if is_invented(segment, evidence.speech, *between) or is_guessed(segment, evidence.speech)
    )
    kept = tuple(segment for segment in evidence.segments if segment not in dropped)
    missed = list(uncovered(kept, evidence.speech, evidence.start_s, evidence.end_s))
    settled_s = evidence.end_s
    if missed and evidence.end_s - missed[-1][1] < EDGE_S and missed[-1][0] - evidence.start_s > LEAST_ADVANCE_S:
        settled_s = missed.pop()[0]
    elif not missed or evidence.end_s - missed[-1][1] >= EDGE_S:
        settled_s = before_cut_speech(kept, evidence)
    return Verdict(kept, dropped, again, tuple(missed), settled_s, echo)


def silent_s(speech: SpeechTrack, window: Window) -> float:
    """How long, from its beginning on, no text of a window could be believed, so that there is no use in decoding it.

    All of it at most, and 0 where that would hardly move the window.
    """
    audible_s = speech.first(window.start_s, window.end_s, SURE_PEAK)
    if audible_s is None:
        return window.duration_s
    before_s = audible_s - EDGE_S - window.start_s
    return before_s if before_s >= LONG_SILENCE_S else 0.0


def is_speechless(speech: SpeechTrack, window: Window) -> bool:
    """Whether voice activity hears nobody speak in a window, or half hears it at most."""
    return speech.spoken_s(window.start_s, window.end_s) < LEAST_SPOKEN_S


def _own_time(segments: Sequence[Segment], heard_from_s: float) -> Iterator[Span]:
    """Between which times each segment's speech may lie: where words tell the times, under no segment beside it."""
    for number, segment in enumerate(segments):
        before, behind = segments[:number][-1:], segments[number + 1 :][:1]
        known = [one.end for one in before if segment.words and one.words]
        follows = [one.start for one in behind if segment.words and one.words]
        yield max([heard_from_s, *known]), min([inf, *follows])


def is_invented(segment: Segment, speech: SpeechTrack, heard_from_s: float = 0.0, heard_until_s: float = inf) -> bool:
    """Whether there is too little speech for the text of a segment, and the model is not sure of it either.

    Speech before and behind these times was not heard for it, or is another segment's.
    """
    start_s = min(max(segment.start - MARGIN_S, heard_from_s), segment.start)
    end_s = max(min(segment.end + MARGIN_S, heard_until_s), segment.end)
    n_bytes = len(segment.text.strip().encode())
    needed_s = max(LEAST_SPOKEN_S, LEAST_SPOKEN_S_PER_BYTE * n_bytes)
    if segment.avg_logprob < DOUBTFUL_LOGPROB or not _letters(segment.text):  # a mark alone says nothing
        sounds = list(speech.runs(start_s, end_s, pause_s=PAUSE_S))
        heard_s = sounds[-1][1] - sounds[0][0] if sounds else 0.0
        said_s = min(segment.end - segment.start, SLOW_S_PER_LETTER * _letters_said(segment.text))
        needed_s = max(needed_s, DOUBTFUL_SHARE * max(heard_s, said_s))
    if speech.spoken_s(start_s, end_s) >= needed_s:
        return False
    sure = segment.avg_logprob > SURE_LOGPROB and segment.no_speech_prob < SURE_NO_SPEECH
    return not (sure and speech.peak(start_s, end_s) >= SURE_PEAK)


def is_half_heard(segment: Segment, speech: SpeechTrack) -> bool:
    """Whether voice activity hears somebody speak under a text for a moment at most, and is never certain of it."""
    around = segment.start - MARGIN_S, segment.end + MARGIN_S
    return bool(segment.text.strip()) and speech.peak(*around) < HEARD_PEAK and speech.spoken_s(*around) < MISSED_S


def is_guessed(segment: Segment, speech: SpeechTrack) -> bool:
    """Whether nobody is surely heard, and the words of a segment, where their confidence is known, are hardly believed.

    Each of them counts once: what a decoder says again and again it is ever surer of.
    """
    rated: dict[str, float] = {}
    for word in segment.words or ():
        if word.confidence is not None:
            rated.setdefault(_letters(word.word), word.confidence)
    return bool(rated) and sum(rated.values()) < GUESSED * len(rated) and is_half_heard(segment, speech)


def is_thin(segment: Segment, speech: SpeechTrack) -> bool:
    """Whether more is said under a segment than its text, as where something is said again, or somebody else speaks.

    Speech under none is another matter (`uncovered`).
    """
    n_letters = _letters_said(segment.text)
    return n_letters > 0 and speech.spoken_s(segment.start, segment.end) - SLOW_S_PER_LETTER * n_letters >= ALONE_S


def may_hide_speech(segment: Segment, speech: SpeechTrack) -> bool:
    """Whether speech at an edge of a segment, behind or before a pause, may have no text: the rest is enough for it.

    One window in five has such a segment, few are it: the times of the words tell.
    """
    spoken = [speech.spoken_s(*run) for run in speech.runs(segment.start, segment.end, pause_s=EDGE_S)]
    n_letters = _letters_said(segment.text)
    spare_s = sum(spoken) - BRISK_S_PER_LETTER * n_letters
    return n_letters > 0 and any(ALONE_S <= run <= spare_s for run in (*spoken[:1], *spoken[-1:]))


def leaves_words_out(segment: Segment, speech: SpeechTrack) -> bool:
    """Whether one of the segment's words, where it has any, takes seconds more of speech than to say it slowly.

    The decoder went on behind it, or stopped, and attention gives the word the time of what it left out.
    """
    return any(
        speech.spoken_s(word.start, word.end) - SLOW_S_PER_LETTER * _letters_said(word.word) >= LEFT_OUT_S
        for word in segment.words or ()
    )


def before_words_left_out(evidence: Evidence) -> tuple[Evidence, tuple[Segment, ...]]:
    """The evidence up to a segment that leaves words out, and the segments from it on, which the next window hears.

    All of it, and none, where that window would hardly move, and where there is none.
    """
    segments = evidence.segments if evidence.goes_on else ()
    for number, segment in enumerate(segments):
        if segment.start - evidence.start_s > LEAST_ADVANCE_S and leaves_words_out(segment, evidence.speech):
            return replace(evidence, segments=segments[:number], end_s=segment.start), segments[number:]
    return evidence, ()


def apart(segment: Segment, speech: SpeechTrack) -> list[Span]:
    """The speech under a segment from pause to pause, where there are several."""
    runs = list(speech.runs(segment.start, segment.end, pause_s=EDGE_S))
    edges = [segment.start, *((end + begin) / 2 for (_, end), (begin, _) in pairwise(runs)), segment.end]
    around = [
        (max(first - EDGE_S, low), min(last + EDGE_S, high))
        for (first, last), (low, high) in zip(runs, pairwise(edges), strict=True)
    ]
    spoken = [span for span in around if speech.spoken_s(*span) >= MARGIN_S]
    return spoken if len(spoken) > 1 else []


def cuts_speech(time_s: float, speech: SpeechTrack) -> bool:
    """Whether somebody speaks on both sides of a time."""
    return min(speech.spoken_s(time_s - EDGE_S, time_s), speech.spoken_s(time_s, time_s + EDGE_S)) > 0


def at_its_speech(segment: Segment, speech: SpeechTrack, joins_s: Sequence[float] = ()) -> Segment:
    """The segment without what it claims, by a second or more, of the silence before and behind its speech.

    At `joins_s` the stretch leaves out silence of the recording: a moment before one may be as long as that. The rest
    of what is said beside the segment, which its edge cuts, is not its speech where there is enough without that.
    """
    inside = [join_s for join_s in joins_s if segment.start < join_s < segment.end]
    parts = pairwise([segment.start, *inside, segment.end])
    runs = [run for part in parts for run in speech.runs(*part, pause_s=PAUSE_S)]
    if not runs:
        return segment
    needed_s = BRISK_S_PER_LETTER * _letters_said(segment.text)
    for edge, edge_s in ((0, segment.start), (-1, segment.end)):
        rest = [run for run in runs if run != runs[edge]]
        cut = cuts_speech(edge_s, speech) and speech.spoken_s(*runs[edge]) < ALONE_S
        if cut and sum(speech.spoken_s(*run) for run in rest) >= needed_s:
            runs = rest or runs
    first_s, last_s = runs[0][0], runs[-1][1]
    before = max((join_s for join_s in inside if join_s <= first_s), default=None)
    behind = min((join_s for join_s in inside if last_s <= join_s), default=None)
    if before is not None or first_s - MARGIN_S - segment.start >= PAUSE_S:
        segment = replace(segment, start=max(first_s - MARGIN_S, before or 0.0))
    if behind is not None or segment.end - last_s - MARGIN_S >= PAUSE_S:
        segment = replace(segment, end=min(last_s + MARGIN_S, inf if behind is None else behind))
    return segment


def is_echo(text: str, prompt: str, *, least_bytes: int = ECHO_BYTES) -> bool:
    """Whether a text stands in the prompt, nearly as it is. Text that was truly said twice comes without one too."""
    said, before = _letters(text), _letters(prompt)
    if len(said.encode()) < least_bytes or not before:
        return False
    blocks = SequenceMatcher(None, before, said, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= ECHO_RUN) >= ECHO_SHARE * len(said)


def uncovered(segments: Sequence[Segment], speech: SpeechTrack, start_s: float, end_s: float) -> Iterator[Span]:
    """Where, between two times, somebody speaks under no segment."""
    said = sorted((segment.start, segment.end) for segment in segments if segment.text.strip())
    at_s = start_s
    for begin, end in [*said, (end_s, end_s)]:
        until_s = min(begin, end_s)
        for first, last in _worth_hearing(speech, at_s, until_s):
            yield max(at_s, first - EDGE_S), min(until_s, last + EDGE_S)
        at_s = max(at_s, end)


def _worth_hearing(speech: SpeechTrack, start_s: float, end_s: float) -> Iterator[Span]:
    """Where, between two times, somebody speaks for some seconds, or for less between pauses."""
    for run in speech.runs(start_s, end_s, pause_s=PAUSE_S):
        if speech.spoken_s(*run) >= MISSED_S:
            yield run
            continue
        for first, last in speech.runs(*run, pause_s=EDGE_S):
            alone = first - start_s >= EDGE_S and end_s - last >= EDGE_S
            if alone and speech.spoken_s(first, last) >= ALONE_S:
                yield first, last


def before_cut_speech(segments: Sequence[Segment], evidence: Evidence) -> float:
    """Where the next window is to begin: before speech without text that the end of what is decided cuts in two."""
    speech, end_s = evidence.speech, evidence.end_s
    said_s = max((segment.end for segment in segments if segment.text.strip()), default=evidence.start_s - EDGE_S)
    if speech.peak(end_s, end_s + EDGE_S) < SPOKEN:
        return end_s
    for first, last in speech.runs(said_s, end_s, pause_s=EDGE_S):
        begin_s = first - EDGE_S
        cut = end_s - last < EDGE_S and speech.spoken_s(first, last) >= LEAST_SPOKEN_S
        if cut and begin_s >= said_s and begin_s - evidence.start_s > LEAST_ADVANCE_S:
            return begin_s
    return end_s


def _letters_said(text: str) -> int:
    """How long a text is to say: its letters and marks, in any alphabet; digits and signs count for more."""
    return sum(
        LETTERS_OF_A_DIGIT if letter.isdigit() else LETTERS_OF_A_SIGN if letter >= FIRST_SIGN else 1
        for letter in text.strip()
    )


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
