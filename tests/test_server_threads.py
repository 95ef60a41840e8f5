"""Which threads of the server compute with all processors: those that decode."""

import threading

import pytest
import torch

from made_up import made_up_model
from viska.server.models import ModelStore
from viska.server.recogniser import Job, Readers, ThreadRecogniser
from viska.server.threads import compute_alone, others_alone
from viska.transcription.scheduler import Scheduler

N_THREADS = 3


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(N_THREADS)
    yield
    torch.set_num_threads(before)


def in_a_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_that_computes_alone_leaves_the_others_as_they_are():
    def alone():
        compute_alone()
        return torch.get_num_threads()

    with others_alone():
        assert in_a_thread(alone) == 1
    assert torch.get_num_threads() == N_THREADS
    assert in_a_thread(torch.get_num_threads) == N_THREADS


def test_recordings_are_read_alone():
    readers = Readers()
    assert readers._short.submit(torch.get_num_threads).result() == 1
    assert readers._long.submit(torch.get_num_threads).result() == 1
    readers.close()
    assert in_a_thread(torch.get_num_threads) == N_THREADS


def test_of_the_threads_of_a_recogniser_only_the_one_that_decodes_has_helpers(monkeypatch):
    seen = {"worker": set(), "conductor": set()}

    def load(name):
        seen["worker"].add(torch.get_num_threads())
        return made_up_model()

    advance = Scheduler.advance

    def watched(self):
        seen["conductor"].add(torch.get_num_threads())
        return advance(self)

    monkeypatch.setattr(Scheduler, "advance", watched)
    recogniser = ThreadRecogniser(ModelStore(["a"], load), n_workers=2)
    job = Job(torch.zeros(16000).numpy(), "a", {"language": "en", "temperature": 0.0, "guard": False})
    recogniser.submit(job)
    job.result(timeout=60)
    recogniser.close()
    assert seen == {"worker": {1}, "conductor": {N_THREADS}}
