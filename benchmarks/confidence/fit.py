"""Logistic regression by Newton's method, and what its predictions are worth. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from viska.evaluation.calibration import Calibration, calibration
from viska.evaluation.score import Judged
from viska.transcription.confidence import Features, confidence

RIDGE = 1.0
STEPS = 50


def fit(features: Sequence[Features], right: Sequence[float], weights: Sequence[float] | None = None) -> Features:
    """The constant and the weights of a logistic regression.

    `right` are shares in 0..1, each of which counts as often as its weight says. A ridge on the weights of features
    that are scaled to unit deviation keeps them small where little is known.
    """
    table = np.asarray(features, dtype=float)  # (n, k)
    mean, deviation = table.mean(axis=0), table.std(axis=0)
    deviation[deviation < 1e-9] = 1
    x = np.column_stack([np.ones(len(table)), (table - mean) / deviation])
    y = np.asarray(right, dtype=float)
    count = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
    ridge = np.diag([0.0] + [RIDGE] * table.shape[1])
    beta = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-x @ beta))
        gradient = x.T @ (count * (y - p)) - ridge @ beta
        curvature = (x * (count * p * (1 - p))[:, None]).T @ x + ridge
        beta += np.linalg.solve(curvature, gradient)
    slopes = beta[1:] / deviation
    return (float(beta[0] - slopes @ mean), *map(float, slopes))


def predicted(features: Sequence[Features], weights: Features) -> NDArray[np.float64]:
    """The confidence of each row."""
    return np.array([confidence(row, weights) for row in features])


def worth(sure: Sequence[float], right: Sequence[bool]) -> Calibration:
    """How well they tell right from wrong."""
    found = calibration(
        [Judged(bool(ok), confidence=float(p)) for p, ok in zip(sure, right, strict=True)], "confidence"
    )
    assert found is not None
    return found
