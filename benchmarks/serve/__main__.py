"""Command line: `python -m benchmarks.serve CORPUS`. The last line is JSON; the status is 1 where a goal is missed."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.parity.clips import read_manifest
from benchmarks.serve.clients import Clip, Load, Seen
from benchmarks.serve.servers import Rival, Server, free_port, rival, serving

import viska

CLIP_S = (2.0, 30.0)
OF_SERIAL, OF_BATCHED = 1.1, 0.9
GROWTH_MB = 50.0
LANGUAGE = "en"
RATE = "audio seconds per second"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge."""
    flags = _parser().parse_args(arguments)
    clips = _clips(flags.corpus, flags.clips)
    audio_s = sum(clip.seconds for clip in clips)
    print(f"{len(clips)} clips, {audio_s:.0f} s of sound, {flags.clients} clients, {flags.seconds:g} s", flush=True)
    opponent = rival(flags.model) if flags.rival else None  # installed before anything is measured
    figures, expected = _without_server(flags, clips)
    server, seen = _with_server(flags, expected)
    figures["viska serve"] = _figures(server, seen)
    if opponent is not None:
        figures[opponent.name] = _figures(*_with_rival(flags, opponent, clips))
    return _report(figures, seen, server)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("corpus", type=Path, help="a folder of recordings with manifest.jsonl")
    parser.add_argument("--model", default="base")
    parser.add_argument("--clips", type=int, default=64, help="English clips of 2 to 30 s, evenly from all lengths")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=300.0, help="of load on each server")
    parser.add_argument("--rounds", type=int, default=2, help="of the runs without a server, the best of which counts")
    parser.add_argument("--rival", action="store_true", help="the same load on a server of faster-whisper, behind it")
    return parser


def _clips(folder: Path, n_clips: int) -> list[Clip]:
    """Clips of all lengths, in an order that mixes them."""
    found = sorted(
        (clip.duration, folder / clip.path)
        for clip in read_manifest(folder)
        if clip.language == LANGUAGE and CLIP_S[0] <= clip.duration <= CLIP_S[1]
    )
    evenly = [found[i * len(found) // n_clips] for i in range(min(n_clips, len(found)))] if found else []
    if not evenly:
        raise SystemExit(f"{folder} has no clips of {CLIP_S[0]:g} to {CLIP_S[1]:g} s in English")
    return [Clip(path, seconds) for seconds, path in sorted(evenly, key=lambda pair: pair[1].name[::-1])]


def _without_server(flags: argparse.Namespace, clips: Sequence[Clip]) -> tuple[dict[str, Any], list[Clip]]:
    """The rates of the same work in this process, one by one and batched, and the texts that have to come back."""
    model = viska.load_model(flags.model)
    paths = [clip.path for clip in clips]

    def serial() -> dict[Path, str]:
        return {path: viska.transcribe(model, path, language=LANGUAGE).text.strip() for path in paths}

    def batched() -> dict[Path, str]:
        done = viska.transcribe_many(model, paths, language=LANGUAGE)
        return {each.audio: each.transcript.text.strip() for each in done if each.transcript is not None}

    audio_s = sum(clip.seconds for clip in clips)
    list(viska.transcribe_many(model, paths[:4], language=LANGUAGE))  # warm
    serial_s, texts = _best(serial, flags.rounds)
    batched_s, texts_batched = _best(batched, flags.rounds)
    differing = sum(texts_batched.get(path) != text for path, text in texts.items())
    figures = {
        "serial": {RATE: round(audio_s / serial_s, 2)},
        "batched": {RATE: round(audio_s / batched_s, 2), "texts unlike serial": differing},
    }
    for name, values in figures.items():
        print(f"{name}: {values}", flush=True)
    return figures, [clip.said(texts[clip.path]) for clip in clips]


def _best(work: Callable[[], dict[Path, str]], rounds: int) -> tuple[float, dict[Path, str]]:
    """The shortest time that it took, in seconds, and what came of it."""
    took = []
    for _ in range(max(1, rounds)):
        began = time.monotonic()
        found = work()
        took.append(time.monotonic() - began)
    return min(took), found


def _with_server(flags: argparse.Namespace, clips: Iterable[Clip]) -> tuple[Server, Seen]:
    port = free_port()
    command = [sys.executable, "-m", "viska", "serve", "--model", flags.model, "--port", str(port)]
    # Room for all who come: what is measured is work, and not refusals.
    variables = {"VISKA_MAX_QUEUE": str(2 * flags.clients)}
    with tempfile.TemporaryDirectory() as folder, serving(command, port, variables, Path(folder) / "log") as server:
        return server, _load(server, flags, clips)


def _with_rival(flags: argparse.Namespace, opponent: Rival, clips: Iterable[Clip]) -> tuple[Server, Seen]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = opponent.command(Path(folder), port)
        with serving(command, port, {"OMP_NUM_THREADS": str(os.cpu_count())}, Path(folder) / "log") as server:
            return server, _load(server, flags, clips, {"model_name": opponent.model})


def _load(
    server: Server, flags: argparse.Namespace, clips: Iterable[Clip], fields: dict[str, str] | None = None
) -> Seen:
    fields = {"model": flags.model, "response_format": "json", "language": LANGUAGE, **(fields or {})}
    clips = list(clips)
    Load(server.url, clips[:4], fields).run(4, 2.0)  # warm, as a server is that has run for a while
    server.memory_mb.clear()
    return Load(server.url, clips, fields).run(flags.clients, flags.seconds)


def _figures(server: Server, seen: Seen) -> dict[str, Any]:
    figures = {**seen.summary(), "memory MB": server.peak_mb, "growth MB": round(server.growth_mb(), 1)}
    print({**figures, "memory over time": server.course()}, flush=True)
    return figures


def _report(figures: dict[str, Any], seen: Seen, server: Server) -> int:
    for name, values in figures.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    for line in seen.wrong[:10]:
        print(f"wrong: {line}")
    rate = figures["viska serve"][RATE]
    goals = {
        "no error but 429": set(seen.statuses) <= {"200", "429"},
        "every text the one from Python": bool(seen.latencies_s) and not seen.wrong,
        f"{OF_SERIAL} of serial": rate >= OF_SERIAL * figures["serial"][RATE],
        f"{OF_BATCHED} of batched": rate >= OF_BATCHED * figures["batched"][RATE],
        "memory flat": server.growth_mb() <= GROWTH_MB,
    }
    for goal, reached in goals.items():
        print(f"{'reached' if reached else 'MISSED'}: {goal}")
    print(json.dumps({"figures": figures, "goals": goals, "processors": os.cpu_count()}))
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
