"""The language of a recording, and of each window where it changes within the recording."""

from collections.abc import Iterable, Mapping

from viska.audio import N_FRAMES
from viska.transcription.planner import Window


def detection_windows(n_frames: int, n_windows: int) -> list[Window]:
    """The windows that tell the language of a recording: so many from its start on, as far as it goes, one at least."""
    starts = range(0, max(n_frames, 1), N_FRAMES)[:n_windows]
    return [Window(start, N_FRAMES, ()) for start in starts]


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
