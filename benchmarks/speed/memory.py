"""What Viska holds in memory: by the length of a recording, over a thousand jobs, with eight threads.

A program of its own, one process for each question: `python -m benchmarks.speed.memory length --hours 1`.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import threading
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.speed.engines import Engines
from benchmarks.speed.workers.protocol import peak_bytes
from numpy.typing import NDArray

import viska
from viska.audio import SAMPLE_RATE

HOURS = (1, 2)
JOBS, THREADS, JOBS_OF_THREAD = 1000, 8, 25
SPEECH_EVERY_S = 600
MINUTE = 60 * SAMPLE_RATE


def write_mostly_silent(path: Path, hours: float, speech: NDArray[np.float32]) -> None:
    """Faint noise, with a piece of speech every ten minutes."""
    noise = np.random.default_rng(0).normal(0, 2, MINUTE).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        for minute in range(round(hours * 60)):
            samples = noise.copy()
            if minute % (SPEECH_EVERY_S // 60) == 0:
                samples[: len(speech)] = (speech[:MINUTE] * 32767).astype("<i2")
            file.writeframes(samples.tobytes())


def resident_bytes() -> int:
    """What the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def length(model: viska.Whisper, speech: Path, hours: float) -> dict[str, Any]:
    """The peak of transcribing a recording of so many hours, in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "long.wav")
        write_mostly_silent(path, hours, viska.load_audio(speech))
        before = peak_bytes()
        transcript = viska.transcribe(model, path, language="en", temperature=0.0)
    return {"hours": hours, "peak_bytes": peak_bytes(), "before_bytes": before, "segments": len(transcript.segments)}


def jobs(model: viska.Whisper, speech: Path, _hours: float) -> dict[str, Any]:
    """Growth over a thousand short jobs, from the hundredth on."""
    samples = viska.load_audio(speech)[: 2 * SAMPLE_RATE]

    def one() -> None:
        viska.transcribe(model, samples, language="en", temperature=0.0)

    return _growth(one, JOBS)


def threads(model: viska.Whisper, speech: Path, _hours: float) -> dict[str, Any]:
    """Growth over rounds of eight threads that share the model."""
    samples = viska.load_audio(speech)[: 2 * SAMPLE_RATE]

    def one() -> None:
        viska.transcribe(model, samples, language="en", temperature=0.0)

    def all_at_once() -> None:
        workers = [threading.Thread(target=one) for _ in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return _growth(all_at_once, JOBS_OF_THREAD)


def _growth(work: Callable[[], None], times: int) -> dict[str, Any]:
    """Resident bytes after a tenth, a half and all of the repetitions."""
    marks = {}
    for number in range(1, times + 1):
        work()
        if number in (times // 10, times // 2, times):
            gc.collect()
            marks[number] = resident_bytes()
    first, middle, last = marks.values()
    return {
        "times": times,
        "first_bytes": first,
        "middle_bytes": middle,
        "last_bytes": last,
        "peak_bytes": peak_bytes(),
    }


QUESTIONS = {"length": length, "jobs": jobs, "threads": threads}


def ask(engines: Engines, speech: Path, *, quick: bool) -> dict[str, Any]:
    """All questions, each in a process of its own; the quick ones are about minutes."""
    hours: Sequence[float] = [each / 12 for each in HOURS] if quick else HOURS
    told: dict[str, Any] = {"length": [_in_process(engines, speech, "length", each) for each in hours]}
    first, second = told["length"]
    told["slope_bytes_an_hour"] = (second["peak_bytes"] - first["peak_bytes"]) / (second["hours"] - first["hours"])
    if not quick:
        told |= {question: _in_process(engines, speech, question, 0) for question in ("jobs", "threads")}
    return told


def _in_process(engines: Engines, speech: Path, question: str, hours: float) -> dict[str, Any]:
    print(f"memory: {question} {hours or ''}", file=sys.stderr, flush=True)
    options = {"model": engines.name, "threads": engines.threads, "speech": speech, "hours": hours}
    command = [sys.executable, "-m", "benchmarks.speed.memory", question, *(f"--{k}={v}" for k, v in options.items())]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=engines.variables).stdout
    return dict(json.loads(out))


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer one question with a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.memory", description=main.__doc__)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("--speech", type=Path, required=True, help="a recording of speech")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--model", default="base")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    model = viska.load_model(args.model, device="cpu")
    print(json.dumps(QUESTIONS[args.question](model, args.speech, args.hours)))


if __name__ == "__main__":
    main()
