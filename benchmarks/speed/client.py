"""A contender's process, seen from here."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.contenders import Contender
from benchmarks.speed.engines import CPP, Engines
from benchmarks.speed.recordings import Recording


class WorkerError(RuntimeError):
    """A contender could not be started, or stopped."""


class RefusedError(WorkerError):
    """A contender failed on a request, and waits for the next."""


class Worker:
    """A process with a loaded model; closes with its context."""

    def __init__(self, contender: Contender, engines: Engines) -> None:
        self.contender = contender
        self.log = Path(engines.log_folder, f"{contender.name}.log")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                engines.command(contender.engine, contender.compute_type),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=engines.variables,
            )
        try:
            self.versions: dict[str, str] = self._read()["versions"]
        except WorkerError:
            self._process.communicate()
            raise

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.communicate()

    def transcribe(self, recordings: Sequence[Recording]) -> dict[str, Any]:
        """Texts and times of recordings, with the contender's options."""
        audio = [str(each.array if self.contender.engine == CPP else each.path) for each in recordings]
        request = {"audio": audio, "options": self.contender.options, "together": self.contender.together}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.contender.name} stopped:\n{self.log.read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RefusedError(f"{self.contender.name}: {answer['error']}\n{self.log.read_text()[-2000:]}")
        return answer
