"""The command line with a made-up model: what it prints, and its exit status."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from viska.cli import main

FAST = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "-f", "txt"]


@dataclass(frozen=True)
class Outcome:
    """Exit status, what was printed, and the warnings, which pytest keeps from being printed."""

    status: int
    out: str
    err: str
    warnings: str


class Command:
    """`viska`, run in this process, with a model that says nothing of sense; results go to `folder`."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self.folder = folder
        self._capfd = capfd
        self._caplog = caplog

    def __call__(self, *arguments: object) -> Outcome:
        self._capfd.readouterr()
        status = main([*map(str, arguments), "-o", str(self.folder), *FAST])
        captured = self._capfd.readouterr()
        return Outcome(status, captured.out, captured.err, self._caplog.text)

    def refused(self, *arguments: object, status: int, message: str) -> None:
        """One message, this status, no traceback and no files."""
        outcome = self(*arguments)
        assert outcome.status == status, outcome
        assert outcome.err.startswith("viska: error: "), outcome
        assert message in outcome.err, outcome
        assert outcome.err.count("\n") == 1
        assert "Traceback" not in outcome.err
        assert not list(self.folder.glob("*"))

    def accepted(self, *arguments: object, warning: str = "") -> None:
        """Status 0 and one file, with this warning or none."""
        outcome = self(*arguments)
        assert outcome.status == 0, outcome
        assert warning in outcome.warnings
        assert bool(outcome.warnings) == bool(warning), outcome
        assert outcome.err == ""
        assert [path.suffix for path in self.folder.iterdir()] == [".txt"]


PRELUDE = """
import os, resource, sys
sys.path[:0] = {path!r}
import av, torch, viska.weights, viska.transcription, viska.formats
from pathlib import Path
from made_up import ENGLISH, made_up_model
from viska.cli import main
torch.set_num_threads(1)
def use_made_up_model():
    model = made_up_model(ENGLISH)
    viska.weights.load_model = lambda *_, **__: model
def may_take(megabytes):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20),) * 2)
"""


def in_a_child(code: str, *arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, which has what PRELUDE defines, and `sys.argv[1:]`."""
    path = [str(Path(__file__).parent)]
    return subprocess.run(
        [sys.executable, "-c", PRELUDE.format(path=path) + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
