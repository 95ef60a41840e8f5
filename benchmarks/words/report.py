"""What came of it: rows of figures, and one line of JSON last."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.words.joined import Truth
from benchmarks.words.measure import Word, boundary_errors, starts_in_silence

LEAST_SHARE = 0.995


@dataclass(frozen=True)
class Figures:
    """Of one engine: seconds of median error at the phrase boundaries all engines heard, and words in silence."""

    boundaries: int
    start_s: float
    end_s: float
    error_s: float
    words: int
    in_silence: int

    @property
    def silent_share(self) -> float:
        """Of all words, those that begin in silence."""
        return self.in_silence / self.words if self.words else 0.0

    def row(self, name: str) -> str:
        """For people: milliseconds and per cent."""
        times = f"{1e3 * self.error_s:7.0f}{1e3 * self.start_s:7.0f}{1e3 * self.end_s:7.0f}"
        return f"{name:16}{self.boundaries:11}{times}{self.words:7}{self.in_silence:9}{100 * self.silent_share:7.2f} %"


HEADER = f"{'':16}{'boundaries':>11}{'ms':>7}{'start':>7}{'end':>7}{'words':>7}{'in silence':>11}"


def figures(truths: Sequence[Truth], words: Mapping[str, Sequence[Sequence[Word]]]) -> dict[str, Figures]:
    """Every engine's figures, over the boundaries of those words that all of them heard."""
    errors = {
        name: [boundary_errors(truth.phrases, heard) for truth, heard in zip(truths, lists, strict=True)]
        for name, lists in words.items()
    }
    common = [set.intersection(*(set(one) for one in each)) for each in zip(*errors.values(), strict=True)]
    told = {}
    for name, lists in words.items():
        kept = [(side, abs(found[number, side])) for found, keys in zip(errors[name], common, strict=True)
                for number, side in keys]  # fmt: skip
        sides = [[error for at, error in kept if at == side] for side in ("start", "end")]
        silent = sum(starts_in_silence(truth.pauses, heard) for truth, heard in zip(truths, lists, strict=True))
        medians = [median(errors_s or [0.0]) for errors_s in (*sides, sides[0] + sides[1])]
        told[name] = Figures(len(kept), *medians, sum(map(len, lists)), silent)
    return told


def not_above(ours: Figures, rivals: Sequence[Figures]) -> bool:
    """Whether both figures are at most those of every rival."""
    return all(ours.error_s <= one.error_s and ours.silent_share <= one.silent_share for one in rivals)


def as_json(told: Mapping[str, Figures]) -> dict[str, Any]:
    """For machines."""
    return {name: asdict(one) for name, one in told.items()}
