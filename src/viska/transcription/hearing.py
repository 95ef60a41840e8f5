"""What the encoder makes of the windows of a stretch, and how much of a window it is given."""

from dataclasses import replace

from torch import Tensor

from viska.audio import N_FRAMES, pad_or_trim
from viska.engine import Heard
from viska.transcription.backend import Backend
from viska.transcription.options import TranscribeOptions
from viska.transcription.planner import Window
from viska.transcription.stretch import Stretch

SILENCE_BEHIND = 400  # frames; with less silence behind it, a shortened window makes the decoder loop
LEAST_CONTEXT = 800  # frames


class Hearing:
    """The encoder at a stretch. What it made last is kept, for the next who asks: attempts, words, the language."""

    def __init__(self, backend: Backend, stretch: Stretch, options: TranscribeOptions) -> None:
        self.backend, self.stretch, self.options = backend, stretch, options
        self._last: tuple[int, int, int, Heard] | None = None

    def hear(self, window: Window, n_frames: int = N_FRAMES) -> Heard:
        """What the encoder makes of a window, filled up to so many frames."""
        key = (window.start, window.size, n_frames)
        if self._last is None or self._last[:3] != key:
            mel: Tensor = self.stretch.frames(window.start, window.start + window.size)  # (n_mels, size)
            self._last = (*key, self.backend.encode(pad_or_trim(mel, n_frames)))
        return self._last[3]

    def heard_for_text(self, window: Window) -> Heard:
        """What the encoder made of a window for its text, with however much behind it."""
        if self._last is not None and self._last[:2] == (window.start, window.size):
            return self._last[3]
        return self.hear(window)

    def languages(self, window: Window) -> dict[str, float]:
        """Language code -> probability, by what a window says."""
        rest = self.stretch.n_frames - window.start
        if self._may_be_short and 0 < rest < window.size:
            window = replace(window, size=rest)  # as it is heard for its text: it need not be encoded twice
        heard = self.hear(window, self.context(window))
        return self.backend.detect_language(heard, self.options.decoding.languages)

    def context(self, window: Window) -> int:
        """How many frames of a window to encode, silence behind its end included."""
        if not self._may_be_short:
            return N_FRAMES
        enough = max(window.size + SILENCE_BEHIND, LEAST_CONTEXT)
        return min(-(-enough // 16) * 16, N_FRAMES)

    def forget(self) -> None:
        """Give back the memory, which is much."""
        self._last = None

    @property
    def _may_be_short(self) -> bool:
        """Whether windows shorter than half a minute are encoded as they are."""
        asked = self.options.short_context
        return self.backend.any_length and (self.backend.rounds if asked is None else asked)
