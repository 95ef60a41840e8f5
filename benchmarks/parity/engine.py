"""Does the engine in float32 say, on real recordings, token for token what the reference path says?

    python -m benchmarks.parity.engine MANIFEST [--model base] [--longest 160] [--beam_size 5]

In order; in batches of two sizes; and with windows of all files in one batch, the files in another order. Windows are
heard with their full context, at temperature 0.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from viska import Whisper, load_model
from viska.evaluation.manifest import read_manifest
from viska.evaluation.run import read_samples
from viska.result import Transcript
from viska.transcription import Transcription, transcribe_many, transcribe_options
from viska.transcription.backend import Backend, EngineBackend, ReferenceBackend, backend_for

OPTIONS: dict[str, Any] = {"temperature": 0.0, "short_context": False, "guard": False}
BATCHES = (8, 3)
SEED = 5

Samples = NDArray[np.float32]
Tokens = list[tuple[int, ...]]


@dataclass
class Tally:
    """How many recordings and segments were the same, and which recordings were not."""

    recordings: int = 0
    segments: int = 0
    different: list[str] = field(default_factory=list)

    def add(self, path: str, found: Tokens, expected: Tokens) -> None:
        """One recording."""
        self.recordings += 1
        self.segments += len(expected)
        if found != expected:
            self.different.append(path)

    def line(self, name: str) -> str:
        """For people."""
        same = self.recordings - len(self.different)
        return f"{name}: {same} of {self.recordings} recordings the same, {self.segments} segments; {self.different}"


def compare(model: Whisper, recordings: Sequence[tuple[str, Samples]], **options: Any) -> dict[str, Tally]:
    """Tallies of all ways to transcribe, by name. `model` computes in float32."""
    engine = backend_for(model, reference=False)
    assert isinstance(engine, EngineBackend)
    reference = ReferenceBackend(model, fp16=False)
    options = {**OPTIONS, **options}
    in_order = {path: _tokens(model, samples, reference, options) for path, samples in recordings}
    apart = {
        path: _tokens(model, samples, reference, {**options, "batch_size": BATCHES[0]}) for path, samples in recordings
    }
    tallies = {"in order": _tally(recordings, in_order, lambda samples: _tokens(model, samples, engine, options))}
    for size in BATCHES:
        batched = {**options, "batch_size": size}
        tallies[f"batches of {size}"] = _tally(
            recordings, apart, lambda samples, batched=batched: _tokens(model, samples, engine, batched)
        )
    tallies["across files"] = across = Tally()
    for path, found in _across(model, recordings, options):
        across.add(path, found, apart[path])
    return tallies


def _tally(recordings: Iterable[tuple[str, Samples]], expected: dict[str, Tokens], hear: Any) -> Tally:
    tally = Tally()
    for path, samples in recordings:
        tally.add(path, hear(samples), expected[path])
    return tally


def _tokens(model: Whisper, samples: Samples, backend: Backend, options: dict[str, Any]) -> Tokens:
    job = Transcription(model, samples, transcribe_options(options), backend=backend)
    for _ in job:
        pass
    return _of(job.transcript())


def _across(
    model: Whisper, recordings: Sequence[tuple[str, Samples]], options: dict[str, Any]
) -> Iterable[tuple[str, Tokens]]:
    shuffled = list(recordings)
    random.Random(SEED).shuffle(shuffled)
    paths = {id(samples): path for path, samples in shuffled}
    for done in transcribe_many(model, (samples for _, samples in shuffled), batch_size=BATCHES[0], **options):
        assert done.transcript is not None, done.error
        yield paths[id(done.audio)], _of(done.transcript)


def _of(transcript: Transcript) -> Tokens:
    return [segment.tokens for segment in transcript.segments]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity.engine", description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--longest", type=float, help="no recording that is longer (s)")
    parser.add_argument("--beam_size", type=int)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args(arguments)
    torch.set_num_threads(flags.threads)
    clips = [clip for clip in read_manifest(flags.manifest) if (clip.duration or 0.0) <= (flags.longest or 1e9)]
    recordings = [(clip.path, read_samples(clip)) for clip in clips]
    model = load_model(flags.model, device="cpu", compute_type="float32")
    tallies = compare(model, recordings, beam_size=flags.beam_size)
    for name, tally in tallies.items():
        print(tally.line(name))
    print(json.dumps({name: vars(tally) for name, tally in tallies.items()}))
    return int(any(tally.different for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
