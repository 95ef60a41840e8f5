"""The recogniser behind the server: jobs to transcripts, in threads."""

import gc
import threading
import weakref
from concurrent.futures import CancelledError

import pytest

import viska
from made_up import made_up_model
from serving import tone, wait_until
from viska.errors import AudioError
from viska.server.models import ModelStore
from viska.server.recogniser import Job, Readers, ThreadRecogniser, token_bytes_of

OPTIONS = {
    "language": "en",
    "temperature": (0.0,),
    "sample_len": 8,
    "no_speech_threshold": None,
    "logprob_threshold": None,
}


@pytest.fixture
def recogniser():
    made = ThreadRecogniser(ModelStore(["a"], lambda name: made_up_model()), n_workers=1)
    yield made
    made.close()


def test_a_job_gives_what_transcribe_gives(recogniser):
    heard = []
    job = Job(tone(40), "a", OPTIONS, heard.append)
    recogniser.submit(job)
    transcript = job.result(60)
    assert transcript == viska.transcribe(made_up_model(), tone(40), **OPTIONS)
    assert tuple(heard) == transcript.segments
    assert job.done
    assert job.duration_s == job.position_s == 40


def test_what_goes_wrong_is_told_and_the_thread_goes_on(recogniser):
    bad, good = Job(b"no sound", "a", OPTIONS), Job(tone(), "a", OPTIONS)
    recogniser.submit(bad)
    recogniser.submit(good)
    with pytest.raises(AudioError):
        bad.result(60)
    assert good.result(60).language == "en"


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_before_the_next_segment(recogniser):
    begun, go_on = threading.Event(), threading.Event()

    def hold(segment):
        begun.set()
        go_on.wait(10)

    long, waiting = Job(tone(300), "a", OPTIONS, hold), Job(tone(), "a", OPTIONS)
    recogniser.submit(long)
    recogniser.submit(waiting)
    assert begun.wait(30)
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(0)
    long.cancel()
    go_on.set()
    assert len(long.result(60).segments) < 10
    assert long.position_s < 300


@pytest.mark.parametrize("multilingual", [False, True])
def test_a_job_that_is_done_keeps_nothing_of_its_recording(recogniser, monkeypatch, multilingual):
    """A heap that waits for the search for rings is gigabytes by then."""
    kept = []
    read = Readers._read

    def spy(*arguments):
        transcription = read(*arguments)
        kept.append(weakref.ref(transcription))
        kept.append(weakref.ref(transcription.mel))
        return transcription

    monkeypatch.setattr(Readers, "_read", staticmethod(spy))
    options = {**OPTIONS, "language": None, "multilingual": True} if multilingual else OPTIONS
    gc.collect()
    gc.disable()
    try:
        jobs = [Job(tone(40), "a", options) for _ in range(2)]
        for job in jobs:
            recogniser.submit(job)
        assert all(job.result(60).segments is not None for job in jobs)
        wait_until(lambda: not any(reference() for reference in kept))
    finally:
        gc.enable()
    assert len(kept) == 4


def test_closing_cancels_what_is_left(recogniser):
    jobs = [Job(tone(600), "a", OPTIONS) for _ in range(3)]
    for job in jobs:
        recogniser.submit(job)
    wait_until(lambda: jobs[0].future.running())
    recogniser.close()
    assert all(job.done for job in jobs)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("recogniser")] == []


def test_the_bytes_of_tokens_join_to_what_the_tokenizer_decodes():
    model = made_up_model()
    token_bytes = token_bytes_of(model)
    tokenizer = viska.tokenizer.get_tokenizer(True, language="en", task="transcribe")
    tokens = [*tokenizer.encode(" naïve 日本 👍"), tokenizer.timestamp_begin + 3]
    assert b"".join(map(token_bytes, tokens)).decode() == tokenizer.decode(tokens) == " naïve 日本 👍"
