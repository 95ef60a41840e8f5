"""Many passages worked through at once: their windows share the decoder's steps, each goes on at its own pace."""

from collections.abc import Generator, Iterable, Iterator
from itertools import count
from typing import Protocol

from viska.decoding import DecodingResult
from viska.engine import Lane, same_lane
from viska.transcription.backend import Attempt, Backend


class Task(Protocol):
    """What a scheduler works on: a passage, or anything else that asks for attempts."""

    error: Exception | None

    def steps(self) -> Generator[Attempt, DecodingResult, None]:
        """Yields attempts and is sent their results."""

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""


class Scheduler:
    """Works on up to `n_windows` tasks at a time, one window of each.

    A task that raises keeps its error, and the others go on; one that is cancelled is dropped before the next step.
    """

    def __init__(self, backend: Backend, n_windows: int = 1) -> None:
        self.backend, self.n_windows = backend, n_windows
        self._numbers = count()
        self._running: dict[int, tuple[Task, Generator[Attempt, DecodingResult, None]]] = {}
        self._lanes: dict[str, Lane] = {}

    @property
    def room(self) -> int:
        """How many more tasks may begin."""
        return self.n_windows - len(self._running)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._running)

    def run(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Work through all tasks; yields a task each time that it got on."""
        waiting = iter(tasks)
        while True:
            while self.room and (task := next(waiting, None)) is not None:
                self.begin(task)
                yield task
            if not self.busy:
                return
            yield from self.advance()

    def begin(self, task: Task) -> None:
        """Take a task in, up to its first attempt."""
        number = next(self._numbers)
        self._running[number] = task, task.steps()
        self._go_on(number, None)

    def advance(self) -> list[Task]:
        """One step of the decoder for every window; the tasks that got on by it."""
        for number, (task, _) in list(self._running.items()):
            if task.cancelled:
                self._drop(number)
        done = [finished for lane in list(self._lanes.values()) if lane.busy for finished in lane.step()]
        tasks = [self._running[number][0] for number, _ in done]
        for number, result in done:
            self._go_on(number, result)
        return tasks

    def _go_on(self, number: int, result: DecodingResult | None) -> None:
        """Give a task its result, and see to what it asks for next, until that has to wait for the decoder."""
        task, steps = self._running[number]
        try:
            while True:
                attempt = next(steps) if result is None else steps.send(result)
                if task.cancelled:
                    return self._drop(number)
                result = self._try(number, attempt)
                if result is None:
                    return None
        except StopIteration:
            del self._running[number]
        except Exception as error:  # of this task alone: the others shall not suffer for it
            task.error = error
            self._drop(number)

    def _try(self, number: int, attempt: Attempt) -> DecodingResult | None:
        """The result of an attempt, or None where it is on its way."""
        lane = self._lane(attempt)
        if lane is None:
            return self.backend.decode(attempt)
        heard = attempt.heard
        return lane.admit(number, heard.features, heard.memory, attempt.options, stop_loops=attempt.stop_loops)

    def _lane(self, attempt: Attempt) -> Lane | None:
        key = same_lane(attempt.options)
        if key not in self._lanes:
            lane = self.backend.lane(attempt.options, self.n_windows)
            if lane is None:
                return None
            # A lane's caches are large: none is kept for options that nobody uses at the moment.
            self._lanes = {**{name: known for name, known in self._lanes.items() if known.busy}, key: lane}
        return self._lanes[key]

    def _drop(self, number: int) -> None:
        _, steps = self._running.pop(number)
        steps.close()
        for lane in self._lanes.values():
            lane.drop(number)
