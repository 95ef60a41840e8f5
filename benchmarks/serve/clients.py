"""Many clients that send clips for some minutes, and what they saw."""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import requests

TIMEOUT_S = 600


@dataclass
class Seen:
    """What all clients saw together."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    audio_s: float = 0.0
    wall_s: float = 0.0

    def percentile(self, share: float) -> float:
        """The latency that this share of the answers stayed below."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, round(share * len(ordered)))] if ordered else float("nan")

    def summary(self) -> dict[str, Any]:
        """Figures for the report."""
        return {
            "answers": len(self.latencies_s),
            "statuses": dict(self.statuses),
            "wrong texts": len(self.wrong),
            "audio seconds per second": round(self.audio_s / self.wall_s, 2) if self.wall_s else 0.0,
            "median latency": round(self.percentile(0.5), 2),
            "95th percentile": round(self.percentile(0.95), 2),
        }


class Load:
    """`n_clients` threads, each with its own connection, that take clips in turn until the time is over.

    A clip is its path, its seconds and the text that must come back, or None where any will do.
    """

    def __init__(self, url: str, model: str, clips: Sequence[tuple[Path, float, str | None]], fields: dict[str, str]):
        self.url = f"{url}/v1/audio/transcriptions"
        self.fields = {"model": model, "response_format": "json", **fields}
        self.clips = [(path.name, path.read_bytes(), seconds, text) for path, seconds, text in clips]
        self.seen = Seen()
        self._numbers = count()
        self._lock = threading.Lock()

    def run(self, n_clients: int, seconds: float) -> Seen:
        """Work until the time is over and the last answer is there."""
        began = time.monotonic()
        threads = [threading.Thread(target=self._client, args=(began + seconds,)) for _ in range(n_clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seen.wall_s = time.monotonic() - began
        return self.seen

    def _client(self, end: float) -> None:
        with requests.Session() as session:
            while time.monotonic() < end:
                with self._lock:
                    number = next(self._numbers)
                self._send(session, *self.clips[number % len(self.clips)])

    def _send(self, session: requests.Session, name: str, content: bytes, seconds: float, text: str | None) -> None:
        began = time.monotonic()
        try:
            answer = session.post(self.url, data=self.fields, files={"file": (name, content)}, timeout=TIMEOUT_S)
            status, body = str(answer.status_code), answer.text
        except requests.RequestException as error:
            status, body = type(error).__name__, ""
        elapsed = time.monotonic() - began
        with self._lock:
            self.seen.statuses[status] += 1
            if status == "200":
                self.seen.latencies_s.append(elapsed)
                self.seen.audio_s += seconds
                if text is not None and (heard := json.loads(body)["text"]) != text:
                    self.seen.wrong.append(f"{name}: {heard!r} and not {text!r}")
        if status == "429":
            time.sleep(float(answer.headers["retry-after"]))
