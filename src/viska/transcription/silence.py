"""Text that was probably made up over silence: found by the look of its words, and jumped over.

The rules of openai/whisper's `hallucination_silence_threshold`. They need words with times.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from viska.audio import FRAMES_PER_SECOND, N_FRAMES
from viska.result import Segment, Word
from viska.transcription.planner import Window
from viska.transcription.splitter import Split

PUNCTUATION = "\"'“¿([{-\"'.。,，!！?？:：”)]}、"  # noqa: RUF001  # full-width marks
WORDS_LOOKED_AT = 8
IMPROBABLE = 0.15
SHORT_S, LONG_S = 0.133, 2.0  # words are hardly ever shorter or longer
ODD_WORDS, ROUNDING = 3, 0.01  # so many odd words make a segment odd, or all of them
NEAR_EDGE_S = 2.0


@dataclass(frozen=True)
class Recording:
    """What a judgement needs of the whole: its frames, and where the last word before the window ended."""

    n_frames: int
    last_speech_s: float


def last_word_end(segments: Sequence[Segment]) -> float | None:
    """Where the last word ends, or the last segment if there are no words; None without segments."""
    ends = [word.end for segment in segments for word in segment.words or ()]
    if ends:
        return ends[-1]
    return segments[-1].end if segments else None


def anomaly(word: Word) -> float:
    """How odd a word looks: improbable, too short, too long."""
    duration = word.end - word.start
    score = 1.0 if word.probability < IMPROBABLE else 0.0
    score += max(0.0, SHORT_S - duration) * 15
    return score + max(0.0, duration - LONG_S)


def is_anomalous(segment: Segment | None) -> bool:
    """Whether the first words of a segment look odd, three of them or all."""
    if segment is None or not segment.words:
        return False
    oddness = [anomaly(word) for word in segment.words if word.word not in PUNCTUATION][:WORDS_LOOKED_AT]
    return sum(oddness) >= min(ODD_WORDS, len(oddness) - ROUNDING)


def _first_with_words(segments: Iterable[Segment]) -> Segment | None:
    return next((segment for segment in segments if segment.words), None)


def skip_silence(found: Split, window: Window, recording: Recording, threshold_s: float) -> tuple[Split, bool]:
    """What remains of a window's segments, and whether they are decided.

    Where the window begins with silence and then odd text, nothing is decided: the window is to be heard again from
    behind the silence on. Odd text between silences is cut off with all that follows it.
    """
    window_end_s = (window.start + N_FRAMES) / FRAMES_PER_SECOND
    end_s = last_word_end(found.segments)
    if not found.ends_closed and end_s is not None and end_s > window.start_s:
        rest_is_silent = window_end_s - end_s > threshold_s
        consumed = round(end_s * FRAMES_PER_SECOND) - window.start if rest_is_silent else window.size
        found = replace(found, consumed=consumed)

    first = _first_with_words(found.segments)
    if first is not None and is_anomalous(first) and first.start - window.start_s > threshold_s:
        silence = round((first.start - window.start_s) * FRAMES_PER_SECOND)
        return replace(found, segments=(), consumed=silence), False
    return _cut_between_silences(found, window, recording, threshold_s), True


def _cut_between_silences(found: Split, window: Window, recording: Recording, threshold_s: float) -> Split:
    before_s = recording.last_speech_s
    for i, segment in enumerate(found.segments):
        if not segment.words:
            continue
        if is_anomalous(segment):
            following = _first_with_words(found.segments[i + 1 :])
            if _alone(segment, following, before_s, window, threshold_s):
                seek = round(max(window.start_s + 1, segment.start) * FRAMES_PER_SECOND)
                if recording.n_frames / FRAMES_PER_SECOND - segment.end < threshold_s:
                    seek = recording.n_frames
                return replace(found, segments=found.segments[:i], consumed=seek - window.start)
        before_s = segment.end
    return found


def _alone(segment: Segment, following: Segment | None, before_s: float, window: Window, threshold_s: float) -> bool:
    """Whether there is silence, an edge of the window or more odd text on both sides of a segment."""
    window_end_s = (window.start + N_FRAMES) / FRAMES_PER_SECOND
    next_s = following.words[0].start if following and following.words else window.start_s + window.duration_s
    return (
        segment.start - before_s > threshold_s
        or segment.start < threshold_s
        or segment.start - window.start_s < NEAR_EDGE_S
    ) and (next_s - segment.end > threshold_s or is_anomalous(following) or window_end_s - segment.end < NEAR_EDGE_S)
