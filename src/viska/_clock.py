"""Where the clock of a file leaves time without sound.

The sound of a film may begin after its pictures, and programs that record calls write nothing while nobody speaks, or
where a packet was lost. Players wait there. Sound whose frames are put one behind the other runs ahead of what they
show, and so do its subtitles.
"""

from math import inf

TOLERANCE_S = 0.2
"""Less is not waited for: encoders' padding, and what is out of step without anyone noticing."""

_JUMP_S = 0.01  # from one frame to the next; a sound card's clock that runs unlike the file's leaves no gaps
_MOST_S = 4 * 3600.0  # of a file in all: some bytes can claim any time


class Clock:
    """How long to wait before each frame, so that it comes at its time.

    `start_s` is when the file begins, `end_s` when it says that it ends; `longest_s` is the longest gap within its
    sound that is one, where formats allow for clocks that are set anew. Told are the seconds that it had, with silence,
    and those of the gaps within its sound.
    """

    def __init__(self, start_s: float = 0.0, end_s: float = inf, longest_s: float = inf) -> None:
        self.start_s = start_s
        self.end_s = end_s
        self.longest_s = longest_s
        self.had_s = self.gaps_s = 0.0
        self._last_s = start_s  # when the frame before ended, by the file's clock
        self._left_s = _MOST_S

    def wait(self, time_s: float | None, duration_s: float, next_s: float | None) -> float:
        """Seconds of silence between the frame before and this one, which lasts `duration_s`; 0.0 mostly.

        `time_s` and `next_s` are when it and the one behind it begin; None where the file does not say so, or ends.
        A gap that nothing but one frame confirms is none: its time may be damaged.
        """
        silence_s = 0.0
        if time_s is not None:
            missing_s = time_s - self.start_s - self.had_s
            if missing_s > TOLERANCE_S and self._is_gap(time_s, missing_s, duration_s, next_s):
                silence_s = missing_s
            self._last_s = time_s + duration_s
        self._left_s -= silence_s
        self.gaps_s += silence_s if self.had_s else 0.0
        self.had_s += silence_s + duration_s
        return silence_s

    def _is_gap(self, time_s: float, missing_s: float, duration_s: float, next_s: float | None) -> bool:
        longest_s = min(self.longest_s if self.had_s else inf, self._left_s)
        goes_on = next_s is not None and next_s >= time_s + duration_s - TOLERANCE_S
        return time_s - self._last_s > _JUMP_S and missing_s <= longest_s and time_s < self.end_s and goes_on
