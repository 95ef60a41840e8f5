"""Whole processes: `viska clip.wav`, and the least that a user of faster-whisper writes, each from cold."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.parity.environments import faster_whisper_python
from benchmarks.speed.contenders import THEIRS, Contender
from benchmarks.speed.engines import FASTER, VISKA, Engines
from benchmarks.speed.errors import error_rate
from benchmarks.speed.race import Race, Result
from benchmarks.speed.recordings import Recording

SCRIPT = """
import sys
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type=sys.argv[2], cpu_threads=int(sys.argv[3]))
segments, _ = model.transcribe(sys.argv[4])
print("".join(segment.text for segment in segments))
"""
COMMANDS = ("auto",)


def cold_starts(engines: Engines, recording: Recording, rounds: int) -> Race:
    """All commands in turn, with the defaults of each: five beams, the language told by the model."""
    entries = [Contender(VISKA, kind) for kind in COMMANDS] + [Contender(FASTER, kind) for kind in THEIRS]
    found = Race("cold", "Cold start: a whole process for one clip", recording.duration_s, [Result(e) for e in entries])
    for number in range(rounds + 1):
        for result in found.results[:: 1 if number % 2 == 0 else -1]:
            seconds, text = _whole_process(command(engines, result.contender, recording.path), engines)
            if number:  # the first brings files into the cache
                result.seconds.append(seconds)
                result.error_rate = error_rate([recording], [text])
    return found


def command(engines: Engines, contender: Contender, audio: Path) -> list[str]:
    """The process of a contender."""
    if contender.engine == VISKA:
        options = ["--model", engines.name, "--threads", str(engines.threads), "--output_format", "txt"]
        return [str(Path(sys.executable).with_name("viska")), str(audio), *options]
    weights = str(engines.ctranslate2_folder)
    return [faster_whisper_python(), "-c", SCRIPT, weights, contender.compute_type, str(engines.threads), str(audio)]


def _whole_process(arguments: Sequence[str], engines: Engines) -> tuple[float, str]:
    """Seconds, and the text: what the process printed, or wrote as its only file."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(arguments, cwd=folder, env=engines.variables, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        written = list(Path(folder).glob("*.txt"))
        return seconds, written[0].read_text() if written else done.stdout
