"""Servers as processes of their own, with a watch on their memory."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from benchmarks.parity.environments import WORK, environment

RIVAL = "faster-whisper-server==0.0.3"
START_S = 300
SAMPLE_S = 1.0


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

    def growth_mb(self) -> float:
        """How much the last quarter has over the second, the first being for warming up; by their means."""
        quarter = len(self.memory_mb) // 4
        if not quarter:
            return 0.0
        second, last = self.memory_mb[quarter : 2 * quarter], self.memory_mb[-quarter:]
        return sum(last) / quarter - sum(second) / quarter


def rival_command(folder: Path, port: int) -> list[str]:
    """A server on faster-whisper, which is installed in an environment of its own when it is first needed."""
    python = environment(WORK / "faster-whisper-server", ((RIVAL,),))
    listen = ["--host", "127.0.0.1", "--port", str(port), "--batch-size", "8"]
    return [python, "-m", "faster_whisper_server", str(folder), *listen]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: Sequence[str], port: int, variables: dict[str, str], log: Path) -> Iterator[Server]:
    """Run a server until it is no longer needed; it is ready when it lists its models."""
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
