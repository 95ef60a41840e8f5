"""What compiled code gains over the same work with torch, in one run, in turns.

    python -m benchmarks.speed.compiled [--model base] [--threads 2]

Milliseconds of a step of the decoder in int8, for windows of half a minute with one or five beams, and of the encoder
in float32; medians of rounds. ATEN_CPU_CAPABILITY=avx2 leaves unused what the processor has beyond it.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from unittest.mock import patch

import torch
from benchmarks.speed.report import table

import viska
from viska.engine import Engine
from viska.engine.decoder import Decoder
from viska.engine.native.linear import NativeProjection

SHAPES = ((1, 1), (1, 5), (8, 1), (8, 5))  # windows, beams of each
PROMPT = 4
STEPS = 20
ROUNDS = 5


def steps(decoder: Decoder, features: torch.Tensor, windows: int, beams: int) -> Callable[[], None]:
    """Some steps of a decoder, all rows at the same position."""
    memory, cache, rows = decoder.hear(features), decoder.self_cache(windows * beams), windows * beams

    def work() -> None:
        for i in range(STEPS):
            decoder.step([1000 + i] * rows, [PROMPT + i] * rows, cache, [memory] * windows)

    return work


def in_turns(works: Sequence[Callable[[], None]]) -> list[float]:
    """The median milliseconds of each work, all done before."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS + 1):
        for times, work in zip(taken, works, strict=True):
            start = time.perf_counter()
            work()
            times.append((time.perf_counter() - start) * 1000)
    return [median(times[1:]) for times in taken]


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.compiled", description=main.__doc__)
    parser.add_argument("--model", default="base")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    model = viska.load_model(args.model, device="cpu")
    compiled = Engine(model, "int8").decoder
    if compiled.native is None:
        raise SystemExit("There is no compiled code here: it is built for Linux on x86-64 when Viska is installed.")
    with patch.object(NativeProjection, "fits", lambda _: False):
        plain = Engine(model, "int8").decoder
    mel = torch.rand(model.dims.n_mels, 3000, generator=torch.Generator().manual_seed(0)) - 0.5
    encoder = Engine(model, "float32").encoder
    features = encoder(mel)
    rows = []
    for windows, beams in SHAPES:
        torchs, ours = in_turns([steps(decoder, features, windows, beams) for decoder in (plain, compiled)])
        rows.append([f"step, {windows} x {beams}", torchs / STEPS, ours / STEPS, torchs / ours])

    def with_compiled() -> None:
        encoder(mel)

    def with_torch() -> None:
        with patch("viska.engine.encoder.library", lambda: None):
            encoder(mel)

    torchs, ours = in_turns([with_torch, with_compiled])
    rows.append(["encoder, float32", torchs, ours, torchs / ours])
    print(table(["", "torch ms", "compiled ms", "ratio"], [[name, *(f"{v:.2f}" for v in row)] for name, *row in rows]))


if __name__ == "__main__":
    main()
