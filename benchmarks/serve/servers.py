"""Servers as processes of their own: ours, and one on faster-whisper."""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from benchmarks.parity.environments import WORK, environment
from benchmarks.parity.witness import with_vocabulary

from viska.weights.load import locate

RIVAL = "faster-whisper-server==0.0.3"
RIVAL_BATCH = 8
START_S = 300
SAMPLE_S = 0.5
POINTS = 12


@dataclass
class Server:
    """A running server: where it is, and its memory in MB over time."""

    url: str
    popen: "subprocess.Popen[bytes]"
    memory_mb: list[float] = field(default_factory=list)

    def watch(self, stop: threading.Event) -> None:
        """Note its memory until told to stop."""
        status = Path(f"/proc/{self.popen.pid}/status")
        while not stop.wait(SAMPLE_S) and status.is_file():
            found = status.read_text().partition("VmRSS:")[2].split()
            if found:
                self.memory_mb.append(int(found[0]) / 1000)

    @property
    def peak_mb(self) -> int:
        """The most that it had."""
        return round(max(self.memory_mb, default=0.0))

    def growth_mb(self) -> float:
        """How much the last quarter has over the second, the first being for warming up; by their means."""
        quarter = len(self.memory_mb) // 4
        if not quarter:
            return 0.0
        second, last = self.memory_mb[quarter : 2 * quarter], self.memory_mb[-quarter:]
        return sum(last) / quarter - sum(second) / quarter

    def course(self) -> list[int]:
        """The memory at some points, evenly over the time."""
        n = len(self.memory_mb)
        return [round(self.memory_mb[i * (n - 1) // (POINTS - 1)]) for i in range(POINTS)] if n else []


@dataclass(frozen=True)
class Rival:
    """A server on faster-whisper: the interpreter that has it, and the folder of the model in CTranslate2's form."""

    python: str
    model: str
    folder: Path
    name: str = RIVAL

    def command(self, folder: Path, port: int) -> list[str]:
        """How to start it, with its fastest settings in a file in `folder`."""
        options = {"compute_type": "int8", "device": "cpu", "cpu_threads": os.cpu_count()}
        served = {"name": self.model, "path": str(self.folder), "batch_size": RIVAL_BATCH, "model_options": options}
        settings = folder / "rival.yaml"
        settings.write_text(json.dumps({"models": [served]}))  # JSON is YAML
        listen = ["--host", "127.0.0.1", "--port", str(port)]
        return [self.python, "-m", "faster_whisper_server", "--config", str(settings), *listen]


def rival(model: str) -> Rival:
    """The server on faster-whisper, installed in an environment of its own when it is first needed."""
    folder = locate(model).path
    if not (folder / "model.bin").is_file():
        raise SystemExit(f"{folder} has no model.bin; faster-whisper needs the model in CTranslate2's form")
    python = environment(WORK / "faster-whisper-server", ((RIVAL,),))
    return Rival(python, model, with_vocabulary(folder))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: Sequence[str], port: int, variables: Mapping[str, str], log: Path) -> Iterator[Server]:
    """Run a server until it is no longer needed; it is ready when it describes itself."""
    stop = threading.Event()
    with log.open("wb") as output:
        popen = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **variables})
    server = Server(f"http://127.0.0.1:{port}", popen)
    watcher = threading.Thread(target=server.watch, args=(stop,))
    try:
        _wait(server, log)
        watcher.start()
        yield server
    finally:
        stop.set()
        popen.terminate()
        popen.wait(60)
        if watcher.is_alive():
            watcher.join()


def _wait(server: Server, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.popen.poll() is None:
        try:
            if requests.get(f"{server.url}/openapi.json", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise SystemExit(f"the server did not start: {log.read_text()[-2000:]}")
