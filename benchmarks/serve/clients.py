"""Many clients that send clips for some minutes, and what they saw."""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import requests

TIMEOUT_S = 600
LEAD = 0.1
"""The share of the time before answers are counted, in which the server's queue fills."""


@dataclass(frozen=True)
class Clip:
    """A recording, its length, and the text that must come back; None where any will do."""

    path: Path
    seconds: float
    text: str | None = None

    def said(self, text: str) -> "Clip":
        """The same with the text that must come back."""
        return replace(self, text=text)


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

    The rate is that of the answers that came from `LEAD` to the end: neither filling nor emptying the queue counts.
    """

    def __init__(self, url: str, clips: Sequence[Clip], fields: dict[str, str]) -> None:
        self.url = f"{url}/v1/audio/transcriptions"
        self.fields = fields
        self.clips = [(clip, clip.path.read_bytes()) for clip in clips]
        self.seen = Seen()
        self.counted = (0.0, 0.0)
        self._numbers = count()
        self._lock = threading.Lock()

    def run(self, n_clients: int, seconds: float) -> Seen:
        """Work until the time is over and the last answer is there."""
        self.counted = (time.monotonic() + LEAD * seconds, time.monotonic() + seconds)
        threads = [threading.Thread(target=self._client) for _ in range(n_clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seen.wall_s = self.counted[1] - self.counted[0]
        return self.seen

    def _client(self) -> None:
        with requests.Session() as session:
            while time.monotonic() < self.counted[1]:
                with self._lock:
                    number = next(self._numbers)
                self._send(session, *self.clips[number % len(self.clips)])

    def _send(self, session: requests.Session, clip: Clip, content: bytes) -> None:
        began = time.monotonic()
        try:
            answer = session.post(
                self.url, data=self.fields, files={"file": (clip.path.name, content)}, timeout=TIMEOUT_S
            )
            status, body = str(answer.status_code), answer.text
        except requests.RequestException as error:
            status, body = type(error).__name__, ""
        now = time.monotonic()
        with self._lock:
            self.seen.statuses[status] += 1
            if status == "200":
                self.seen.latencies_s.append(now - began)
                self.seen.audio_s += clip.seconds * (self.counted[0] <= now < self.counted[1])
                self._compare(clip, body)
        if status == "429":
            time.sleep(float(answer.headers["retry-after"]))

    def _compare(self, clip: Clip, body: str) -> None:
        heard = json.loads(body)["text"]
        if clip.text is not None and heard != clip.text:
            self.seen.wrong.append(f"{clip.path.name}: {heard!r} and not {clip.text!r}")
