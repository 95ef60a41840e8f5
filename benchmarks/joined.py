"""How much speech is lost where voices and sentences change all the time: `python -m benchmarks.joined MANIFEST`.

Short recordings of a corpus, joined in an order drawn with a fixed seed to some minutes each, with pauses between them:
as they are, far apart, in noise, over a telephone, each at another level, and hastened. Whisper passes over short
sentences there. Printed are the errors of all, and the runs of words that have no text.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from viska.evaluation.hypothesis import from_transcript
from viska.evaluation.manifest import Clip, read_manifest
from viska.evaluation.run import read_samples
from viska.evaluation.score import Score, score
from viska.model import Whisper
from viska.weights import load_model

RATE = 16_000
STYLES = ("plain", "gaps", "noise", "telephone", "levels", "fast")
LONGEST_S = 240
HASTE = 1.25
LEVEL = 0.5
MODES: dict[str, dict[str, object]] = {
    "in order": {},
    "in order, words": {"word_timestamps": True},
    "batches": {"batch_size": 8},
    "batches, words": {"batch_size": 8, "word_timestamps": True},
}


def main() -> int:
    """Transcribe all of it in each mode."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.joined", description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--language", default="en")
    parser.add_argument("--count", type=int, default=12, help="recordings to make")
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    pool = usable(flags.manifest, flags.language)
    made = [join(pool, number) for number in range(flags.count)]
    model = load_model(flags.model, device="cpu")
    for mode, options in MODES.items():
        _report(mode, [hear(model, clip, samples, options) for clip, samples in made])
    return 0


def usable(manifest: Path, language: str) -> list[Clip]:
    """The short recordings of a language of which all that is said is known."""
    known = [clip for clip in read_manifest(manifest) if clip.language == language and clip.text and not clip.silent]
    return [clip for clip in known if clip.duration is not None and 1 < clip.duration < 29]


def join(pool: Sequence[Clip], number: int) -> tuple[Clip, NDArray[np.float32]]:
    """A recording of some minutes, its samples at 16 kHz, in the style of its number."""
    style = STYLES[number % len(STYLES)]
    draw = np.random.default_rng(number)
    pieces, texts, length = [], [], 0
    for place in draw.permutation(len(pool)):
        piece = LEVEL * _loudest_at_one(read_samples(pool[place]))
        if style == "levels":
            piece *= 10 ** (-draw.uniform(0, 30) / 20)
        pause_s = draw.choice([0.3, 2, 6, 14, 31]) if style == "gaps" else draw.uniform(0.3, 2)
        pieces += [np.zeros(round(pause_s * RATE), np.float32), piece]
        texts.append(pool[place].text or "")
        length += len(pieces[-2]) + len(piece)
        if length > LONGEST_S * RATE:
            break
    samples = styled(np.concatenate(pieces), style, draw)
    clip = Clip(
        f"{style} {number}", Path(), "long", pool[0].language, text=" ".join(texts), duration=len(samples) / RATE
    )
    return clip, samples


def styled(samples: NDArray[np.float32], style: str, draw: np.random.Generator) -> NDArray[np.float32]:
    """The samples in noise at 15 dB, over a telephone, or hastened; always with a trace of noise in the pauses."""
    n = len(samples)
    if style == "telephone":
        spectrum, hertz = np.fft.rfft(samples), np.fft.rfftfreq(n, 1 / RATE)
        samples = np.fft.irfft(np.where((hertz < 300) | (hertz > 3400), 0, spectrum), n).astype(np.float32)
    if style == "fast":
        samples = np.interp(np.arange(0, n - 1, HASTE), np.arange(n), samples).astype(np.float32)
    level = 10 ** (-15 / 20) * float(samples.std()) if style == "noise" else 2e-4
    return samples + level * draw.standard_normal(len(samples)).astype(np.float32)


def hear(model: Whisper, clip: Clip, samples: NDArray[np.float32], options: dict[str, object]) -> Score:
    """What the defaults of the command line make of a recording."""
    heard = model.transcribe(samples, beam_size=5, best_of=5, **options)
    return score(clip, from_transcript(heard, None, None), len(samples) / RATE)


def _loudest_at_one(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return samples / max(float(np.abs(samples).max()), 1e-6)


def _report(mode: str, scores: Sequence[Score]) -> None:
    counts: Counter[str] = Counter()
    for one in scores:
        counts.update(one.counts)
    said = counts["hit"] + counts["substitution"] + counts["deletion"]
    errors = said - counts["hit"] + counts["insertion"]
    lost = list(_lost(scores))
    _show(f"{mode:18} errors {100 * errors / said:.2f} %  lost {sum(n for _, n, _ in lost)} of {said} words")
    for path, _, text in lost:
        _show(f"    {path}: {text}")


def _lost(scores: Sequence[Score]) -> Iterator[tuple[str, int, str]]:
    for one in scores:
        for lost in one.lost:
            yield one.path, lost.units, lost.text


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
