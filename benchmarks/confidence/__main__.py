"""Fit the confidence of words and segments on a part of a corpus, and measure it on the rest."""

import argparse
import sys
from collections.abc import Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from benchmarks.confidence.collect import Observed, Recording, collect
from benchmarks.confidence.fit import fit, predicted, worth

from viska.evaluation.calibration import Calibration
from viska.evaluation.manifest import read_manifest
from viska.transcription.confidence import SEGMENT, WORD, Features
from viska.weights import load_model

FOLDS = 5
RESAMPLED = 1000


def main() -> int:
    """Print coefficients, and figures of the half that they were not fitted on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.confidence", description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--cache", type=Path, required=True, help="JSON lines: what was computed before")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--longest", type=float, default=160, help="recordings that are longer are left out (s)")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    clips = [clip for clip in read_manifest(flags.manifest) if (clip.duration or 0) <= flags.longest]
    known = [clip for clip in clips if clip.silent or (clip.reference or "").strip()]
    recordings = list(
        collect(load_model(flags.model, device="cpu"), sorted(known, key=lambda c: _draw(c.path)), flags.cache)
    )
    report(recordings)
    return 0


def report(recordings: Sequence[Recording]) -> None:
    """Fit on one half and print what that gives on the other, both ways; then in cross-validation."""
    halves = _parts(recordings, 2)
    _halves(halves[0], halves[1])
    _halves(halves[1], halves[0])
    _crossed(recordings)


def _halves(fitted: Sequence[Recording], held_out: Sequence[Recording]) -> None:
    known, unknown = _words(fitted), _words(held_out)
    word_weights = fit([w.word_features for w in known], [w.correct for w in known])
    segment_weights = fit(*map(list, zip(*segments_of(fitted), strict=True)))
    _show(f"words: fitted on {len(known)}, measured on {len(unknown)} of {len(held_out)} recordings")
    _show(f"WORD = {_rounded(word_weights)}\nSEGMENT = {_rounded(segment_weights)}")
    right = [w.correct for w in unknown]
    _row("raw word probability", worth([w.probability for w in unknown], right))
    table = [w.word_features for w in unknown]
    _row("word confidence, just fitted", worth(predicted(table, word_weights).tolist(), right))
    _row("word confidence, as shipped", worth(predicted(table, WORD).tolist(), right))
    table = [w.segment_features for w in unknown]
    _row("segment confidence, just fitted", worth(predicted(table, segment_weights).tolist(), right))
    _row("segment confidence, as shipped", worth(predicted(table, SEGMENT).tolist(), right))


def _crossed(recordings: Sequence[Recording]) -> None:
    """Each fifth of the recordings by weights from the others; the interval is over recordings (bootstrap)."""
    folds = _parts(recordings, FOLDS)
    rated: list[list[tuple[float, float, bool]]] = []  # of each recording: confidence, probability, and truth of a word
    for held_out in folds:
        known = _words([recording for fold in folds if fold is not held_out for recording in fold])
        weights = fit([w.word_features for w in known], [w.correct for w in known])
        for recording in held_out:
            sure = predicted([w.word_features for w in recording.words], weights).tolist()
            rated.append([(c, w.probability, w.correct) for c, w in zip(sure, recording.words, strict=True)])
    words = [word for recording in rated for word in recording]
    right = [w[2] for w in words]
    _show(f"{FOLDS}-fold cross-validation over {len(recordings)} recordings")
    _row("raw word probability", worth([w[1] for w in words], right))
    _row("word confidence", worth([w[0] for w in words], right))
    draw = np.random.default_rng(0)
    gains = [_gain([rated[n] for n in draw.integers(len(rated), size=len(rated))]) for _ in range(RESAMPLED)]
    low, high = np.percentile(gains, (2.5, 97.5))
    _show(f"area gained {_gain(rated):+.3f}, 95 % interval {low:+.3f} to {high:+.3f}")


def _gain(rated: Sequence[Sequence[tuple[float, float, bool]]]) -> float:
    sure, raw, right = zip(*(word for recording in rated for word in recording), strict=True)
    return (worth(sure, right).area or 0.0) - (worth(raw, right).area or 0.0)


def _parts(recordings: Sequence[Recording], n: int) -> list[list[Recording]]:
    return [[recording for recording in recordings if int(_draw(recording.path), 16) % n == part] for part in range(n)]


def _words(recordings: Sequence[Recording]) -> list[Observed]:
    return [word for recording in recordings for word in recording.words]


def segments_of(recordings: Sequence[Recording]) -> list[tuple[Features, float, float]]:
    """Features, share of right words, and number of words of each segment."""
    found = []
    for recording in recordings:
        for _, group in groupby(recording.words, key=lambda word: word.segment):
            words: list[Observed] = list(group)
            share = sum(word.correct for word in words) / len(words)
            found.append((words[0].segment_features, share, float(len(words))))
    return found


def _draw(path: str) -> str:
    return sha256(path.encode()).hexdigest()


def _rounded(weights: Features) -> tuple[float, ...]:
    return tuple(float(f"{weight:.3g}") for weight in weights)


def _row(name: str, figures: Calibration) -> None:
    area = "-" if figures.area is None else f"{figures.area:.3f}"
    errors = f"calibration error {figures.expected_error:.3f}  area {area}  Brier {figures.brier:.4f}"
    _show(f"{name:34} {errors}  n {figures.n}")


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
