"""Freed memory goes back to the system, now and then."""

import threading

import numpy as np

from viska.server.memory import GiveBack


def test_it_is_not_done_more_often_than_is_worth_it():
    calls = []
    rarely, always = GiveBack(lambda: calls.append("rarely"), 3600), GiveBack(lambda: calls.append("always"), 0)
    for _ in range(3):
        rarely()
        always()
    assert calls == ["always"] * 3


def test_one_thread_does_it_and_the_others_go_on():
    begun, go_on, calls = threading.Event(), threading.Event(), []

    def slow():
        calls.append(1)
        begun.set()
        go_on.wait(10)

    give_back = GiveBack(slow, 0)
    thread = threading.Thread(target=give_back)
    thread.start()
    assert begun.wait(10)
    give_back()
    go_on.set()
    thread.join()
    assert calls == [1]


def test_the_c_library_of_this_machine_takes_it():
    arrays = [np.ones(10_000) for _ in range(1000)]
    del arrays[::2]
    GiveBack(every_s=0)()
    assert all(array.sum() == 10_000 for array in arrays)
