"""Where the time of a transcription goes, stage by stage, and the least that each could take on this machine.

A program of its own, so that its environment is that of the timed processes: `python -m benchmarks.speed.stages`.
"""

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import av
import torch
from benchmarks.speed import ceilings, work

import viska
import viska.timing
from viska.audio import N_FRAMES, SAMPLE_RATE
from viska.engine import Engine, engine_for
from viska.engine.decoder import Decoder
from viska.engine.encoder import Encoder
from viska.vad import voice_activity

TRANSCRIPTION: dict[str, Any] = {"language": "en", "temperature": 0.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "batch 8": {"batch_size": 8, "vad_filter": True},
    "batch 8, beam 5": {"batch_size": 8, "vad_filter": True, "beam_size": 5},
    "batch 1, word times": {"condition_on_previous_text": False, "word_timestamps": True},
}
PASSES = 3
TURNS = 9


@dataclass
class Clock:
    """Seconds and floors of the stages of one run. A stage within another is not counted as part of it."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    floors: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: Counter[str] = field(default_factory=Counter)
    _inner: list[float] = field(default_factory=lambda: [0.0])

    def wrap(self, name: str, call: Callable[..., Any], floor: Callable[..., float]) -> Callable[..., Any]:
        """The same call, with its time counted under a name."""

        def timed(*args: Any, **keywords: Any) -> Any:
            self._inner.append(0.0)
            start = time.perf_counter()
            found = call(*args, **keywords)
            taken = time.perf_counter() - start
            self.seconds[name] += taken - self._inner.pop()
            self._inner[-1] += taken
            self.floors[name] += floor(*args, **keywords)
            self.calls[name] += 1
            return found

        return timed


class Floors:
    """The least seconds of each call of the engine, from what it is given."""

    def __init__(self, model: viska.Whisper, found: ceilings.Ceilings) -> None:
        engine = engine_for(model)
        self.plan = replace(engine.plan, attention=engine.decoder.attention_dtype)
        self.work, self.found = work.Work(model.dims, self.plan), found
        self.read_by_steps = 0.0  # bytes

    def encode(self, _encoder: Encoder, mel: torch.Tensor) -> float:
        """Arithmetic."""
        return self.work.encode(mel.shape[-1]) / self.found.rate(self.plan.encoder)

    def hear(self, _decoder: Decoder, features: torch.Tensor) -> float:
        """Arithmetic."""
        return self.work.hear(len(features)) / self.found.rate(self.plan.encoder)

    def prefill(self, _decoder: Decoder, tokens: Sequence[int], memory: Any) -> float:
        """Reading, as of a step of one row."""
        n_bytes = self.work.step_bytes(memory.keys.shape[2], len(tokens), 1)
        return n_bytes / self.found.read_rate(n_bytes)

    def step(
        self, _decoder: Decoder, tokens: Sequence[int], positions: Sequence[int], _cache: Any, memories: Any
    ) -> float:
        """Reading weights once and each window's audio once, or the arithmetic of all rows where that takes longer."""
        n_bytes = self.work.step_bytes(sum(memory.keys.shape[2] for memory in memories), max(positions), len(tokens))
        self.read_by_steps += n_bytes
        arithmetic = self.work.decode(len(tokens)) / self.found.rate(self.plan.decoder)
        return max(n_bytes / self.found.read_rate(n_bytes), arithmetic)

    def words(self, _read: Any, _tokenizer: Any, text_tokens: Sequence[int], *_rest: Any, **_options: Any) -> float:
        """Arithmetic of one pass over the text."""
        return self.work.decode(len(text_tokens)) / self.found.rate(self.plan.decoder)


def preparation(path: Path, found: ceilings.Ceilings, *, vad: bool) -> dict[str, tuple[float, float]]:
    """Seconds and floors of what is done before the first window."""
    samples = viska.load_audio(path)
    duration_s = len(samples) / SAMPLE_RATE
    mel_floor = duration_s * work.FRAMES_A_SECOND * work.MEL_OPERATIONS / found.float32
    vad_floor = duration_s * work.VAD_FRAMES_A_SECOND * work.VAD_OPERATIONS / found.float32
    measured = {
        "decode audio": (_seconds(lambda: viska.load_audio(path)), _seconds(lambda: _only_decode(path))),
        "mel": (_seconds(lambda: viska.log_mel_spectrogram(samples)), mel_floor),
    }
    if vad:
        measured["voice activity"] = (_seconds(lambda: voice_activity(samples)), vad_floor)
    return measured


def _seconds(call: Callable[[], object]) -> float:
    return ceilings.seconds(call, repeats=3)


def _only_decode(path: Path) -> int:
    """What FFmpeg's decoder alone takes, with nothing resampled or kept."""
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


@contextmanager
def watched(clock: Clock, floors: Floors) -> Iterator[None]:
    """The engine's calls, counted."""
    with ExitStack() as stack:
        for name, owner, attribute, floor in (
            ("encode", Encoder, "__call__", floors.encode),
            ("cross keys and values", Decoder, "hear", floors.hear),
            ("first tokens", Decoder, "prefill", floors.prefill),
            ("decode steps", Decoder, "step", floors.step),
        ):
            timed = clock.wrap(name, getattr(owner, attribute), floor)
            # A function of its own, because a class makes methods of functions alone.
            stack.enter_context(patch.object(owner, attribute, timed))
        target = "viska.transcription.passage.align"
        stack.enter_context(patch(target, clock.wrap("word times", viska.timing.align, floors.words)))
        yield


def run(model: viska.Whisper, path: Path, found: ceilings.Ceilings, options: dict[str, Any]) -> dict[str, Any]:
    """One setting: the stages with their seconds (medians of several passes), floors and shares of the whole."""
    viska.transcribe(model, path, **TRANSCRIPTION, **options)
    passes = [_passed(model, path, found, options) for _ in range(PASSES)]
    total = median(seconds for seconds, _, _ in passes)
    _, clock, floors = passes[0]
    stages: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, (taken, floor) in preparation(path, found, vad=bool(options.get("vad_filter"))).items():
        stages[name] = {"seconds": taken, "floor": floor, "calls": 1}
    for name in clock.seconds:
        taken = median(each.seconds[name] for _, each, _ in passes)
        stages[name] = {"seconds": taken, "floor": clock.floors[name], "calls": clock.calls[name]}
    if "decode steps" in stages:
        stages["decode steps"]["from_memory"] = floors.read_by_steps / found.memory
    rest = total - sum(stage["seconds"] for stage in stages.values())
    stages["search, rules, text"] = {"seconds": max(rest, 0.0), "floor": 0.0, "calls": 1}
    for stage in stages.values():
        stage["share"] = stage["seconds"] / total
    return {"seconds": total, "stages": dict(stages)}


def encoder_in_turns(model: viska.Whisper, work_of_model: work.Work) -> dict[str, float]:
    """Operations a second of the float32 encoder and of the machine's own product, each time one after the other.

    Both are medians, so that a neighbour who slows the machine down slows both.
    """
    encoder, product = Engine(model, "float32").encoder, ceilings.product(torch.float32)
    mel = torch.rand(model.dims.n_mels, N_FRAMES, generator=torch.Generator().manual_seed(0)) - 0.5
    taken: dict[str, list[float]] = {"encoder": [], "product": []}
    with torch.inference_mode():
        for _ in range(TURNS):
            for name, call in (("encoder", lambda: encoder(mel)), ("product", product)):
                taken[name].append(ceilings.seconds(call, repeats=1))
    return {
        "encoder": work_of_model.encode(N_FRAMES) / median(taken["encoder"]),
        "product": ceilings.PRODUCT / median(taken["product"]),
    }


def _passed(
    model: viska.Whisper, path: Path, found: ceilings.Ceilings, options: dict[str, Any]
) -> tuple[float, Clock, Floors]:
    """Seconds of one transcription, its stages, and their floors."""
    clock, floors = Clock(), Floors(model, found)
    with watched(clock, floors):
        start = time.perf_counter()
        viska.transcribe(model, path, **TRANSCRIPTION, **options)
        return time.perf_counter() - start, clock, floors


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.stages", description=main.__doc__)
    parser.add_argument("--model", default="base")
    parser.add_argument("--compute-types", default="auto,float32,int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--audio", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    found = ceilings.measure()
    told: dict[str, Any] = {"ceilings": found.to_dict(), "stages": {}}
    for compute_type in args.compute_types.split(",") if args.audio else ():
        model = viska.load_model(args.model, compute_type=compute_type, device="cpu")
        settings = SETTINGS if compute_type == "auto" else {"batch 1": {"condition_on_previous_text": False}}
        for name, options in settings.items():
            told["stages"][f"{compute_type}, {name}"] = run(model, args.audio, found, options)
    if args.audio:
        model = viska.load_model(args.model, device="cpu")
        told["encoder"] = encoder_in_turns(model, work.Work(model.dims, engine_for(model).plan))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
