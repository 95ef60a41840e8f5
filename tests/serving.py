"""A real server on a socket, for tests: with a true model, or with a recogniser that follows a script."""

import io
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from viska.result import Segment, Transcript, Word
from viska.server.app import create_app
from viska.server.models import ModelStore
from viska.server.recogniser import Job, Recogniser, ThreadRecogniser
from viska.server.run import Server, uvicorn_config
from viska.server.settings import Settings


@dataclass
class Running:
    """A server that answers at `url`."""

    url: str
    port: int
    server: Server
    recogniser: Recogniser
    settings: Settings
    app: object

    @property
    def api(self) -> str:
        """The base URL for clients."""
        return f"{self.url}/v1"


@contextmanager
def running(settings: Settings, models: ModelStore, recogniser: Recogniser | None = None) -> Iterator[Running]:
    """A server in a thread of its own; it is stopped, and its work with it, at the end."""
    settings = replace(settings, port=0)
    recogniser = recogniser or ThreadRecogniser(models, settings.workers)
    app = create_app(settings, models, recogniser)
    server = Server(uvicorn_config(app, settings))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 30)
        assert server.started
        url = server.addresses()[0]
        yield Running(url, int(url.rpartition(":")[2]), server, recogniser, settings, app)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def wait_until(happened: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for something; fails where it does not come."""
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


Script = Callable[[Job], Transcript]


@dataclass
class Scripted:
    """A recogniser that lets a function play each job, in a thread of its own."""

    script: Script
    jobs: list[Job] = field(default_factory=list)
    closed: bool = False

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        threading.Thread(target=self._play, args=(job,), daemon=True).start()

    def _play(self, job: Job) -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            transcript = self.script(job)
        except BaseException as error:
            job.future.set_exception(error)
        else:
            job.future.set_result(transcript)

    def close(self) -> None:
        self.closed = True
        for job in self.jobs:
            job.cancel()


def no_models(*names: str, **settings) -> ModelStore:
    """Names of models, none of which can be loaded."""

    def load(name):
        raise AssertionError(f"{name} was loaded")

    return ModelStore(names or ("base",), load, **settings)


def segment(number: int, text: str, words: bool = False) -> Segment:
    """Two seconds of speech; each character is a token, as `letters` has them."""
    start = 2.0 * number
    parts = text.split()
    step = 2.0 / max(1, len(parts))
    timed = tuple(
        Word(f" {part}", start + step * place, start + step * (place + 1), 0.9) for place, part in enumerate(parts)
    )
    return Segment(
        id=number,
        seek=200 * number,
        start=start,
        end=start + 2.0,
        text=text,
        tokens=tuple(text.encode()),
        temperature=0.0,
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.01,
        words=timed if words else None,
        token_logprobs=tuple(-0.5 for _ in text.encode()),
    )


def letters(token: int) -> bytes:
    """The bytes of a made-up token."""
    return bytes([token])


def says(*texts: str, before_each: Callable[[Job], None] = lambda _: None) -> Script:
    """A script that says these segments."""

    def script(job: Job) -> Transcript:
        job.duration_s, job.token_bytes = 2.0 * len(texts), letters
        job.on_progress()
        spoken = []
        for number, text in enumerate(texts):
            before_each(job)
            if job.cancelled:
                break
            spoken.append(segment(number, text, words=bool(job.options.get("word_timestamps"))))
            job.on_segment(spoken[-1])
            job.position_s = spoken[-1].end
            job.on_progress()
        return Transcript("".join(texts[: len(spoken)]), tuple(spoken), "en")

    return script


def wav(samples: np.ndarray) -> bytes:
    """A WAV file of float samples at 16 kHz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16000)
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def tone(seconds: float = 0.5) -> bytes:
    """A WAV file of silence."""
    return wav(np.zeros(round(16000 * seconds)))
