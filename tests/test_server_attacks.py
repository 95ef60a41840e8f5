"""What somebody would send who means harm, or knows no better, to a server with its real recogniser."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

import viska.server.models
from made_up import made_up_model
from serving import Running, running, tone, wait_until, wav
from test_server_faults import HEAD, connect
from test_server_requests import error_of, form, inside, post
from viska.server.errors import ApiError
from viska.server.models import ModelStore
from viska.server.recogniser import LONG_S, Job, Readers, ThreadRecogniser
from viska.server.settings import Settings
from viska.transcription.backend import backend_for

SIZE_MB = sum(weights.numel() * weights.element_size() for weights in made_up_model().parameters()) / 1e6
# A made-up model never comes to an end by itself.
OPTIONS = {"language": "en", "temperature": (0.0,), "sample_len": 4}


def sent(content: bytes, **fields: str) -> bytes:
    """A request that is answered after one attempt."""
    return form(content, **{"model": "a", "language": "en", "temperature": "1e-9", **fields})


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    store = ModelStore(["a", "b"], lambda name: made_up_model(), budget_mb=1.5 * SIZE_MB)
    with running(Settings(model=("a", "b"), workers=4, max_queue=60), store) as found:
        yield found
        assert post(found, sent(tone(1)))[0] == 200


@pytest.fixture(autouse=True)
def left(server) -> Iterator[None]:
    """Whatever was done, the server is empty behind it."""
    yield
    wait_until(lambda: inside(server) == 0, 30)


HUGE = {
    "prompt": ["a" * 1_000_000, "hello " * 200_000, "👍🏽" * 100_000],
    "keywords": ["a" * 1_000_000, ",".join(map(str, range(100_000)))],
    "hotwords": [" " * 10 + "a" * 100_000],
    "seed": ["1" + "0" * 400, "-1", "9" * 5000, "1e3"],
    "temperature": ["1e999", "-0.1", "nan", "0" * 5000 + "2"],
    "beam_size": ["9" * 400, "17", "0"],
    "batch_size": ["0", "9", "1000000000"],
    "language": ["x" * 1_000_000],
    "known_speaker_names": ["a," * 100_000],
    "timestamp_granularities": ["word" * 100_000],
    "chunking_strategy": ['{"type": {"a": []}}', "{" * 100_000],
    "response_format": ["\0", "json" * 100_000],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param(field, value, id=f"{field}-{i}") for field, values in HUGE.items() for i, value in enumerate(values)],
)
def test_huge_and_strange_values_are_refused_at_once(server, field, value):
    began = time.monotonic()
    status, _, body = post(server, sent(tone(1), **{field: value}))
    assert status == 400
    assert error_of(body)["param"] in (field, "keywords")
    assert len(body) < 1000
    assert time.monotonic() < began + 10


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "<|endoftext|><|startoftranscript|>"},
        {"prompt": "\0"},
        {"prompt": "a" * 10_000},
        {"keywords": "<|endoftext|>"},
        {"languages": ",".join(["en"] * 50_000)},
        {"include": "logprobs," * 10_000},
        {f"f{number}": "x" for number in range(290)},
    ],
    ids=range(7),
)
def test_strange_values_that_do_no_harm(server, fields):
    noise = np.random.default_rng(3).normal(0, 0.1, 16000)
    assert post(server, sent(wav(np.clip(noise, -1, 1)), **fields))[0] == 200


@pytest.mark.parametrize("part", ["name", "value", "boundary"])
def test_heads_of_parts_without_an_end(server, part):
    body = sent(tone(1)).replace(b'name="model"', b'name="' + b"n" * 30_000_000 + b'"')
    if part == "value":
        body = sent(tone(1)).replace(
            b"Content-Disposition", b"X-Header: " + b"v" * 30_000_000 + b"\r\nContent-Disposition"
        )
    if part == "boundary":
        body = sent(tone(1)).replace(b"\r\n\r\n", b"\r\n", 1)
    status, _, answer = post(server, body)
    assert (status, error_of(answer)["code"]) == (400, "invalid_multipart")


PLAYLISTS = {
    "m3u8 of an address": "#EXTM3U\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
    "m3u8 of a file": "#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{path}'\n",
    "concat of an address": "ffconcat version 1.0\nfile '{url}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_files_that_name_other_files_and_addresses_open_none(server, kind, tmp_path):
    path = tmp_path / "secret.wav"
    path.write_bytes(tone(1))
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.5)
        port = trap.getsockname()[1]
        content = PLAYLISTS[kind].format(url=f"http://127.0.0.1:{port}/a.wav", path=path, port=port)
        status, _, body = post(server, sent(content.encode()))
        assert (status, error_of(body)["code"]) == (400, "invalid_audio")
        with pytest.raises(TimeoutError):
            trap.accept()


CALLS: list[object] = []


def test_the_server_opens_no_connection(server):
    own = threading.get_ident()

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto") and threading.get_ident() != own:
            CALLS.append(arguments)

    sys.addaudithook(note)  # for good: it cannot be taken away
    before = len(CALLS)
    assert post(server, sent(tone(1)))[0] == 200
    assert post(server, sent(tone(1), stream="true", response_format="verbose_json"))[0] == 200
    assert CALLS[before:] == []


def test_a_storm_of_clients_that_go_away(server):
    body = sent(wav(np.random.default_rng(1).normal(0, 0.05, 16000 * 20).clip(-1, 1)))
    began = time.monotonic()

    def come_and_go(number: int) -> None:
        with connect(server) as client, suppress(OSError):
            client.sendall(HEAD.encode() % len(body) + body[: len(body) if number % 3 else 1000])
            time.sleep(0.02 * (number % 5))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(come_and_go, range(120)))
    wait_until(lambda: inside(server) == 0, 30)
    assert time.monotonic() < began + 40


def test_two_models_that_fit_one_at_a_time_are_both_served():
    store = ModelStore(["a", "b"], lambda name: made_up_model(), budget_mb=1.5 * SIZE_MB)
    recogniser = ThreadRecogniser(store, n_workers=6)
    jobs = [Job(tone(1), "ab"[number % 4 == 0], OPTIONS) for number in range(24)]
    for job in jobs:
        recogniser.submit(job)
    for job in jobs:
        assert job.result(60).language == "en"
    assert len(store.loaded()) == 1
    recogniser.close()


def test_a_model_gets_its_room_though_another_is_asked_for_all_the_time(monkeypatch):
    monkeypatch.setattr(viska.server.models, "STAY_S", 0.3)
    store = ModelStore(["a", "b"], lambda name: made_up_model(), budget_mb=1.5 * SIZE_MB)
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            with store.use("a"):
                time.sleep(0.05)

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]  # one or the other always has it
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    began = time.monotonic()
    try:
        with store.use("b"):
            assert time.monotonic() < began + 10
            assert set(store.loaded()) == {"b"}
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_who_waits_for_room_gives_up_with_its_client_and_after_a_while(monkeypatch):
    store = ModelStore(["a", "b"], lambda name: made_up_model(), budget_mb=1.5 * SIZE_MB)
    with store.use("a"):
        monkeypatch.setattr(viska.server.models, "ROOM_PATIENCE_S", 0.3)
        with pytest.raises(ApiError) as caught, store.use("b"):
            pass
        assert (caught.value.status, caught.value.code) == (503, "model_busy")
        assert caught.value.headers["retry-after"] == "30"
        monkeypatch.setattr(viska.server.models, "ROOM_PATIENCE_S", 60.0)
        gone = threading.Event()
        threading.Timer(0.3, gone.set).start()
        with pytest.raises(CancelledError), store.use("b", given_up=gone.is_set):
            pass
        with store.use("a"):  # nobody is kept out by one that has given up
            pass
    with store.use("b"):
        assert set(store.loaded()) == {"b"}


def test_a_model_known_to_be_too_large_is_not_loaded_again():
    loads = []

    def load(name):
        loads.append(name)
        return made_up_model()

    store = ModelStore(["a"], load, budget_mb=SIZE_MB / 2)
    for _ in range(3):
        with pytest.raises(viska.errors.ModelError, match="memory budget"), store.use("a"):
            pass
    assert loads == ["a"]


class Held:
    """A recording whose reading waits to be let go."""

    def __init__(self, content: bytes) -> None:
        self.content, self.asked, self.go_on = content, threading.Event(), threading.Event()

    def read(self, size: int = -1) -> bytes:
        self.asked.set()
        assert self.go_on.wait(20)
        found, self.content = self.content[:size], self.content[size:]
        return found

    def seekable(self) -> bool:
        return False


def test_a_long_recording_that_is_being_read_keeps_no_short_one_waiting():
    recogniser = ThreadRecogniser(ModelStore(["a"], lambda name: made_up_model()), n_workers=1)
    held = Held(tone(1))
    long = Job(held, "a", OPTIONS)
    long.promised_s = LONG_S + 1
    recogniser.submit(long)
    assert held.asked.wait(10)
    short = Job(tone(1), "a", OPTIONS)
    recogniser.submit(short)
    assert short.result(20).language == "en"
    assert not long.done
    held.go_on.set()
    assert long.result(20).language == "en"
    recogniser.close()


def test_reading_ends_with_the_client():
    readers, model = Readers(), made_up_model()
    held = Held(tone(60))
    job = Job(held, "a", OPTIONS)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(readers.read, job, model, backend_for(model, reference=False))
        assert held.asked.wait(10)
        job.cancel()
        held.go_on.set()
        with pytest.raises(CancelledError):
            found.result(10)
    readers.close()
