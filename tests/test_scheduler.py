"""The scheduler: many tasks at once, each at its own pace, and none at the cost of another."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viska.decoding import DecodingOptions
from viska.transcription.backend import Attempt, Backend
from viska.transcription.scheduler import Scheduler

HEARD = SimpleNamespace(features=None, memory=None)


def attempt(n_steps, **options):
    """An attempt that takes so many steps of the decoder after the first token; its result is told by its length."""
    return Attempt(HEARD, DecodingOptions(prefix=[n_steps], **options))


class SlowLane:
    """A lane in which windows take as many steps as their prefix says."""

    def __init__(self, options, n_windows, log):
        self.options, self.n_windows, self.log = options, n_windows, log
        self.left, self.length = {}, {}

    @property
    def busy(self):
        return bool(self.left)

    def admit(self, ticket, features, memory, options, *, stop_loops=False):
        (length,) = options.prefix
        if length < 0:
            raise ValueError("no place for this one")
        if length == 0:
            return 0
        self.left[ticket] = self.length[ticket] = length
        assert len(self.left) <= self.n_windows
        self.log.append(("in", ticket))
        return None

    def step(self):
        self.log.append(("step", len(self.left)))
        self.left = {ticket: left - 1 for ticket, left in self.left.items()}
        done = [ticket for ticket, left in self.left.items() if left == 0]
        for ticket in done:
            del self.left[ticket]
        return [(ticket, self.length[ticket]) for ticket in reversed(done)]

    def drop(self, ticket):
        if self.left.pop(ticket, None) is not None:
            self.log.append(("dropped", ticket))


class SlowBackend(Backend):
    def __init__(self, *, lanes=True):
        self.log, self.lanes, self.made = [], lanes, 0

    def encode(self, mel):
        raise AssertionError

    detect_language = read = encode

    def decode(self, attempt):
        self.log.append(("alone", attempt.options.prefix[0]))
        return attempt.options.prefix[0]

    def lane(self, options, n_windows):
        self.made += 1
        return SlowLane(options, n_windows, self.log) if self.lanes else None


class Job:
    """A task whose attempts take these numbers of steps; an exception among them is raised instead."""

    def __init__(self, *lengths, options=None):
        self.lengths, self.options = lengths, options or {}
        self.error, self.cancelled, self.finished, self.closed = None, False, False, False
        self.results = []

    def steps(self):
        try:
            for length in self.lengths:
                if isinstance(length, Exception):
                    raise length
                self.results.append((yield attempt(length, **self.options)))
            self.finished = True
        finally:
            self.closed = True


def run(jobs, n_windows, backend=None):
    backend = backend or SlowBackend()
    return list(Scheduler(backend, n_windows).run(jobs)), backend


lengths = st.lists(st.lists(st.integers(0, 6), max_size=4), max_size=8)


@given(lengths, st.integers(1, 5))
def test_every_task_gets_the_results_of_its_own_attempts(asked, n_windows):
    jobs = [Job(*own) for own in asked]
    seen, backend = run(jobs, n_windows)
    for job, own in zip(jobs, asked, strict=True):
        assert job.results == own
        assert (job.finished, job.closed, job.error) == (True, True, None)
        assert job in seen
    steps = [taken for kind, taken in backend.log if kind == "step"]
    assert sum(steps) == sum(map(sum, asked))  # none is taken for nothing
    assert all(taken <= n_windows for taken in steps)


def test_a_place_that_is_free_is_taken_at_once():
    _, backend = run([Job(5), Job(1), Job(2), Job(1)], 2)
    assert [taken for kind, taken in backend.log if kind == "step"] == [2, 2, 2, 2, 1]


def test_tasks_are_taken_when_there_is_room_for_them():
    begun = []

    def coming():
        for number in range(4):
            begun.append(number)
            yield Job(3)

    going = Scheduler(SlowBackend(), 2).run(coming())
    next(going)
    assert begun == [0]
    next(going)
    assert begun == [0, 1]
    next(going)
    assert begun == [0, 1]  # until one of them got on


@pytest.mark.parametrize("place", [0, 1])
def test_a_task_that_raises_does_not_hurt_the_others(place):
    wrong = ValueError("no")
    bad, good = Job(*([2] * place), wrong, 2), Job(4, 1)
    run([bad, good, Job()], 3)
    assert (bad.error, bad.finished, bad.results, bad.closed) == (wrong, False, [2] * place, True)
    assert (good.error, good.finished, good.results) == (None, True, [4, 1])


def test_an_attempt_that_is_not_accepted_is_the_error_of_its_task():
    bad, good = Job(1, -1), Job(3)
    run([bad, good], 2)
    assert str(bad.error) == "no place for this one"
    assert bad.closed
    assert good.finished


def test_a_cancelled_task_ends_within_a_step_and_keeps_what_it_has():
    backend = SlowBackend()
    scheduler = Scheduler(backend, 2)
    leaving, staying = Job(1, 50, 1), Job(4)
    for job in (leaving, staying):
        scheduler.begin(job)
    scheduler.advance()
    assert leaving.results == [1]
    leaving.cancelled = True
    before = len(backend.log)
    scheduler.advance()
    assert backend.log[before:] == [("dropped", 0), ("step", 1)]  # not one more step of it
    assert (leaving.closed, leaving.finished, leaving.results, leaving.error) == (True, False, [1], None)
    assert scheduler.room == 1
    while scheduler.busy:
        scheduler.advance()
    assert staying.results == [4]


def test_a_task_that_is_cancelled_while_it_gets_on_begins_nothing_new():
    class Leaver(Job):
        def steps(self):
            self.results.append((yield attempt(1)))
            self.cancelled = True
            yield attempt(9)
            raise AssertionError

    leaver = Leaver()
    _, backend = run([leaver], 1)
    assert leaver.results == [1]
    assert [kind for kind, _ in backend.log] == ["in", "step"]


def test_without_lanes_each_attempt_is_decoded_alone():
    jobs = [Job(3, 1), Job(2)]
    _, backend = run(jobs, 2, SlowBackend(lanes=False))
    assert [job.results for job in jobs] == [[3, 1], [2]]
    assert backend.log == [("alone", 3), ("alone", 1), ("alone", 2)]


def test_other_options_are_another_lane_which_goes_when_nobody_is_in_it():
    backend = SlowBackend()
    scheduler = Scheduler(backend, 3)
    for job in (Job(3), Job(1, options={"temperature": 0.4}), Job(2)):
        scheduler.begin(job)
    assert backend.made == 2
    while scheduler.busy:
        scheduler.advance()
    scheduler.begin(Job(1, options={"temperature": 0.6}))
    assert (backend.made, len(scheduler._lanes)) == (3, 1)


def test_nothing_to_do():
    assert run([], 2)[0] == []
    scheduler = Scheduler(SlowBackend(), 2)
    assert (scheduler.room, scheduler.busy, scheduler.advance()) == (2, False, [])
