"""Contenders one after the other over the same recordings, in rounds, so that a slow minute of the machine hits all."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.speed import machine
from benchmarks.speed.client import Worker, WorkerError
from benchmarks.speed.contenders import Contender
from benchmarks.speed.engines import Engines
from benchmarks.speed.errors import error_rate
from benchmarks.speed.recordings import Recording, seconds_of

HOPELESS = 1.15
"""A contender that takes so many times as long as the best of its engine is not asked again."""


@dataclass
class Result:
    """What a contender did: seconds of each round, and of each recording in each round.

    `disturbed` is how much of one processor other processes had in each round.
    """

    contender: Contender
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    each: list[list[float]] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)
    error_rate: float = 0.0
    peak_bytes: int = 0
    failure: str | None = None

    @property
    def typical(self) -> float:
        """The median round."""
        return median(self.seconds)

    def latencies(self) -> list[float]:
        """For each recording its median over the rounds, ascending."""
        return sorted(median(times) for times in zip(*self.each, strict=True))

    def take(self, answer: dict[str, Any], recordings: Sequence[Recording]) -> None:
        """Add a round."""
        self.seconds.append(answer["seconds"])
        self.cpu_seconds.append(answer["cpu_seconds"])
        self.each.append([one.get("seconds") or 0.0 for one in answer["answers"]])
        self.peak_bytes = answer["peak_bytes"]
        self.error_rate = error_rate(recordings, [one["text"] for one in answer["answers"]])


@dataclass(frozen=True)
class Race:
    """A table of results: `title` for people, `key` for programs."""

    key: str
    title: str
    audio_s: float
    results: list[Result]

    @property
    def finished(self) -> list[Result]:
        """Those without failures."""
        return [result for result in self.results if result.seconds and result.failure is None]

    @property
    def baseline(self) -> Result | None:
        """Viska's, which the others are compared with."""
        return next((result for result in self.finished if result.contender.is_baseline), None)

    @property
    def disturbed(self) -> float:
        """The most of one processor that other processes had in any round."""
        return max((part for result in self.finished for part in result.disturbed), default=0.0)

    def fastest(self, rival: str) -> Result | None:
        """The fastest configuration of a rival (or of Viska), see `Contender.rival`."""
        own = [result for result in self.finished if result.contender.rival == rival]
        return min(own, key=lambda result: result.typical, default=None)


def race(
    key: str,
    title: str,
    contenders: Sequence[Contender],
    engines: Engines,
    recordings: Sequence[Recording],
    warm_up: Sequence[Recording],
    rounds: int,
) -> Race:
    """Start all, warm all up, then let them take turns."""
    found = Race(key, title, seconds_of(recordings), [Result(contender) for contender in contenders])
    with ExitStack() as stack:
        workers = {}
        for result in found.results:
            try:
                workers[result.contender] = worker = stack.enter_context(Worker(result.contender, engines))
                worker.transcribe(warm_up)
            except WorkerError as error:
                result.failure = str(error)
                _tell(str(error))
        for number in range(rounds):
            for result in found.results[:: 1 if number % 2 == 0 else -1]:
                if result.failure is None and worth_asking(result, found):
                    _ask(result, workers[result.contender], recordings)
    return found


def worth_asking(result: Result, found: Race) -> bool:
    """Whether one more round may change anything."""
    best = found.fastest(result.contender.rival)
    hopeless = best is not None and bool(result.seconds) and result.seconds[0] > HOPELESS * best.seconds[0]
    return result.contender.is_baseline or not hopeless


def _ask(result: Result, worker: Worker, recordings: Sequence[Recording]) -> None:
    try:
        busy = machine.busy_seconds()
        answer = worker.transcribe(recordings)
        others = machine.busy_seconds() - busy - answer["cpu_seconds"]
        result.disturbed.append(max(others, 0.0) / answer["seconds"])
        result.take(answer, recordings)
        _tell(f"{result.contender.name}: {result.seconds[-1]:.2f} s, others {result.disturbed[-1]:.0%}")
    except WorkerError as error:
        result.failure = str(error)
        _tell(str(error))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
