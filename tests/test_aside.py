"""Sound decoded aside: nothing that a signal's handler raises is lost, and nothing else changes."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sound_files import riff, tone
from viska._aside import aside
from viska.audio import load_audio
from viska.recording import Recording

MOMENTS = 40
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGINT to send nor alarms")


class Rung(BaseException):
    """What the handler of the alarm raises."""


class Alarm:
    """Rings once, and tells whether it did since it was set."""

    rang = False

    def ring_in(self, seconds):
        if seconds:
            self.rang = False
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def ring(self, *_):
        self.rang = True
        raise Rung


@pytest.fixture
def alarm():
    alarm = Alarm()
    before = signal.signal(signal.SIGALRM, alarm.ring)
    remaining_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)  # that of a time limit of the whole test
    yield alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, remaining_s)


def seconds_of(read, audio):
    began = time.perf_counter()
    read(audio)
    return time.perf_counter() - began


def sound(seconds):
    return riff((tone(seconds=seconds) * 20000).astype("<i2"))


@needs_signals
@pytest.mark.parametrize("read", [load_audio, Recording])
def test_what_a_handler_raises_comes_out_whenever_it_rings(alarm, read):
    wav = sound(150)
    whole_s = min(seconds_of(read, wav) for _ in range(4))
    n_rung = 0
    for moment in range(MOMENTS):
        came_out = False
        try:
            alarm.ring_in(whole_s * (moment + 1) / (MOMENTS + 2))
            read(wav)
            alarm.ring_in(0)  # not any more
        except Rung:
            came_out = True
        assert came_out == alarm.rang, f"lost at moment {moment} of {MOMENTS}"
        n_rung += came_out
    assert n_rung > MOMENTS / 4


@needs_signals
@pytest.mark.filterwarnings("error")
def test_ctrl_c_while_a_file_object_is_read():
    class Interrupting(io.BytesIO):
        n_reads = 0

        def read(self, size=-1):
            self.n_reads += size != 0
            if self.n_reads == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().read(size)

    file = Interrupting(sound(150))
    with pytest.raises(KeyboardInterrupt):
        load_audio(file)
    assert not file.closed
    assert file.n_reads >= 3


def test_errors_come_through_and_a_file_object_keeps_its_own():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 100_000:
                raise RuntimeError("the reader is out of order")
            return super().read(size)

    with pytest.raises(RuntimeError, match="out of order"):
        load_audio(Broken(sound(30)))


def test_no_thread_is_left():
    before = set(threading.enumerate())
    load_audio(sound(1))
    blocks = aside(memoryview(bytes(2**18)) for _ in range(9))
    next(blocks)
    blocks.close()
    assert set(threading.enumerate()) <= before


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 2**18 + 3), max_size=6), st.data())
def test_bytes_stay_as_they_are(sizes, data):
    content = np.random.default_rng(data.draw(st.integers(0, 9))).bytes(sum(sizes))
    edges = np.cumsum([0, *sizes])
    blocks = [memoryview(content)[start:end] for start, end in pairwise(edges)]
    found = list(aside(block for block in blocks))
    assert b"".join(found) == content
    assert all(len(batch) >= 2**18 for batch in found[:-1])


def test_a_program_whose_main_thread_is_through_may_still_read(recordings):
    program = """if True:
        import sys, threading, time
        from viska import load_audio

        def read():
            threading.main_thread().join()
            print(load_audio(sys.argv[1]).size)

        threading.Thread(target=read).start()
    """
    path = str(recordings / "sense_and_sensibility_0870.wav")
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout, done.stderr) == (f"{load_audio(path).size}\n", "")


def test_what_is_given_up_is_closed_in_its_thread():
    threads = []

    def blocks():
        try:
            while True:
                threads.append(threading.current_thread())
                yield memoryview(bytes(2**17))
        finally:
            threads.append(threading.current_thread())

    running = aside(blocks())
    assert len(next(running)) == 2**18
    running.close()
    assert len(threads) == 3
    assert set(threads) != {threading.current_thread()}
    assert len(set(threads)) == 1
