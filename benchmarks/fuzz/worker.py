"""One target in a process of its own: `python -m benchmarks.fuzz.worker TARGET FOLDER -runs=N`.

    FOLDER/corpus/        the inputs that reached new code, from libFuzzer
    FOLDER/findings/      for each place that raised what it may not: the first input (.bin) and the traceback (.txt)
    FOLDER/executions     how many there were so far

A finding does not end the run, nor does a hang in Python. What kills the process (a fault in native code) does, and
libFuzzer then leaves the input in FOLDER/findings.
"""

import logging
import signal
import sys
import traceback
import warnings
from hashlib import sha256
from pathlib import Path

import atheris
from torch._weights_only_unpickler import Unpickler

COUNT_EVERY = 256
HANG_SECONDS = 20  # of processor time, so that a machine that does other things is no finding

# Torch is loaded before, because instrumenting looks at every module that is loaded under it.
Unpickler.load = atheris.instrument_func(Unpickler.load)  # type: ignore[method-assign]
with atheris.instrument_imports(include=["viska"]):
    from benchmarks.fuzz.targets import TARGETS, Target


class HangError(Exception):
    """An input that keeps the processor busy."""


def hung(*_: object) -> None:
    """The handler of the timer."""
    raise HangError


class Run:
    """Calls a target, counts, and keeps what it may not raise."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.folder = folder
        self.executions = 0
        self._counter = folder / "executions"
        self._before = int(self._counter.read_text()) if self._counter.exists() else 0

    def __call__(self, data: bytes) -> None:
        """One execution."""
        self.executions += 1
        if self.executions % COUNT_EVERY == 0:
            self._counter.write_text(str(self._before + self.executions))
        signal.setitimer(signal.ITIMER_VIRTUAL, HANG_SECONDS)
        try:
            self.target.call(data)
        except self.target.allowed:
            pass
        except Exception as error:
            self._keep(data, error)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _keep(self, data: bytes, error: Exception) -> None:
        places = [frame for frame in traceback.extract_tb(error.__traceback__) if "/viska/" in frame.filename]
        place = f"{Path(places[-1].filename).name}-{places[-1].lineno}" if places else "outside"
        name = self.folder / "findings" / f"{type(error).__name__}-{place}"
        if not name.with_suffix(".bin").exists():
            name.with_suffix(".bin").write_bytes(data)
            name.with_suffix(".txt").write_text("".join(traceback.format_exception(error)), errors="backslashreplace")


def main() -> None:
    """Fuzz until the runs are done; never returns."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    target = TARGETS[name]
    for sub in ("corpus", "findings"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (folder / "corpus" / sha256(seed).hexdigest()).write_bytes(seed)
    signal.signal(signal.SIGVTALRM, hung)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    limits = ["-timeout=3600", "-report_slow_units=3600", "-rss_limit_mb=6000", "-max_len=60000"]
    options = [
        *limits,
        "-print_final_stats=1",
        "-verbosity=0",
        f"-artifact_prefix={folder / 'findings'}/",
        *sys.argv[3:],
        str(folder / "corpus"),
    ]
    atheris.Setup([sys.argv[0], *options], Run(target, folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
