"""How speech is told from silence: the options of `vad_filter`, named as users of faster-whisper know them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from viska.errors import OptionError

_MS_PER_FRAME = 32
_ACCEPTED = {
    "threshold": (0, 1),
    "neg_threshold": (0, 1),
    "min_speech_duration_ms": (0, 3_600_000),
    "max_speech_duration_s": (0, inf),
    "min_silence_duration_ms": (0, 3_600_000),
    "speech_pad_ms": (0, 60_000),
}


@dataclass(frozen=True)
class VadOptions:
    """How speech is told from silence. Raises OptionError for values out of range."""

    threshold: float = 0.5
    """Speech begins where its probability reaches this."""
    neg_threshold: float | None = None
    """Speech ends where its probability falls below this; None for `threshold` less 0.15, but 0.01 at least."""
    min_speech_duration_ms: float = 0
    """Speech shorter than this is dropped."""
    max_speech_duration_s: float = inf
    """Longer speech, padding included, is split where it pauses longest, or else where it is least probable."""
    min_silence_duration_ms: float = 2000
    """Shorter silence does not part speech."""
    speech_pad_ms: float = 400
    """How much is kept on each side of speech; neighbours share the silence between them where it is short."""

    def __post_init__(self) -> None:
        for name, (least, most) in _ACCEPTED.items():
            value = getattr(self, name)
            if value is None and name == "neg_threshold":
                continue
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (is_number and least <= value <= most):
                raise OptionError(f"{name} is {value!r}; accepted are numbers from {least} to {most:,}")
        if self.neg_threshold is not None and self.neg_threshold > self.threshold:
            raise OptionError(
                f"neg_threshold is {self.neg_threshold}, above threshold, {self.threshold}; it must not be above it"
            )
        shortest_s = (2 * self.speech_pad_ms + 2 * _MS_PER_FRAME) / 1000
        if self.max_speech_duration_s < shortest_s:
            raise OptionError(
                f"max_speech_duration_s is {self.max_speech_duration_s}; with speech_pad_ms on both sides it must be "
                f"{shortest_s} or more: raise it, or lower speech_pad_ms"
            )

    @property
    def silence_threshold(self) -> float:
        """The probability below which speech ends."""
        if self.neg_threshold is not None:
            return self.neg_threshold
        return min(max(self.threshold - 0.15, 0.01), self.threshold)


def vad_options(given: VadOptions | Mapping[str, Any] | None = None) -> VadOptions:
    """Options from whatever `vad_parameters` may be. Raises OptionError for unknown names."""
    if isinstance(given, VadOptions):
        return given
    accepted = [option.name for option in fields(VadOptions)]
    if not isinstance(given, Mapping | None):
        raise OptionError(f"vad_parameters is {given!r}; accepted are VadOptions, or a dict of {', '.join(accepted)}")
    if unknown := sorted(map(str, set(given or ()) - set(accepted))):
        raise OptionError(f"unknown voice activity option {', '.join(unknown)}; accepted are {', '.join(accepted)}")
    return VadOptions(**(given or {}))
