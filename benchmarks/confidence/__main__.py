"""Fit the confidence of words and segments on half of a corpus, and measure it on the other half."""

import argparse
import sys
from collections.abc import Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import torch
from benchmarks.confidence.collect import Observed, Recording, collect
from benchmarks.confidence.fit import fit, predicted, worth

from viska.evaluation.calibration import Calibration
from viska.evaluation.manifest import read_manifest
from viska.transcription.confidence import SEGMENT, WORD, Features
from viska.weights import load_model


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
    """Fit on one half and print what that gives on the other."""
    halves = [[r for r in recordings if int(_draw(r.path), 16) % 2 == side] for side in (0, 1)]
    fitted, held_out = ([word for recording in half for word in recording.words] for half in halves)
    word_weights = fit([w.word_features for w in fitted], [w.correct for w in fitted])
    segments = [segments_of(half) for half in halves]
    segment_weights = fit(*map(list, zip(*segments[0], strict=True)))
    _show(f"words: fitted on {len(fitted)}, measured on {len(held_out)} of {len(halves[1])} recordings")
    _show(f"WORD = {_rounded(word_weights)}\nSEGMENT = {_rounded(segment_weights)}")
    right = [w.correct for w in held_out]
    _row("raw word probability", worth([w.probability for w in held_out], right))
    table = [w.word_features for w in held_out]
    _row("word confidence, just fitted", worth(predicted(table, word_weights).tolist(), right))
    _row("word confidence, as shipped", worth(predicted(table, WORD).tolist(), right))
    table = [w.segment_features for w in held_out]
    _row("segment confidence, just fitted", worth(predicted(table, segment_weights).tolist(), right))
    _row("segment confidence, as shipped", worth(predicted(table, SEGMENT).tolist(), right))


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
