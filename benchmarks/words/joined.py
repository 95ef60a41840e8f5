"""Recordings whose truth is known by construction: words and phrases, each recorded by itself, joined with pauses.

Each piece is cut where its speech begins and ends, brought to one loudness, and laid at a known time on a bed of faint
noise. Everything that varies (order, pauses, noise) is drawn from a seed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks.parity.clips import Clip
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 16_000
HOP = 160  # 10 ms: how finely a piece is cut
LONGEST_PIECE_S = 6.0
LEAST_CONTRAST_DB = 24.0  # between a piece's speech and its quietest parts; less is too noisy to tell where it begins
LONGEST_GAP_S = 0.35  # a longer one within a piece is a pause itself, or a click before it
LOUDNESS_DB = -23.0
NOISE_DB = (-75.0, -60.0, -50.0, -40.0)  # the last is 17 dB below the speech
PAUSES_S = (0.2, 3.0)
PIECES = 8
VARIANTS = 2
FEWEST_PIECES = 3


@dataclass(frozen=True)
class Phrase:
    """What was said from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Truth:
    """A recording (its samples at `audio`), the phrases that people said in it, and its pauses (start, end)."""

    label: str
    language: str
    audio: Path
    phrases: tuple[Phrase, ...]
    pauses: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Piece:
    """A recording cut to its speech."""

    text: str
    samples: Samples


def level_db(samples: Samples) -> NDArray[np.float64]:
    """The level of every 10 ms, relative to full scale."""
    frames = samples[: len(samples) // HOP * HOP].reshape(-1, HOP).astype(np.float64)
    return np.asarray(10 * np.log10((frames**2).mean(axis=1) + 1e-10))


def speech_bounds(samples: Samples) -> tuple[int, int] | None:
    """First and last sample of the speech; None where it does not stand out enough, or is not one piece."""
    level = level_db(samples)
    floor, peak = np.percentile(level, [10, 95])
    if peak - floor < LEAST_CONTRAST_DB:
        return None
    loud = level > max(floor + 8, peak - 40)
    lasting = np.flatnonzero(loud[:-2] & loud[1:-1] & loud[2:])  # 30 ms at least: no clicks
    if not len(lasting) or np.diff(lasting).max(initial=0) * HOP / RATE > LONGEST_GAP_S:
        return None
    return int(lasting[0]) * HOP, (int(lasting[-1]) + 3) * HOP


def is_candidate(clip: Clip) -> bool:
    """Short, with a reference, and of a language that writes spaces."""
    spaced = clip.language is not None and clip.language not in ("mul", "ja", "zh")
    return spaced and clip.kind == "short" and clip.text is not None and clip.duration <= LONGEST_PIECE_S


def cut(text: str, samples: Samples) -> Piece | None:
    """The piece of a recording, at one loudness; None where it cannot be cut."""
    bounds = speech_bounds(samples)
    if bounds is None:
        return None
    speech = samples[slice(*bounds)]
    gain = 10 ** (LOUDNESS_DB / 20) / np.sqrt((speech.astype(np.float64) ** 2).mean())
    gain = min(gain, 0.99 / np.abs(speech).max())
    return Piece(text, (speech * gain).astype(np.float32))


def join(pieces: Sequence[Piece], rng: np.random.Generator) -> tuple[Samples, tuple[Phrase, ...]]:
    """The pieces in their order with a pause before and behind each, and when each is said."""
    shortest, longest = np.log(PAUSES_S)
    pauses = (np.exp(rng.uniform(shortest, longest, len(pieces) + 1)) * RATE).astype(int)
    total = int(pauses.sum()) + sum(len(piece.samples) for piece in pieces)
    noise = rng.standard_normal(total) * 10 ** (rng.choice(NOISE_DB) / 20)
    samples, phrases, at = noise.astype(np.float32), [], 0
    for pause, piece in zip(pauses, pieces, strict=False):
        at += int(pause)
        samples[at : at + len(piece.samples)] += piece.samples
        phrases.append(Phrase(at / RATE, (at + len(piece.samples)) / RATE, piece.text))
        at += len(piece.samples)
    return samples, tuple(phrases)


def pauses_between(phrases: Sequence[Phrase], duration_s: float) -> tuple[tuple[float, float], ...]:
    """Where nobody speaks: before the first phrase, between them, behind the last."""
    ends = [0.0, *(phrase.end for phrase in phrases)]
    starts = [*(phrase.start for phrase in phrases), duration_s]
    return tuple((end, start) for end, start in zip(ends, starts, strict=True) if start > end)


def joined_truths(
    clips: Iterable[Clip], load: Callable[[Clip], Samples], save: Callable[[Samples], Path], seed: int
) -> Iterator[Truth]:
    """Every piece of the clips in `VARIANTS` joined recordings, each of one language and about `PIECES` pieces."""
    by_language: dict[str, list[Piece]] = defaultdict(list)
    for clip in sorted(filter(is_candidate, clips), key=lambda clip: clip.path):
        piece = cut(clip.text or "", load(clip))
        if piece is not None:
            by_language[clip.language or ""].append(piece)
    rng = np.random.default_rng(seed)
    for language, pieces in by_language.items():
        for variant in range(VARIANTS if len(pieces) >= FEWEST_PIECES else 0):
            order = [pieces[i] for i in rng.permutation(len(pieces))]
            groups = np.array_split(np.arange(len(order)), max(1, round(len(order) / PIECES)))
            for number, group in enumerate(groups):
                samples, phrases = join([order[i] for i in group], rng)
                truth = Truth(f"joined-{language}-{variant}-{number}", language, save(samples), phrases, ())
                yield replace(truth, pauses=pauses_between(phrases, len(samples) / RATE))
