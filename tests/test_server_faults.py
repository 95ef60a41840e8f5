"""Faults of clients and of the machine: the server answers or closes, stays up, and leaves nothing behind."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving import Running, Scripted, no_models, running, says, tone, wait_until
from test_server_requests import BOUNDARY, error_of, form, inside, post
from viska.server.settings import Settings

HEAD = (
    "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\n"
    f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: %d\r\n\r\n"
)


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Running]:
    """A server with little patience, that has to be well and empty in the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    recogniser = Scripted(says(" One."))
    settings = Settings(workers=1, max_queue=3, idle_timeout=0.5, upload_timeout=2.0, max_upload=20.0)
    with running(settings, no_models(), recogniser) as found:
        yield found
        wait_until(lambda: inside(found) == 0)
        assert post(found, form())[0] == 200
        wait_until(lambda: all(job.done and job.audio.closed for job in recogniser.jobs))
    assert list(tmp_path.iterdir()) == []


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def rest(client: socket.socket) -> bytes:
    """All that the server still says until it closes."""
    found = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            found += part
    return found


def test_clients_killed_in_mid_upload(server):
    for _ in range(20):
        with connect(server) as client:
            client.sendall(HEAD.encode() % 10_000_000 + form()[:200] + b"\0" * 300_000)
    wait_until(lambda: inside(server) == 0)


def test_clients_that_stop_sending(server):
    with connect(server) as client:
        client.sendall(HEAD.encode() % 10_000_000 + form()[:200])
        answer = rest(client)
    assert answer.startswith(b"HTTP/1.1 408")
    assert error_of(answer.partition(b"\r\n\r\n")[2])["code"] == "upload_timeout"


def test_clients_that_send_byte_by_byte(server):
    with connect(server) as client, suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(HEAD.encode() % 10_000)
        began = time.monotonic()
        while time.monotonic() < began + 10:
            client.sendall(b"-")
            time.sleep(0.1)
        pytest.fail("the server waited for ever")
    assert time.monotonic() < began + 6


def test_headers_that_never_end(server):
    for opening in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nA: b\r\n"):
        with connect(server) as client:
            client.sendall(opening)
            assert rest(client) == b""


def test_a_connection_that_is_kept_open_for_nothing_is_closed(server):
    with connect(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in rest(client)


def test_garbage_in_place_of_http(server):
    generator = random.Random(4)
    for _ in range(50):
        with connect(server) as client:
            with suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(generator.randbytes(generator.randrange(1, 2000)) + b"\r\n\r\n")
                client.shutdown(socket.SHUT_WR)
            answer = rest(client)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_garbage_in_a_form(server):
    generator = random.Random(5)
    for _ in range(60):
        body = bytearray(form())
        for _ in range(generator.randrange(1, 40)):
            # The head of the file and what stands before it: where it counts.
            body[generator.randrange(0, 400)] = generator.randrange(256)
        status, _, answer = post(server, bytes(body))
        assert status in (200, 400, 404), answer
        if status != 200:
            error_of(answer)


def test_a_recording_cut_at_every_place(server):
    whole = tone(0.1)
    for length in [*range(1, 60), 100, 1000]:
        status, _, answer = post(server, form(whole[:length]))
        assert status in (200, 400), answer


def test_an_upload_that_is_said_to_be_too_large_is_not_kept(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/v1/audio/transcriptions")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(2_000_000_000))
    connection.endheaders()
    answer = connection.getresponse()  # before any of it was sent
    assert answer.status == 413
    assert error_of(answer.read())["code"] == "file_too_large"
    connection.close()


def test_an_upload_of_unknown_length_is_cut_off_where_it_is_too_large(server):
    def endless():
        yield form()[:250]
        while True:
            yield b"\0" * 1_000_000

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request(
            "POST",
            "/v1/audio/transcriptions",
            endless(),
            {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
            encode_chunked=True,
        )
        pytest.fail("the server took it all")
    connection.close()


def test_readers_that_do_not_read(tmp_path):
    """A stream that nobody takes must not fill the memory or hold its place when the client goes."""
    words = [" long" * 20_000] * 20
    with running(Settings(workers=1, max_queue=0), no_models(), Scripted(says(*words))) as server:
        with connect(server) as client:
            body = form(stream="true")
            client.sendall(HEAD.encode() % len(body) + body)
            time.sleep(0.5)
        wait_until(lambda: inside(server) == 0)
        assert post(server, form())[0] == 200


@dataclass
class Process:
    """`viska serve` as a process of its own."""

    popen: subprocess.Popen
    port: int
    log: Path

    def inside(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = answer.read().decode()
        return int(float(text.partition("\nviska_requests_inside ")[2].split()[0]))


@contextmanager
def process(tmp_path: Path, **variables: str) -> Iterator[Process]:
    log, files = tmp_path / "log", tmp_path / "files"
    files.mkdir()
    environment = {**os.environ, "TMPDIR": str(files), "VISKA_PORT": "0", "VISKA_MODEL": "tiny.en", **variables}
    with log.open("wb") as output:
        popen = subprocess.Popen([sys.executable, "-m", "viska", "serve"], stderr=output, env=environment)
    try:
        wait_until(lambda: "listening on" in log.read_text() or popen.poll() is not None, 60)
        line = next(json.loads(line) for line in log.read_text().splitlines() if "listening on" in line)
        yield Process(popen, int(line["event"].rpartition(":")[2]), log)
        # torch has a folder of its own there.
        assert [path for path in files.iterdir() if not path.name.startswith("torchinductor")] == []
    finally:
        popen.kill()
        popen.wait()


def send(port: int, body: bytes) -> tuple[int, bytes] | None:
    """Status and body, or None where the connection was refused or closed without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(
            "POST", "/v1/audio/transcriptions", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@pytest.mark.slow
def test_sigterm_under_load_lets_requests_finish(tmp_path, recordings):
    body = form((recordings / "sense_and_sensibility_0870.wav").read_bytes(), model="tiny.en")
    with process(tmp_path, VISKA_SHUTDOWN_GRACE="110") as server, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(send, server.port, body) for _ in range(8)]
        wait_until(lambda: server.inside() == 8, 30)
        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(120) == 0
        texts = {answer.result() for answer in answers}
        assert len(texts) == 1
        status, text = texts.pop()
        assert status == 200
        assert b"John Dashwood" in text
        assert send(server.port, body) is None


@pytest.mark.slow
def test_sigterm_with_more_work_than_grace_ends_in_time_and_cleanly(tmp_path):
    body = form(tone(3000), model="tiny.en")
    with process(tmp_path, VISKA_SHUTDOWN_GRACE="1") as server, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(send, server.port, body) for _ in range(4)]
        wait_until(lambda: server.inside() == 4, 30)
        began = time.monotonic()
        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(60) == 0
        assert time.monotonic() - began < 30
        for answer in answers:
            result = answer.result()
            assert result is None or result[0] in (200, 503)


@pytest.mark.slow
def test_a_killed_process_leaves_no_file(tmp_path):
    with process(tmp_path) as server:
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(HEAD.encode() % 50_000_000 + form()[:250] + b"\0" * 20_000_000)
        wait_until(lambda: server.inside() == 1)
        server.popen.send_signal(signal.SIGKILL)
        server.popen.wait(30)
        client.close()


@pytest.mark.slow
def test_two_gigabytes_are_refused_while_others_are_served(tmp_path, recordings):
    good = form((recordings / "sense_and_sensibility_0870.wav").read_bytes(), model="tiny.en")
    with process(tmp_path) as server:
        sent = []

        def upload() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
            with suppress(ConnectionError):
                connection.putrequest("POST", "/v1/audio/transcriptions")
                connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
                connection.putheader("Content-Length", str(2_000_000_000))
                connection.endheaders()
                for _ in range(2000):
                    connection.send(b"\0" * 1_000_000)
            sent.append(connection)

        thread = threading.Thread(target=upload)
        thread.start()
        assert send(server.port, good)[0] == 200
        thread.join()
        try:
            assert sent[0].getresponse().status == 413
        except (ConnectionError, http.client.HTTPException):
            pass  # closed while the rest was still on its way
        finally:
            sent[0].close()
        assert send(server.port, good)[0] == 200


@pytest.mark.slow
def test_two_gigabytes_that_are_allowed_are_taken_and_freed(tmp_path):
    with process(tmp_path, VISKA_MAX_UPLOAD="2500") as server:
        head, tail = form().split(b"RIFF")[0], f"\r\n--{BOUNDARY}--\r\n".encode()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        connection.putrequest("POST", "/v1/audio/transcriptions")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Content-Length", str(2_000_000_000 + len(head) + len(tail)))
        connection.endheaders()
        connection.send(head)
        for _ in range(2000):
            connection.send(b"\x55" * 1_000_000)
        connection.send(tail)
        answer = connection.getresponse()
        assert (answer.status, error_of(answer.read())["code"]) == (404, "model_not_found")
        connection.close()
        rss_kb = int(Path(f"/proc/{server.popen.pid}/status").read_text().partition("VmRSS:")[2].split()[0])
        assert rss_kb < 2_000_000
        wait_until(lambda: server.inside() == 0)
