"""What all workers have in common: a JSON request a line on standard input, a JSON answer a line on standard output.

A script of every rival's own interpreter: the standard library, and numpy. A request is `{"audio": [paths], "options":
{}, "together": bool}`; its answer is `{"answers": [{"text", "language", "seconds"}], "seconds", "cpu_seconds",
"peak_bytes"}`, or `{"error"}`. The first line tells that the model is loaded: `{"load_seconds", "versions"}`.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
Each = Callable[[str, dict[str, Any]], Answer]
Together = Callable[[list[str], dict[str, Any]], list[Answer]]


def arguments() -> argparse.Namespace:
    """What every worker is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", required=True)
    parser.add_argument("--compute-type", required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


def peak_bytes() -> int:
    """The most memory that this process has held so far (VmHWM)."""
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) * 1024


def sound(path: str) -> Any:
    """What the libraries take: the path, or the samples of a `.npy` array."""
    if not path.endswith(".npy"):
        return path
    import numpy as np

    return np.load(path)


def serve(load: Callable[[argparse.Namespace], tuple[Each, Together | None, dict[str, str]]]) -> None:
    """Load, then answer until the input ends. What libraries print goes to standard error, not among the answers."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    start = time.perf_counter()
    each, together, versions = load(arguments())
    _say(channel, {"load_seconds": time.perf_counter() - start, "versions": versions})
    for line in sys.stdin:
        try:
            _say(channel, _answer(json.loads(line), each, together))
        except Exception as error:  # an error of the rival is a result too
            _say(channel, {"error": f"{type(error).__name__}: {error}"})


def _answer(request: Answer, each: Each, together: Together | None) -> Answer:
    paths, options = request["audio"], request["options"]
    start, cpu_start = time.perf_counter(), time.process_time()
    if request.get("together"):
        assert together is not None, "this engine takes one recording at a time"
        answers = together(paths, options)
    else:
        answers = [_timed(each, path, options) for path in paths]
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {"answers": answers, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak_bytes()}


def _timed(each: Each, path: str, options: dict[str, Any]) -> Answer:
    start = time.perf_counter()
    answer = each(path, options)
    return {**answer, "seconds": time.perf_counter() - start}


def _say(channel: Any, answer: Answer) -> None:
    channel.write(json.dumps(answer) + "\n")
    channel.flush()
