"""Which window comes next, and what the decoder is told before it. Modes of transcription differ here alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from viska.audio import FRAMES_PER_SECOND, N_FRAMES

PROMPT_RESET_TEMPERATURE = 0.5  # text that needed a hotter sampling is no good example for what follows


@dataclass(frozen=True)
class Window:
    """A stretch of the recording to decode at once: `start` and `size` in mel frames of 10 ms, size at most 3000."""

    start: int
    size: int
    prompt: tuple[int, ...]

    @property
    def start_s(self) -> float:
        """Where the window begins, in seconds."""
        return self.start / FRAMES_PER_SECOND

    @property
    def end_s(self) -> float:
        """Where the window ends, in seconds."""
        return (self.start + self.size) / FRAMES_PER_SECOND

    @property
    def duration_s(self) -> float:
        """How long the window is, in seconds."""
        return self.size / FRAMES_PER_SECOND


class PromptHistory:
    """The tokens decided so far, and the part of them that stands before the next window.

    `room` is the most prompt tokens that a decoder takes. With `compat` a carried initial prompt that leaves no room
    cuts the history the way openai/whisper does.
    """

    def __init__(
        self,
        initial: Sequence[int] = (),
        *,
        room: int,
        condition: bool = True,
        carry_initial: bool = False,
        compat: bool = False,
    ) -> None:
        self.initial = list(initial)
        self.room = room
        self.condition = condition
        self.carry_initial = carry_initial
        self.compat = compat
        self.since_reset = list(initial)
        self.initial_in_reach = True

    def prompt(self) -> tuple[int, ...]:
        """The tokens that stand before the next window."""
        if not self.carry_initial:
            return tuple(self.since_reset[-self.room :])
        spoken = self.since_reset[len(self.initial) :] if self.initial_in_reach else self.since_reset
        left = self.room - len(self.initial)
        if self.compat:
            return (*self.initial, *spoken[-left:])
        return (*self.initial[-self.room :], *(spoken[-left:] if left > 0 else ()))

    def add(self, tokens: Sequence[int], temperature: float) -> None:
        """Take in what a window said, and forget all of it where it is not to be built upon."""
        self.since_reset.extend(tokens)
        if not self.condition or temperature > PROMPT_RESET_TEMPERATURE:
            self.forget()

    def forget(self) -> None:
        """Begin anew: nothing of what was said so far stands before the next window."""
        self.since_reset = []
        self.initial_in_reach = False


class SequentialPlanner:
    """One window after the other; each begins where the text of the last one ended.

    `clips` are pairs of start and end in frames, in the order in which they are to be transcribed.
    """

    def __init__(self, clips: Sequence[tuple[int, int]], history: PromptHistory) -> None:
        self.clips = list(clips)
        self.history = history
        self.seek = self.clips[0][0] if self.clips else 0

    def next(self) -> Window | None:
        """The next window, or None at the end."""
        while self.clips:
            start, end = self.clips[0]
            self.seek = max(self.seek, start)
            if self.seek < end:
                return Window(self.seek, min(N_FRAMES, end - self.seek), self.history.prompt())
            self.clips.pop(0)
            if self.clips:
                self.seek = self.clips[0][0]
        return None

    def skip(self, window: Window, frames: int | None = None) -> None:
        """Nothing was said in this window, or in so many frames of it."""
        self.seek = window.start + (frames or window.size)

    def advance(self, window: Window, consumed: int, tokens: Sequence[int], temperature: float) -> None:
        """Of this window `consumed` frames are decided, with these tokens."""
        self.seek = window.start + (consumed if consumed > 0 else window.size)  # never the same window twice
        self.history.add(tokens, temperature)


def clips_in_frames(clip_timestamps: Sequence[float], n_frames: int) -> list[tuple[int, int]]:
    """Start, end, start, end ... in seconds -> pairs of frames within a recording of `n_frames`."""
    points = [min(round(seconds * FRAMES_PER_SECOND), n_frames) for seconds in clip_timestamps] or [0]
    if len(points) % 2:
        points.append(n_frames)
    return list(zip(points[::2], points[1::2], strict=True))
