"""Command line: `python -m benchmarks.serve CORPUS`. The last line is JSON; the status is 1 where a goal is missed."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.parity.clips import read_manifest
from benchmarks.serve.clients import Load, Seen
from benchmarks.serve.servers import Server, free_port, rival_command, serving

import viska

CLIP_S = (2.0, 30.0)
OF_SERIAL, OF_BATCHED = 1.1, 0.9
GROWTH_MB = 50.0

Clip = tuple[Path, float, str | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge."""
    flags = _parser().parse_args(arguments)
    clips = _clips(flags.corpus, flags.clips)
    audio_s = sum(seconds for _, seconds in clips)
    print(
        f"{len(clips)} clips, {audio_s:.0f} s of sound, {flags.clients} clients, {flags.minutes:g} minutes", flush=True
    )
    expected, figures = _without_server(clips, flags, audio_s)
    server, seen = _load(
        lambda port: [sys.executable, "-m", "viska", "serve", "--model", flags.model, "--port", str(port)],
        flags,
        expected,
        {"VISKA_MAX_QUEUE": str(2 * flags.clients), **({"VISKA_WORKERS": flags.workers} if flags.workers else {})},
    )
    figures["viska serve"] = {**seen.summary(), "memory MB": _memory(server), "growth MB": round(server.growth_mb(), 1)}
    if flags.rival:
        silent = [(path, seconds, None) for path, seconds, _ in expected]
        folder = flags.rival
        rival, seen_there = _load(lambda port: rival_command(folder, port), flags, silent, {})
        figures["faster-whisper-server"] = {**seen_there.summary(), "memory MB": _memory(rival)}
    return _report(figures, seen, server)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("corpus", type=Path, help="a folder of recordings with manifest.jsonl")
    parser.add_argument("--model", default="base")
    parser.add_argument("--clips", type=int, default=64, help="English clips of 2 to 30 s, evenly from all")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--workers", help="of the server (its default)")
    parser.add_argument("--rival", type=Path, help="the model in CTranslate2's form: measure faster-whisper-server too")
    return parser


def _clips(folder: Path, n_clips: int) -> list[tuple[Path, float]]:
    found = sorted(
        (clip.path, clip.duration)
        for clip in read_manifest(folder)
        if clip.language == "en" and CLIP_S[0] <= clip.duration <= CLIP_S[1]
    )
    step = max(1, len(found) // n_clips)
    return [(folder / path, seconds) for path, seconds in found[::step][:n_clips]]


def _without_server(
    clips: Sequence[tuple[Path, float]], flags: argparse.Namespace, audio_s: float
) -> tuple[list[Clip], dict[str, Any]]:
    """The texts that have to come back, and the rates of the same work in one process: one by one, and batched."""
    model = viska.load_model(flags.model)
    viska.transcribe(model, clips[0][0], language="en")  # warm
    began = time.monotonic()
    texts = [viska.transcribe(model, path, language="en").text.strip() for path, _ in clips]
    serial_s = time.monotonic() - began
    began = time.monotonic()
    batched = {done.audio: done for done in viska.transcribe_many(model, [path for path, _ in clips], language="en")}
    batched_s = time.monotonic() - began
    differing = sum(
        done.transcript is None or done.transcript.text.strip() != text
        for done, text in ((batched[path], text) for (path, _), text in zip(clips, texts, strict=True))
    )
    figures = {
        "serial": {"audio seconds per second": round(audio_s / serial_s, 2)},
        "batched": {"audio seconds per second": round(audio_s / batched_s, 2), "texts unlike serial": differing},
    }
    return [(path, seconds, text) for (path, seconds), text in zip(clips, texts, strict=True)], figures


def _load(command: Any, flags: argparse.Namespace, clips: list[Clip], variables: dict[str, str]) -> tuple[Server, Seen]:
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(command(port), port, variables, Path(folder) / "log") as server,
    ):
        # Warm, as a server is that has run for a while.
        Load(server.url, flags.model, [(path, seconds, None) for path, seconds, _ in clips[:2]], {}).run(1, 2.0)
        seen = Load(server.url, flags.model, clips, {"language": "en"}).run(flags.clients, 60 * flags.minutes)
    return server, seen


def _memory(server: Server) -> int:
    return round(max(server.memory_mb, default=0.0))


def _report(figures: dict[str, Any], seen: Seen, server: Server) -> int:
    for name, values in figures.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    for line in seen.wrong[:10]:
        print(f"wrong: {line}")
    rate = figures["viska serve"]["audio seconds per second"]
    goals = {
        "no error but 429": set(seen.statuses) <= {"200", "429"},
        "every text the one from Python": not seen.wrong,
        "1.1 of serial": rate >= OF_SERIAL * figures["serial"]["audio seconds per second"],
        "0.9 of batched": rate >= OF_BATCHED * figures["batched"]["audio seconds per second"],
        "memory flat": server.growth_mb() <= GROWTH_MB,
    }
    for goal, reached in goals.items():
        print(f"{'reached' if reached else 'MISSED'}: {goal}")
    print(json.dumps({"figures": figures, "goals": goals, "processors": os.cpu_count()}))
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
