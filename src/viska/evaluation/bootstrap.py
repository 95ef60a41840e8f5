"""How far a figure would move with other recordings of the same sort: percentile intervals by resampling recordings.

Efron (1979), "Bootstrap methods: another look at the jackknife"; Bisani and Ney (2004), "Bootstrap estimates for
confidence intervals in ASR performance evaluation".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95

Figure = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; `low` and `high` are None where there is but one recording."""

    value: float
    low: float | None = None
    high: float | None = None


def micro(errors: Sequence[int], totals: Sequence[int], seed: int = 0) -> Estimate:
    """All errors over all units."""
    each = np.array([errors, totals], dtype=float)  # (2, N)
    return _estimate(each, lambda sums: sums[0] / sums[1], seed)


def macro(errors: Sequence[int], totals: Sequence[int], seed: int = 0) -> Estimate:
    """The mean over recordings of errors over units."""
    each = np.array([np.divide(errors, totals), np.ones(len(errors))])
    return _estimate(each, lambda sums: sums[0] / sums[1], seed)


def micro_difference(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]], seed: int = 0) -> Estimate:
    """How much more errors the second of two runs makes on the same recordings, as (errors, units) of each."""
    each = np.concatenate([np.array(first, dtype=float).T, np.array(second, dtype=float).T])  # (4, N)
    return _estimate(each, lambda sums: sums[2] / sums[3] - sums[0] / sums[1], seed)


def mean_difference(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Estimate:
    """The mean over recordings of second minus first."""
    each = np.array([np.subtract(second, first), np.ones(len(first))])
    return _estimate(each, lambda sums: sums[0] / sums[1], seed)


def _estimate(each: NDArray[np.float64], figure: Figure, seed: int) -> Estimate:
    """A figure of sums over N recordings (K, N), and its interval over resamples of them."""
    value = float(figure(each.sum(axis=1)))
    n = each.shape[1]
    if n < 2:
        return Estimate(value)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)  # (R, N)
    values = figure(each @ times.T)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))
