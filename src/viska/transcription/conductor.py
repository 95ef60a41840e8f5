"""Recordings that come at any time, from any thread: one engine for all, whose batches they share."""

import threading
from collections import deque
from collections.abc import Callable, Iterator

from viska.result import Segment
from viska.transcription.backend import Backend
from viska.transcription.passage import Passage
from viska.transcription.pipeline import Transcription
from viska.transcription.scheduler import Scheduler


class Performance:
    """One recording under way: `on_segment` is called for each segment, `on_end` once, with the error if there was one.

    Both are called in the thread of the conductor, and must be quick.
    """

    def __init__(
        self,
        job: Transcription,
        on_segment: Callable[[Segment], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self.job, self.on_segment, self.on_end = job, on_segment, on_end
        self.passages: Iterator[Passage] = job.passages()
        self.n_running = 0
        self.exhausted = False
        self.ended = False

    def cancel(self) -> None:
        """Decode no further; ends before the next step of the decoder."""
        self.job.cancel()

    def next_passage(self) -> Passage | None:
        """What is next to be decoded of it, None at its end."""
        passage = None if self.job.cancelled else next(self.passages, None)
        self.exhausted = passage is None
        return passage

    def report(self) -> None:
        """Hand over what was decided; end it where that was all."""
        if self.ended:
            return
        try:
            for segment in self.job.collect():
                self.on_segment(segment)
        except Exception as error:  # whatever went wrong is its owner's to hear, and nobody else's
            self.job.cancel()
            self._end(error)
            return
        if self.exhausted and not self.n_running:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        self.ended = True
        self.on_end(error)


class Conductor:
    """A thread that decodes up to `n_windows` windows at a time, of whichever recordings there are.

    Places go to the recordings in turn, the one with the fewest windows under way first: a long one does not keep short
    ones waiting. `submit` may be called from any thread; `close` ends what is under way.
    """

    def __init__(self, backend: Backend, n_windows: int = 8) -> None:
        self.backend = backend
        self._scheduler = Scheduler(backend, n_windows)
        self._waiting: deque[Performance] = deque()
        self._running: dict[Passage, Performance] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="viska-conductor", daemon=True)
        self._thread.start()

    def submit(self, performance: Performance) -> None:
        """Take a recording in. Raises RuntimeError once closed."""
        with self._changed:
            if self._closed:
                raise RuntimeError("this conductor is closed")
            self._waiting.append(performance)
            self._changed.notify()

    def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        with self._changed:
            self._closed = True
            for performance in {*self._waiting, *self._running.values()}:
                performance.cancel()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while self._wait_for_work():
            while self._scheduler.room and (performance := self._next()) is not None:
                self._begin(performance)
            for task in self._scheduler.advance():
                assert isinstance(task, Passage)
                self._see_to(task)
            for passage in [passage for passage in self._running if passage.cancelled]:
                self._see_to(passage)

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._running or self._closed)
            return bool(self._waiting or self._running or not self._closed)

    def _next(self) -> Performance | None:
        """The recording whose turn it is: of those with the fewest windows under way, the one that waits longest."""
        with self._changed:
            if not self._waiting:
                return None
            performance = min(self._waiting, key=lambda waiting: waiting.n_running)
            self._waiting.remove(performance)
            return performance

    def _begin(self, performance: Performance) -> None:
        passage = performance.next_passage()
        if passage is None:
            performance.report()
            return
        performance.n_running += 1
        self._running[passage] = performance
        with self._changed:
            self._waiting.append(performance)
        self._scheduler.begin(passage)
        self._see_to(passage)

    def _see_to(self, passage: Passage) -> None:
        """Report what a passage decided, and whether it is through."""
        performance = self._running.get(passage)
        if performance is None:
            return
        if passage.finished or passage.error is not None or passage.cancelled:
            del self._running[passage]
            performance.n_running -= 1
        performance.report()
