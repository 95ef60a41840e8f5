"""The conductor: recordings that come at any time share batches, and none waits for ever for another."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import wait_until
from viska.decoding import DecodingOptions
from viska.transcription.backend import Attempt, Backend
from viska.transcription.conductor import Conductor, Performance

HEARD = SimpleNamespace(features=None, memory=None)


class Lane:
    """Windows take as many steps as their prefix says; a step waits until it may go."""

    def __init__(self, n_windows, backend):
        self.n_windows, self.backend = n_windows, backend
        self.left, self.length = {}, {}

    @property
    def busy(self):
        return bool(self.left)

    def admit(self, ticket, features, memory, options, *, stop_loops=False):
        (length,) = options.prefix
        if length == 0:
            return 0
        self.left[ticket] = self.length[ticket] = length
        assert len(self.left) <= self.n_windows
        return None

    def step(self):
        assert self.backend.go.wait(20)
        self.backend.steps.append(len(self.left))
        if self.backend.fault is not None:
            fault, self.backend.fault = self.backend.fault, None
            raise fault
        time.sleep(self.backend.step_s)
        self.left = {ticket: left - 1 for ticket, left in self.left.items()}
        done = [ticket for ticket, left in self.left.items() if left == 0]
        for ticket in done:
            del self.left[ticket]
        return [(ticket, self.length[ticket]) for ticket in done]

    def drop(self, ticket):
        self.left.pop(ticket, None)


class SlowBackend(Backend):
    """Lanes for all but what asks for the log-probabilities of tokens, which is decoded apart."""

    def __init__(self, step_s=0.0):
        self.step_s, self.steps, self.apart, self.fault = step_s, [], 0, None
        self.go = threading.Event()
        self.go.set()

    def encode(self, mel):
        raise AssertionError

    detect_language = read = encode

    def decode(self, attempt):
        time.sleep(10 * self.step_s)
        self.apart += 1
        return attempt.options.prefix[0]

    def lane(self, options, n_windows):
        return None if options.token_logprobs else Lane(n_windows, self)


class Passage:
    """Its attempts take these numbers of steps; an exception among them is raised instead."""

    def __init__(self, job, lengths):
        self.job, self.lengths = job, lengths
        self.error, self.finished, self.closed = None, False, False

    @property
    def cancelled(self):
        return self.job.cancelled

    def steps(self):
        try:
            for length in self.lengths:
                if isinstance(length, Exception):
                    raise length
                attempt = Attempt(HEARD, DecodingOptions(prefix=[length], token_logprobs=self.job.apart))
                result = yield attempt
                self.job.decided.append(result)
            self.finished = True
        finally:
            self.closed = True


class Job:
    """A recording with some passages, each of them a list of lengths; in place of a list it may have an exception."""

    def __init__(self, *passages, apart=False):
        self.made, self.given, self.apart = [], passages, apart
        self.cancelled, self.decided, self.segments = False, [], []
        self.options = SimpleNamespace(decoding=DecodingOptions(token_logprobs=apart))
        self.ended = threading.Event()
        self.error = None

    def passages(self):
        for lengths in self.given:
            if isinstance(lengths, Exception):
                raise lengths
            self.made.append(Passage(self, lengths))
            yield self.made[-1]

    def collect(self):
        news, self.decided = self.decided, []
        for passage in self.made:
            if passage.error is not None:
                raise passage.error
        yield from news

    def cancel(self):
        self.cancelled = True

    def end(self, error):
        assert not self.ended.is_set(), "it ended twice"
        self.error = error
        self.ended.set()

    def submit(self, conductor):
        conductor.submit(Performance(self, self.segments.append, self.end))
        return self


@pytest.fixture
def conduct():
    made = []

    def make(n_windows, **options):
        made.append(Conductor(SlowBackend(**options), n_windows))
        return made[-1], made[-1].backend

    yield make
    for conductor in made:
        conductor.backend.go.set()
        conductor.close()


def test_windows_of_different_recordings_share_steps(conduct):
    conductor, backend = conduct(4)
    backend.go.clear()
    first = Job([3]).submit(conductor)
    wait_until(lambda: first.made)
    others = [Job([2]).submit(conductor) for _ in range(3)]
    backend.go.set()
    for job in (first, *others):
        assert job.ended.wait(10)
        assert job.error is None
    assert backend.steps[:3] == [1, 4, 4]


def test_a_recording_in_windows_fills_the_places_that_others_leave(conduct):
    conductor, backend = conduct(4)
    backend.go.clear()
    many = Job(*[[20]] * 10).submit(conductor)
    wait_until(lambda: many.made)
    one = Job([20]).submit(conductor)
    backend.go.set()
    assert one.ended.wait(10)
    assert len(many.segments) < 5
    assert many.ended.wait(10)
    assert max(backend.steps) == 4


@pytest.mark.parametrize("n_long", [2, 7])
def test_long_recordings_in_order_do_not_keep_a_short_one_waiting(conduct, n_long):
    conductor, _ = conduct(2, step_s=0.001)
    long = [Job([5] * 60).submit(conductor) for _ in range(n_long)]
    wait_until(lambda: all(job.segments for job in long))  # each of them has had its turn
    short = Job([5]).submit(conductor)
    assert short.ended.wait(10)
    assert not any(job.ended.is_set() for job in long)
    assert max(len(job.segments) for job in long) < 50
    for job in long:
        assert job.ended.wait(20)
        assert job.segments == [5] * 60


def test_what_is_decoded_apart_does_not_stop_the_others(conduct):
    conductor, backend = conduct(4, step_s=0.001)
    apart = [Job([1] * 40, apart=True).submit(conductor) for _ in range(3)]
    wait_until(lambda: backend.apart > 3)
    shared = Job([60]).submit(conductor)
    assert shared.ended.wait(10)
    assert not any(job.ended.is_set() for job in apart)
    for job in apart:
        assert job.ended.wait(20)
        assert job.segments == [1] * 40


def test_the_last_window_ends_its_recording_though_there_is_no_room_for_another(conduct):
    conductor, backend = conduct(1)
    backend.go.clear()
    first = Job([1]).submit(conductor)
    wait_until(lambda: first.made)
    second = Job([10**6]).submit(conductor)
    backend.go.set()
    assert first.ended.wait(5)
    assert not second.ended.is_set()
    second.cancel()
    assert second.ended.wait(5)


def test_errors_are_their_owners_alone(conduct):
    conductor, backend = conduct(4)
    backend.go.clear()
    good = Job([3, 3]).submit(conductor)
    wait_until(lambda: good.made)
    bad = [
        Job(ValueError("no passage")),
        Job([1], ValueError("no second passage")),
        Job([2, ValueError("no window")]),
    ]
    for job in bad:
        job.submit(conductor)
    backend.go.set()
    for job in bad:
        assert job.ended.wait(5)
        assert isinstance(job.error, ValueError)
    assert good.ended.wait(5)
    assert (good.error, good.segments) == (None, [3, 3])


def test_a_step_that_fails_fails_for_those_in_it_and_the_conductor_goes_on(conduct, caplog):
    conductor, backend = conduct(2)
    backend.go.clear()
    jobs = [Job([3], [3]).submit(conductor) for _ in range(2)]
    wait_until(lambda: all(job.made for job in jobs) or backend.steps == [])
    backend.fault = MemoryError("no room")
    backend.go.set()
    wait_until(lambda: any(job.ended.is_set() for job in jobs))
    assert {type(job.error) for job in jobs if job.ended.is_set()} == {MemoryError}
    after = Job([2]).submit(conductor)
    assert after.ended.wait(5)
    assert after.segments == [2]
    assert "a step of the decoder failed" in caplog.text


def test_an_end_that_cannot_be_told_does_not_hurt_the_others(conduct, caplog):
    conductor, _ = conduct(1)

    def fail(error):
        raise RuntimeError("nobody is there")

    job = Job([1])
    conductor.submit(Performance(job, job.segments.append, fail))
    after = Job([1]).submit(conductor)
    assert after.ended.wait(5)
    assert "could not be told" in caplog.text


def test_a_segment_that_is_not_taken_ends_its_recording(conduct):
    conductor, _ = conduct(1)

    def fail(segment):
        raise RuntimeError("not this one")

    job = Job([1] * 10)
    conductor.submit(Performance(job, fail, job.end))
    assert job.ended.wait(5)
    assert "not this one" in str(job.error)
    assert job.cancelled
    assert Job([1]).submit(conductor).ended.wait(5)


def test_who_is_cancelled_ends_at_once_with_and_without_a_place(conduct):
    conductor, backend = conduct(1, step_s=0.001)
    running = Job([10**6]).submit(conductor)
    waiting = Job([10**6]).submit(conductor)
    wait_until(lambda: len(backend.steps) > 3)
    waiting.cancel()
    assert waiting.ended.wait(5)
    assert not running.ended.is_set()
    running.cancel()
    assert running.ended.wait(5)
    wait_until(lambda: running.made[0].closed)
    assert running.error is waiting.error is None
    assert running.segments == waiting.segments == []


def test_closing_ends_all_and_nothing_more_is_taken(conduct):
    conductor, backend = conduct(2, step_s=0.001)
    jobs = [Job(*[[10**6]] * 3).submit(conductor) for _ in range(5)]
    wait_until(lambda: len(backend.steps) > 3)
    conductor.close()
    assert all(job.ended.is_set() for job in jobs)
    with pytest.raises(RuntimeError, match="closed"):
        Job([1]).submit(conductor)


def test_cancelling_and_submitting_from_many_threads(conduct):
    conductor, _ = conduct(4)

    def one(number):
        job = Job([3, 4], [2], apart=number % 5 == 0).submit(conductor)
        if number % 3 == 0:
            job.cancel()
        assert job.ended.wait(20)
        return job

    with ThreadPoolExecutor(16) as pool:
        for number, job in enumerate(pool.map(one, range(200))):
            assert job.error is None
            if number % 3:
                assert sorted(job.segments) == [2, 3, 4]


lengths = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), max_size=3)


@settings(max_examples=40, deadline=None)
@given(given=st.lists(st.tuples(lengths, st.booleans()), min_size=1, max_size=8), n_windows=st.integers(1, 4))
def test_everybody_gets_all_of_the_own_results_in_order(given, n_windows):
    conductor = Conductor(SlowBackend(), n_windows)
    jobs = [Job(*passages, apart=apart).submit(conductor) for passages, apart in given]
    for job in jobs:
        assert job.ended.wait(20)
        assert job.error is None
    conductor.close()
    for job, (passages, _) in zip(jobs, given, strict=True):
        assert sorted(job.segments) == sorted(length for passage in passages for length in passage)
        if len(passages) == 1:
            assert job.segments == passages[0]
