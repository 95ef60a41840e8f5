"""Recordings that come at any time, from any thread: one engine for all, whose batches they share."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator

from viska.decoding import DecodingResult
from viska.engine import fits_a_lane
from viska.result import Segment
from viska.transcription.backend import Attempt, Backend
from viska.transcription.passage import Passage
from viska.transcription.pipeline import Transcription
from viska.transcription.scheduler import Scheduler

logger = logging.getLogger(__name__)


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
        self.paused: deque[Turn] = deque()
        self.n_running = 0
        self.apart = not fits_a_lane(job.options.decoding)
        self.exhausted = False
        self.ended = False

    def cancel(self) -> None:
        """Decode no further; ends before the next step of the decoder."""
        self.job.cancel()

    def next_turn(self) -> "Turn | None":
        """What is next to be decoded of it, None where that is nothing, or all is under way."""
        self.look_ahead()
        return self.paused.popleft() if self.paused else None

    def look_ahead(self) -> None:
        """Have the next turn ready, or find that there is none."""
        if self.job.cancelled:
            self.paused.clear()
            self.exhausted = True
        elif not self.paused and not self.exhausted:
            passage = next(self.passages, None)
            self.exhausted = passage is None
            if passage is not None:
                self.paused.append(Turn(self, passage))

    def report(self) -> None:
        """Hand over what was decided; end it where that was all."""
        if self.ended:
            return
        try:
            for segment in self.job.collect():
                self.on_segment(segment)
        except Exception as error:  # whatever went wrong is its owner's to hear, and nobody else's
            self.end(error)
            return
        if self.exhausted and not self.n_running and not self.paused:
            self.end(None)

    def end(self, error: Exception | None) -> None:
        """Decode no further, and say so; once."""
        if self.ended:
            return
        self.ended = True
        if error is not None:
            self.job.cancel()
        try:
            self.on_end(error)
        except Exception:  # the others shall not suffer for it
            logger.exception("the end of a recording could not be told")


class Turn:
    """A passage while it has a place; it gives way between two windows where others wait, and goes on later."""

    def __init__(self, performance: Performance, passage: Passage) -> None:
        self.performance, self.passage = performance, passage
        self.give_way: Callable[[], bool] = lambda: False
        self.gave_way = False
        self._steps = passage.steps()
        self._put_off: Attempt | None = None

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.passage.cancelled

    @property
    def error(self) -> Exception | None:
        """What went wrong in it."""
        return self.passage.error

    @error.setter
    def error(self, error: Exception | None) -> None:
        self.passage.error = error

    @property
    def through(self) -> bool:
        """Whether nothing more comes of the passage."""
        return self.passage.finished or self.passage.error is not None or self.passage.cancelled

    def steps(self) -> Generator[Attempt, DecodingResult, None]:
        """The attempts of the passage, until there are no more or it gives way."""
        attempt, self._put_off, self.gave_way = self._put_off, None, False
        try:
            if attempt is None:
                attempt = next(self._steps)
            while True:
                result = yield attempt
                attempt = self._steps.send(result)
                if self.give_way():
                    self._put_off, self.gave_way = attempt, True
                    return
        except StopIteration:
            return
        except GeneratorExit:
            self._steps.close()
            raise


class Conductor:
    """A thread that decodes up to `n_windows` windows at a time, of whichever recordings there are.

    Places go to the recordings in turn, the one with the fewest windows under way first, and a recording that has had
    one for a window gives it to another that has none: long ones do not keep short ones waiting. What has to be decoded
    apart gets as much time as all that share the lanes. `submit` may be called from any thread; `close` ends what is
    under way.
    """

    def __init__(self, backend: Backend, n_windows: int = 8) -> None:
        self.backend, self.n_windows = backend, n_windows
        self._scheduler = Scheduler(backend, n_windows)
        self._waiting: deque[Performance] = deque()
        self._running: list[Turn] = []
        self._open: set[Performance] = set()
        self._n_steps = 0
        self._owed_s = 0.0  # to the lanes, for what was decoded apart
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="viska-conductor", daemon=True)
        self._thread.start()

    def submit(self, performance: Performance) -> None:
        """Take a recording in. Raises RuntimeError once closed."""
        with self._changed:
            if self._closed:
                raise RuntimeError("this conductor is closed")
            self._open.add(performance)
            self._waiting.append(performance)
            self._changed.notify()

    def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        with self._changed:
            self._closed = True
            for performance in self._open:
                performance.cancel()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while self._wait_for_work():
            try:
                self._go_on()
            except Exception as error:  # a step fails for all whose windows it decoded, and for nobody who comes later
                logger.exception("a step of the decoder failed")
                self._give_up(error)

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._has_work or self._closed)
            return self._has_work or not self._closed

    @property
    def _has_work(self) -> bool:
        # The scheduler lets go of what was cancelled at its next step.
        return bool(self._waiting or self._running or self._scheduler.busy)

    def _go_on(self) -> None:
        """Fill the places, and one step of the decoder."""
        self._end_cancelled()
        # So many and no more: one that gives way at once does not begin again before the others had their step.
        for _ in range(len(self._waiting)):
            if not self._scheduler.room or (performance := self._next()) is None:
                break
            self._begin(performance)
        self._n_steps += 1
        began = time.monotonic()
        done = self._scheduler.advance()
        self._owed_s = max(0.0, self._owed_s - (time.monotonic() - began))
        for task in done:
            assert isinstance(task, Turn)
            self._see_to(task)
        for turn in [turn for turn in self._running if turn.cancelled]:
            self._see_to(turn)

    def _end_cancelled(self) -> None:
        with self._changed:
            cancelled = [waiting for waiting in self._waiting if waiting.job.cancelled]
        for performance in cancelled:
            performance.look_ahead()
            self._report(performance)

    def _next(self) -> Performance | None:
        """The recording whose turn it is: of those with the fewest windows under way, the one that waits longest."""
        lanes_first = self._owed_s > 0 and self._scheduler.busy
        with self._changed:
            able = [waiting for waiting in self._waiting if not (waiting.apart and lanes_first)]
            if not able:
                return None
            performance = min(able, key=lambda waiting: waiting.n_running)
            self._waiting.remove(performance)
            return performance

    def _begin(self, performance: Performance) -> None:
        try:
            turn = performance.next_turn()
        except Exception as error:  # of this recording alone
            self._end(performance, error)
            return
        if turn is None:
            self._report(performance)
            return
        performance.n_running += 1
        self._running.append(turn)
        self._wait_again(performance)
        turn.give_way = self._give_way(performance)
        began = time.monotonic()
        self._scheduler.begin(turn)
        if performance.apart:
            self._owed_s += time.monotonic() - began
        self._see_to(turn)

    def _wait_again(self, performance: Performance) -> None:
        with self._changed:
            if performance not in self._waiting and not performance.ended:
                self._waiting.append(performance)

    def _give_way(self, performance: Performance) -> Callable[[], bool]:
        """Whether a recording that was given a window's result should let others go first."""
        began = self._n_steps

        def give_way() -> bool:
            nonlocal began
            at_once, began = began == self._n_steps, self._n_steps
            if at_once and len(self._running) > 1:  # decoded apart, while the windows of others stood still
                return True
            with self._changed:
                others = (waiting for waiting in self._waiting if waiting is not performance)
                return any(not other.n_running for other in others) and (at_once or not self._scheduler.room)

        return give_way

    def _see_to(self, turn: Turn) -> None:
        """Report what a passage decided, and whether it is through."""
        if turn not in self._running:
            return
        performance = turn.performance
        if turn.through or turn.gave_way:
            self._running.remove(turn)
            performance.n_running -= 1
            if turn.gave_way and not turn.through:
                performance.paused.append(turn)
                self._wait_again(performance)
        self._report(performance)

    def _report(self, performance: Performance) -> None:
        try:
            if not performance.n_running:
                performance.look_ahead()  # that it was the last is told now, and not when there is a place again
        except Exception as error:
            performance.end(error)
        performance.report()
        self._forget_ended(performance)

    def _end(self, performance: Performance, error: Exception) -> None:
        performance.end(error)
        self._forget_ended(performance)

    def _forget_ended(self, performance: Performance) -> None:
        if performance.ended:
            with self._changed:
                self._open.discard(performance)
                if performance in self._waiting:
                    self._waiting.remove(performance)

    def _give_up(self, error: Exception) -> None:
        """End all that is under way, and begin with empty lanes."""
        self._scheduler = Scheduler(self.backend, self.n_windows)
        failed, self._running = self._running, []
        for performance in dict.fromkeys(turn.performance for turn in failed):
            performance.n_running = 0
            self._end(performance, error)
