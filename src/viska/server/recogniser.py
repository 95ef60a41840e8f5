"""The seam between the server and decoding: jobs are submitted, segments and a transcript come back.

All that the server knows of decoding is `Recogniser` and `Job`.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from viska.audio import AudioSource
from viska.decoding import tokenizer_for
from viska.model import Whisper
from viska.result import Segment, Transcript
from viska.server.memory import GiveBack
from viska.server.models import ModelStore
from viska.server.threads import compute_alone, others_alone
from viska.transcription import Transcription, transcribe_options
from viska.transcription.backend import Backend, backend_for
from viska.transcription.conductor import Conductor, Performance

logger = logging.getLogger(__name__)

IDLE_CHECK_S = 1.0
LONG_S = 300.0
"""Recordings from here on are read beside the others."""

OnSegment = Callable[[Segment], None]
TokenBytes = Callable[[int], bytes]


class Job:
    """One recording on its way; `future` has its transcript or its error.

    A recogniser sets `duration_s` and `token_bytes` (the bytes of a text token, none for others) before the first
    segment, moves `position_s` (seconds decided) on, calls `on_segment` and `on_progress` from a thread of its own, and
    stops soon after it is `cancelled`.
    """

    def __init__(
        self,
        audio: AudioSource,
        model: str,
        options: Mapping[str, Any],
        on_segment: OnSegment | None = None,
        on_progress: Callable[[], None] | None = None,
    ) -> None:
        self.audio = audio
        self.model = model
        self.options = dict(options)
        self.on_segment = on_segment or (lambda _: None)
        self.on_progress = on_progress or (lambda: None)
        self.future: Future[Transcript] = Future()
        self.promised_s = 0.0  # how long the recording seems to be, before it is read
        self.duration_s = 0.0
        self.position_s = 0.0
        self.token_bytes: TokenBytes = lambda _: b""
        self._stop = threading.Event()
        self._on_cancel: Callable[[], None] = lambda: None

    @property
    def is_long(self) -> bool:
        """Whether it is for those who see to long recordings."""
        return self.promised_s > LONG_S

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self.future.done()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._stop.is_set()

    def result(self, timeout: float | None = None) -> Transcript:
        """The transcript; raises what went wrong, TimeoutError, or CancelledError."""
        return self.future.result(timeout)

    def cancel(self) -> None:
        """Stop: at once where it waits, else before the next step of the decoder."""
        self._stop.set()
        self.future.cancel()
        self._on_cancel()

    def when_cancelled(self, act: Callable[[], None]) -> None:
        """Have this done when the job is cancelled, or now where it is already."""
        self._on_cancel = act
        if self.cancelled:
            act()


class Recogniser(Protocol):
    """Turns recordings into transcripts, many at once."""

    def submit(self, job: Job) -> None:
        """Take a job in, and return at once."""

    def close(self) -> None:
        """Cancel what is left, and wait until nothing runs."""


class Conductors:
    """For each model in use one conductor, whose batches all recordings share."""

    def __init__(self, n_windows: int = 8) -> None:
        self.n_windows = n_windows
        self._lock = threading.Lock()
        self._used: dict[Whisper, tuple[Conductor, int]] = {}

    @contextmanager
    def use(self, model: Whisper) -> Iterator[Conductor]:
        """The conductor of a model, which ends with its last user."""
        with self._lock:
            conductor, n_users = self._used.get(model, (None, 0))
            conductor = conductor or Conductor(backend_for(model, reference=False), self.n_windows)
            self._used[model] = conductor, n_users + 1
        try:
            yield conductor
        finally:
            with self._lock:
                _, n_users = self._used[model]
                last = n_users == 1
                if last:
                    del self._used[model]
                else:
                    self._used[model] = conductor, n_users - 1
            if last:
                conductor.close()


class Readers:
    """Where recordings are read and their language is told: one at a time, and beside it one of the long ones.

    Reading takes memory and a processor, hence not all at once; but an hour of sound shall not keep a few seconds of it
    waiting.
    """

    def __init__(self) -> None:
        self._short, self._long = (ThreadPoolExecutor(1, f"reader-{kind}") for kind in ("short", "long"))
        with others_alone():
            for reader in (self._short, self._long):
                reader.submit(compute_alone).result()

    def read(self, job: Job, model: Whisper, backend: Backend) -> Transcription:
        """The recording of a job, ready to be decoded. Raises AudioError and CancelledError."""
        reader = self._long if job.is_long else self._short
        return reader.submit(self._read, job, model, backend).result()

    def close(self) -> None:
        """End the threads, once they have nothing to do."""
        self._short.shutdown()
        self._long.shutdown()

    @staticmethod
    def _read(job: Job, model: Whisper, backend: Backend) -> Transcription:
        audio = Abandonable(job) if hasattr(job.audio, "read") else job.audio
        try:
            transcription = Transcription(model, audio, transcribe_options(job.options), backend=backend)
        finally:
            if job.cancelled:
                raise CancelledError
        return transcription


class Abandonable:
    """The file of a job, which ends as soon as nobody waits for it any more."""

    def __init__(self, job: Job) -> None:
        self._job, self._file = job, job.audio

    def read(self, size: int = -1) -> bytes:
        """Bytes of it."""
        found: bytes = b"" if self._job.cancelled else self._file.read(size)  # type: ignore[union-attr]
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


Waiting: TypeAlias = "queue.SimpleQueue[Job | None]"


class ThreadRecogniser:
    """Worker threads, each with one recording at a time, first come first served; the windows of all share batches.

    Beside `n_workers` half as many see to the long recordings, which cannot take all the places for an hour then.
    """

    def __init__(self, models: ModelStore, n_workers: int = 2) -> None:
        self.models = models
        self.conductors = Conductors()
        self.readers = Readers()
        self._short, self._long = queue.SimpleQueue[Job | None](), queue.SimpleQueue[Job | None]()
        self._jobs: set[Job] = set()
        self._lock = threading.Lock()
        self._give_back = GiveBack()
        served = [self._short] * n_workers + [self._long] * max(1, n_workers // 2)
        self._threads = [
            threading.Thread(target=self._work, args=(waiting,), name=f"recogniser-{i}")
            for i, waiting in enumerate(served)
        ]
        self._started = threading.Barrier(len(self._threads) + 1)
        with others_alone():
            for thread in self._threads:
                thread.start()
            self._started.wait()

    def submit(self, job: Job) -> None:
        """Take a job in, and return at once."""
        with self._lock:
            self._jobs.add(job)
        job.future.add_done_callback(lambda _: self._forget(job))
        (self._long if job.is_long else self._short).put(job)

    def close(self) -> None:
        """Cancel what is left, and wait until nothing runs."""
        with self._lock:
            left = list(self._jobs)
        for job in left:
            job.cancel()
        for _ in self._threads:
            self._short.put(None)
            self._long.put(None)
        for thread in self._threads:
            thread.join()
        self.readers.close()

    def _forget(self, job: Job) -> None:
        with self._lock:
            self._jobs.discard(job)

    def _work(self, waiting: Waiting) -> None:
        compute_alone()
        self._started.wait()
        while True:
            try:
                job = waiting.get(timeout=IDLE_CHECK_S)
            except queue.Empty:
                self.models.unload_idle()
                continue
            if job is None:
                return
            if job.future.set_running_or_notify_cancel():
                self._run(job)
                self._give_back()

    def _run(self, job: Job) -> None:
        try:
            used = self.models.use(job.model, given_up=lambda: job.cancelled)
            with used as model, self.conductors.use(model) as conductor:
                transcript = run_job(job, model, conductor, self.readers)
        except BaseException as error:  # whatever it is, the one who waits must learn of it, and the thread goes on
            job.future.set_exception(error)
        else:
            job.future.set_result(transcript)
        finally:
            # A job and its future know each other, and would keep the recording until somebody searches for such rings.
            job.when_cancelled(lambda: None)


def run_job(job: Job, model: Whisper, conductor: Conductor, readers: Readers) -> Transcript:
    """Transcribe one recording; what was decided so far where it is cancelled."""
    transcription = readers.read(job, model, conductor.backend)
    job.when_cancelled(transcription.cancel)
    job.duration_s = transcription.duration_s
    job.token_bytes = token_bytes_of(model)
    job.on_progress()
    ended: Future[None] = Future()

    def on_segment(segment: Segment) -> None:
        job.on_segment(segment)
        job.position_s = transcription.position_s
        job.on_progress()

    def on_end(error: Exception | None) -> None:
        ended.set_exception(error) if error is not None else ended.set_result(None)

    conductor.submit(Performance(transcription, on_segment, on_end))
    ended.result()
    job.position_s = transcription.position_s
    return transcription.transcript()


def token_bytes_of(model: Whisper) -> TokenBytes:
    """The bytes of each token of a model's vocabulary, as its tokenizer decodes it; none for timestamps."""
    tokenizer = tokenizer_for(model)

    def token_bytes(token: int) -> bytes:
        if token < tokenizer.timestamp_begin:
            return tokenizer.encoding.decode_single_token_bytes(token)
        return tokenizer.decode([token]).encode()  # tokens that a fine-tune added are whole words

    return token_bytes
