"""The language of a recording, and of each window where it changes within the recording."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from viska.audio import FRAMES_PER_SECOND, N_FRAMES
from viska.transcription.guard import silent_s
from viska.transcription.planner import Window
from viska.transcription.speech import SpeechTrack
from viska.transcription.stretch import Stretch

Place: TypeAlias = tuple[Stretch, Window, float]
"""A window of a stretch, and the seconds of speech in it."""

LEAST_SPEECH_S = 1.0
"""With less, a window says next to nothing of its language."""
ENOUGH_SPEECH_S = 5.0
"""Of single telephone prompts `base` told the language right where they were as long as this in 98 of 100, of those of
one to two seconds in 70."""
MOST_WINDOWS = 5


def detection_windows(n_frames: int, n_windows: int | None = None) -> list[Window]:
    """The windows that tell the language of a recording: so many from its start on, as far as it goes, one at least."""
    starts = range(0, max(n_frames, 1), N_FRAMES)[:n_windows]
    return [Window(start, N_FRAMES, ()) for start in starts]


def where_spoken(stretches: Sequence[Stretch]) -> list[Place]:
    """The first windows in which somebody speaks; where nobody does for long, the one with the most speech."""
    places = [
        (stretch, window, stretch.speech.spoken_s(window.start_s, window.end_s))
        for stretch in stretches
        if stretch.speech is not None
        for window in _audible_windows(stretch.speech, stretch.n_frames)
    ]
    spoken = [place for place in places if place[2] >= LEAST_SPEECH_S]
    silent = stretches[0], Window(0, N_FRAMES, ()), 0.0
    return spoken[:MOST_WINDOWS] or [max(places, key=lambda place: place[2], default=silent)]


def _audible_windows(speech: SpeechTrack, n_frames: int) -> Iterator[Window]:
    """Windows that begin behind silence, as those of a text do: the first one need not be encoded twice."""
    window = Window(0, N_FRAMES, ())
    while window.start < n_frames:
        quiet_s = silent_s(speech, window)
        if not quiet_s:
            yield window
        window = replace(window, start=window.start + (round(quiet_s * FRAMES_PER_SECOND) or N_FRAMES))


def vote_by_speech(heard: Iterable[tuple[Mapping[str, float], float]], threshold: float | None) -> dict[str, float]:
    """The probability of each language, by those that windows give, each weighed by its seconds of speech.

    No further window is asked for once there is enough speech and, by all that is heard, a language reaches the
    threshold. With None for threshold all of them vote.
    """
    asked: list[tuple[Mapping[str, float], float]] = []
    mean: dict[str, float] = {}
    for probs, spoken_s in heard:
        asked.append((probs, spoken_s))
        total_s = sum(weight for _, weight in asked)
        if not total_s:
            return dict(probs)
        mean = {code: sum(one[code] * (weight / total_s) for one, weight in asked) for code in probs}
        if threshold is not None and total_s >= ENOUGH_SPEECH_S and max(mean.values()) >= threshold:
            break
    return mean


def vote(heard: Iterable[Mapping[str, float]], threshold: float | None) -> dict[str, float]:
    """The probability of each language, by those that single windows give.

    The first window in which a language reaches the threshold decides, and no further one is asked for; where there is
    none, the mean over all. With None for threshold always the mean.
    """
    asked: list[Mapping[str, float]] = []
    for probs in heard:
        if threshold is not None and max(probs.values()) >= threshold:
            return dict(probs)
        asked.append(probs)
    return {code: sum(probs[code] for probs in asked) / len(asked) for code in asked[0]}


def likeliest(probs: Mapping[str, float]) -> str:
    """The code of the likeliest language; the first of equals."""
    return max(probs, key=lambda code: probs[code])


def follow(before: str, probs: Mapping[str, float], threshold: float | None) -> str:
    """The language of a window: `before`, that of the one before it, unless another reaches the threshold."""
    language = likeliest(probs)
    return language if threshold is None or probs[language] >= threshold else before
