"""Whether words that the engine is 80 % sure of are right four times in five.

Expected calibration error: Naeini et al. (2015); Brier score: Brier (1950); area under the ROC curve by ranks, as in
Hanley and McNeil (1982).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from viska.evaluation.score import Judged

N_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Words with a confidence in one tenth: how many, their mean confidence, and the share of them that is right."""

    n: int
    confidence: float
    correct: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of `n` words: calibration error, Brier score, and area under the ROC curve (None: all right, or all wrong)."""

    n: int
    expected_error: float
    brier: float
    area: float | None
    bins: tuple[Bin, ...]


def calibration(words: Sequence[Judged], source: str) -> Calibration | None:
    """How well "probability" or "confidence" tells right words from wrong ones; None where no word has it."""
    pairs = [(getattr(word, source), word.correct) for word in words if getattr(word, source) is not None]
    if not pairs:
        return None
    sure = np.clip(np.array([pair[0] for pair in pairs], dtype=float), 0, 1)
    correct = np.array([pair[1] for pair in pairs], dtype=float)
    bins = _bins(sure, correct)
    return Calibration(
        n=len(pairs),
        expected_error=sum(one.n * abs(one.confidence - one.correct) for one in bins) / len(pairs),
        brier=float(np.mean((sure - correct) ** 2)),
        area=_area(sure, correct),
        bins=tuple(bins),
    )


def _bins(sure: NDArray[np.float64], correct: NDArray[np.float64]) -> list[Bin]:
    places = np.minimum((sure * N_BINS).astype(int), N_BINS - 1)
    chosen = [places == place for place in range(N_BINS)]
    return [Bin(int(one.sum()), float(sure[one].mean()), float(correct[one].mean())) for one in chosen if one.any()]


def _area(sure: NDArray[np.float64], correct: NDArray[np.float64]) -> float | None:
    """The chance that a right word has more confidence than a wrong one; half of it for equals."""
    n_right = int(correct.sum())
    n_wrong = len(correct) - n_right
    if not n_right or not n_wrong:
        return None
    _, group, sizes = np.unique(sure, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # equals share their mean rank
    return float((ranks[correct == 1].sum() - n_right * (n_right + 1) / 2) / (n_right * n_wrong))
