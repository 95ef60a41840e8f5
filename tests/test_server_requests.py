"""What the server does with requests, whatever the recogniser says: queue, patience, clients that go, logs, counts."""

import http.client
import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace

import openai
import pytest

import sound_files
from serving import Running, Scripted, no_models, running, says, tone, wait_until
from sound_files import film
from viska.errors import DownloadError, OutOfMemoryError
from viska.server.observe import JsonLines, TextLines
from viska.server.settings import Settings

SOUND = tone()
BOUNDARY = "limit"


def form(file: bytes | None = SOUND, **fields: str) -> bytes:
    """The body of a multipart request."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in {"model": "base", **fields}.items()
    ]
    if file is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        parts.append(head.encode() + file + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def begin(server: Running, body: bytes, **headers: str) -> http.client.HTTPConnection:
    """A connection over which a request was sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    sent = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **headers}
    connection.request("POST", "/v1/audio/transcriptions", body, sent)
    return connection


def post(server: Running, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer."""
    with closing(begin(server, body, **headers)) as connection:
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def error_of(body: bytes) -> dict:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def get(server: Running, path: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(server.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def serving(script=None, **settings):
    recogniser = Scripted(script or says(" One.", " Two."))
    with running(Settings(**settings), no_models(), recogniser) as server:
        yield server, recogniser
    assert recogniser.closed


@pytest.fixture
def held():
    """A script that waits to be let go, and the event that does it."""
    go_on = threading.Event()
    yield says(" One.", " Two.", before_each=lambda job: go_on.wait(30)), go_on
    go_on.set()


def inside(server: Running) -> int:
    line = next(line for line in get(server, "/metrics")[1].splitlines() if line.startswith("viska_requests_inside "))
    return int(float(line.split()[1]))


def test_beyond_the_queue_the_answer_is_429_and_later_success(held):
    script, go_on = held
    with serving(script, workers=1, max_queue=1) as (server, recogniser), ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(post, server, form()) for _ in range(2)]
        wait_until(lambda: len(recogniser.jobs) == 2)
        status, headers, body = post(server, form())
        assert status == 429
        assert int(headers["retry-after"]) >= 1
        assert error_of(body)["type"] == "rate_limit_error"
        assert error_of(body)["code"] == "queue_full"
        with openai.OpenAI(base_url=server.api, api_key="-", max_retries=3) as client:
            retried = pool.submit(client.audio.transcriptions.create, model="base", file=SOUND)
            go_on.set()
            assert [answer.result()[0] for answer in waiting] == [200, 200]
            assert retried.result().text == "One. Two."
        wait_until(lambda: inside(server) == 0)


def test_a_client_that_goes_away_ends_its_job(held):
    script, go_on = held
    with serving(script) as (server, recogniser):
        for fields in ({}, {"stream": "true"}):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                body = form(**fields)
                client.sendall(
                    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; "
                    b"boundary=%s\r\nContent-Length: %d\r\n\r\n%s" % (BOUNDARY.encode(), len(body), body)
                )
                wait_until(lambda: recogniser.jobs and recogniser.jobs[-1].future.running())
                if fields:
                    assert b"200 OK" in client.recv(100)
            wait_until(lambda: recogniser.jobs[-1].cancelled)
        assert len(recogniser.jobs) == 2
        go_on.set()
        wait_until(lambda: inside(server) == 0)
        for job in recogniser.jobs:
            assert job.done
            assert job.audio.closed


def test_patience_ends_and_so_does_the_job(held):
    script, _ = held
    with serving(script, request_timeout=0.3) as (server, recogniser):
        status, headers, body = post(server, form())
        assert (status, error_of(body)["code"], headers["x-should-retry"]) == (503, "request_timeout", "false")
        status, _, body = post(server, form(stream="true"))
        assert status == 200
        assert body.endswith(b"data: [DONE]\n\n")
        assert error_of(body.split(b"\n\n")[-3].removeprefix(b"data: "))["code"] == "request_timeout"
        wait_until(lambda: all(job.cancelled for job in recogniser.jobs))


@pytest.mark.parametrize("fields", [{}, {"stream": "true"}])
def test_half_of_a_transcript_is_no_answer_where_the_server_stops(held, fields):
    script, go_on = held
    with serving(script) as (server, recogniser), closing(begin(server, form(**fields))) as connection:
        wait_until(lambda: recogniser.jobs and recogniser.jobs[0].future.running())
        answer = connection.getresponse() if fields else None  # its status is said before the server stops
        recogniser.close()
        go_on.set()
        answer = answer or connection.getresponse()
        status, body = answer.status, answer.read()
    if fields:
        assert status == 200
        body = body.split(b"\n\n")[-3].removeprefix(b"data: ")
    else:
        assert status == 503
    assert error_of(body)["code"] == "shutting_down"


@pytest.mark.parametrize("fields", [{}, {"stream": "true"}])
def test_what_runs_beyond_the_grace_is_told_that_the_server_stops(held, fields):
    script, _ = held
    with serving(script, shutdown_grace=1) as (server, recogniser), closing(begin(server, form(**fields))) as client:
        wait_until(lambda: recogniser.jobs and recogniser.jobs[0].future.running())
        answer = client.getresponse() if fields else None
        server.server.should_exit = True
        answer = answer or client.getresponse()
        status, body = answer.status, answer.read()
    if fields:
        assert body.endswith(b"data: [DONE]\n\n")
        body = body.split(b"\n\n")[-3].removeprefix(b"data: ")
    assert status == (200 if fields else 503)
    assert error_of(body)["code"] == "shutting_down"
    assert recogniser.jobs[0].cancelled


def test_a_slow_recording_keeps_its_stream_alive(held, monkeypatch):
    monkeypatch.setattr("viska.server.service.STILL_HERE_S", 0.05)
    script, go_on = held
    with serving(script) as (server, _), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, server, form(stream="true"))
        time.sleep(0.4)
        go_on.set()
        body = answer.result()[2]
    assert body.count(b": working\n\n") >= 2
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError("secret detail"), 500, "internal_error"),
        (DownloadError("no source"), 503, "model_unavailable"),
        (OutOfMemoryError("too long"), 503, "out_of_memory"),
        (MemoryError(), 503, "out_of_memory"),
    ],
)
def test_a_worker_that_fails(error, status, code):
    def fail(job):
        raise error

    with serving(fail) as (server, _):
        for fields in ({}, {"stream": "true"}):
            got, headers, body = post(server, form(**fields))
            assert (got, error_of(body)["code"], error_of(body)["type"]) == (status, code, "server_error")
            assert headers["x-should-retry"] == "false"
            assert b"secret" not in body
        assert get(server, "/health")[0] == 200
        wait_until(lambda: inside(server) == 0)


def test_a_worker_that_fails_in_the_middle_of_a_stream():
    def stumble(job):
        if job.on_segment and job.position_s:
            raise RuntimeError("secret detail")

    with serving(says(" One.", " Two.", before_each=stumble)) as (server, _):
        with openai.OpenAI(base_url=server.api, api_key="-", max_retries=0) as client:
            heard = []
            with pytest.raises(openai.APIError, match="the server failed"):
                heard.extend(client.audio.transcriptions.create(model="base", file=SOUND, stream=True))
        assert post(server, form())[0] == 500


@pytest.mark.parametrize(
    ("body", "content_type", "status", "param", "code"),
    [
        (b"{}", "application/json", 415, None, "unsupported_media_type"),
        (b"file=x", "application/x-www-form-urlencoded", 415, None, "unsupported_media_type"),
        (SOUND, "audio/wav", 415, None, "unsupported_media_type"),
        (form(), "multipart/form-data", 400, None, "invalid_multipart"),
        (form(), "multipart/form-data; boundary=" + "b" * 300, 400, None, "invalid_multipart"),
        (b"garbage " * 100, None, 400, None, "invalid_multipart"),
        (b"", None, 400, None, "invalid_multipart"),
        (b"--limit--\r\n", None, 400, "model", "missing_required_parameter"),
        (form(None), None, 400, "file", "missing_required_parameter"),
        (form(b""), None, 400, "file", "invalid_audio"),
        (form(b"#EXTM3U\nhttp://127.0.0.1:1/secret.wav\n"), None, 400, "file", "invalid_audio"),
        (form().replace(b'name="file"', b'name="sound"'), None, 400, "sound", "invalid_value"),
        (form().replace(b'name="model"', b'name="mode"'), None, 400, "model", "missing_required_parameter"),
        (form(model="large"), None, 404, "model", "model_not_found"),
        (form(prompt="x" * (5 * 2**20)), None, 400, None, "invalid_multipart"),
        (form(**{f"field{i}": "x" for i in range(400)}), None, 400, None, "invalid_multipart"),
        (form()[:-8], None, 400, None, "invalid_multipart"),
        (form()[:200], None, 400, None, "invalid_multipart"),
    ],
)
def test_bodies_that_are_not_what_they_should_be(body, content_type, status, param, code):
    with serving() as (server, recogniser):
        headers = {} if content_type is None else {"Content-Type": content_type}
        got, _, answer = post(server, body, **headers)
        error = error_of(answer)
        assert (got, error["param"], error["code"]) == (status, param, code)
        assert recogniser.jobs == []


def test_two_files_are_one_too_many():
    body = form().removesuffix(b"--limit--\r\n") + form().split(b"\r\n", 4)[-1]
    with serving() as (server, _):
        status, _, answer = post(server, body + b"--limit--\r\n")
        assert (status, error_of(answer)["code"]) == (400, "invalid_multipart")


def test_recordings_beyond_the_limit_are_refused_before_they_are_decoded():
    with serving(max_duration=2.0) as (server, recogniser):
        status, _, body = post(server, form(tone(2.5)))
        assert (status, error_of(body)["code"]) == (400, "audio_too_long")
        assert recogniser.jobs == []
        assert post(server, form(tone(1.9)))[0] == 200


@pytest.mark.parametrize("limit", [0.0, 1000.0])
def test_the_recogniser_is_told_how_long_a_recording_seems_to_be(limit):
    with serving(max_duration=limit) as (server, recogniser):
        assert post(server, form(tone(2)))[0] == 200
        assert post(server, form(tone(400)))[0] == 200
    assert [job.promised_s for job in recogniser.jobs] == pytest.approx([2, 400])
    assert [job.is_long for job in recogniser.jobs] == [False, True]


def test_a_length_that_a_header_does_not_promise_counts_too():
    wav = bytearray(tone(5))
    wav[4:8] = wav[40:44] = b"\xff\xff\xff\xff"  # of unknown size, as recorders write that cannot go back
    with serving(max_duration=2.0) as (server, _):
        status, _, body = post(server, form(bytes(wav)))
        assert (status, error_of(body)["code"]) == (400, "audio_too_long")


def test_silence_that_players_put_in_counts_too():
    late = film([(4.0, sound_files.tone(seconds=1.0))], "matroska", ("mpeg4", "flac"), 16000, seconds=6)
    for limit, answer in ((3.0, 400), (8.0, 200)):
        with serving(max_duration=limit) as (server, recogniser):
            assert post(server, form(late))[0] == answer
    assert [job.promised_s for job in recogniser.jobs] == pytest.approx([5.0], abs=0.1)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\\..\\b", "%2e%2e%2f", "\u202e.wav", "x" * 5000, "a;b"]
)
def test_names_of_files_are_names_and_no_paths(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serving() as (server, _):
        body = form().replace(b'filename="a.wav"', b'filename="%s"' % name.encode())
        assert post(server, body)[0] in (200, 400)
    assert list(tmp_path.iterdir()) == []


def test_ids_come_back_if_they_are_fit_for_a_log():
    with serving() as (server, _):
        assert post(server, form(), **{"X-Request-Id": "mine-1"})[1]["x-request-id"] == "mine-1"
        assert post(server, form(), **{"X-Request-Id": "{bad id}"})[1]["x-request-id"].startswith("req_")
        assert post(server, b"", **{"X-Request-Id": "m.2"})[1]["x-request-id"] == "m.2"


def test_without_keys_pages_of_other_sites_and_other_names_of_the_machine_are_refused():
    with serving(cors_origin=("https://good.example",)) as (server, recogniser):
        for headers, code in [
            ({"Origin": "https://evil.example"}, "origin_not_allowed"),
            ({"Origin": "null"}, "origin_not_allowed"),
            ({"Host": "evil.example"}, "host_not_allowed"),
            ({"Host": "127.0.0.1.evil.example"}, "host_not_allowed"),
        ]:
            status, _, body = post(server, form(), **headers)
            assert (status, error_of(body)["code"]) == (403, code)
        assert recogniser.jobs == []
        assert post(server, form(), Origin=server.url)[0] == 200
        assert post(server, form(), Host="localhost:1234")[0] == 200
        status, headers, _ = post(server, form(), Origin="https://good.example")
        assert (status, headers["access-control-allow-origin"]) == (200, "https://good.example")


def test_keys_are_asked_for_in_one_way_only():
    with serving(api_key=("one", "two")) as (server, _):
        for header in ("Bearer one", "bearer two"):
            assert post(server, form(), Authorization=header)[0] == 200
        for header in ("", "Bearer", "Bearer ", "Basic one", "one", "Bearer one two", "Bearer onetwo"):
            status, _, body = post(server, form(), Authorization=header)
            assert (status, error_of(body)["code"]) == (401, "invalid_api_key")
        assert get(server, "/metrics")[0] == 401
        assert get(server, "/metrics", Authorization="Bearer two")[0] == 200
        assert get(server, "/health")[0] == 200


def test_addresses_that_are_not_there_and_methods_that_do_not_fit():
    with serving() as (server, _):
        status, body = get(server, "/v1/nothing")
        assert (status, error_of(body.encode())["code"]) == (404, "not_found")
        status, body = get(server, "/v1/audio/transcriptions")
        assert (status, error_of(body.encode())["code"]) == (405, "method_not_allowed")
        for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/nothing"):
            assert get(server, path)[0] == 404


def test_pages_load_nothing_from_elsewhere():
    with serving() as (server, _), urllib.request.urlopen(server.url) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "://" not in answer.read().decode()


def test_counts():
    with serving() as (server, _):
        post(server, form())
        post(server, form(stream="true"))
        post(server, b"")
        text = get(server, "/metrics")[1]
    assert 'viska_requests_total{path="/v1/audio/transcriptions",status="200"} 2.0' in text
    assert 'viska_requests_total{path="/v1/audio/transcriptions",status="400"} 1.0' in text
    assert "viska_audio_seconds_total 8.0" in text
    assert f"viska_uploaded_bytes_total {2.0 * len(SOUND)}" in text
    assert "viska_first_text_seconds_count 2.0" in text


@pytest.mark.parametrize("log_content", [False, True])
def test_the_log_has_a_line_for_a_request_and_its_content_only_when_asked(log_content, caplog):
    caplog.set_level(logging.INFO, logger="viska.server.requests")
    with serving(log_content=log_content) as (server, _):
        post(server, form(), **{"X-Request-Id": "mine"})
        post(server, form(stream="true"))
        post(server, form(temperature="9"))
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name.endswith("requests")]
    first = lines[0]
    assert (first["request_id"], first["status"], first["model"], first["language"]) == ("mine", 200, "base", "en")
    assert first["audio_seconds"] == 4.0
    assert first["bytes"] == len(SOUND)
    assert lines[2]["error"] == "invalid_value"
    everything = json.dumps(lines)
    assert ("One." in everything) == log_content
    assert ("a.wav" in everything) == log_content
    assert " status=200 " in TextLines("%(message)s").format(caplog.records[0])


def test_a_request_in_the_log_of_errors_has_its_traceback(caplog):
    def fail(job):
        raise RuntimeError("the cause")

    with serving(fail) as (server, _):
        post(server, form(), **{"X-Request-Id": "mine"})
    line = next(json.loads(JsonLines().format(record)) for record in caplog.records if record.exc_info)
    assert line["event"] == "request mine failed"
    assert "the cause" in line["exception"]


def test_no_file_is_left_by_any_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    big = tone(60)
    seen = []
    script = says(" One.", before_each=lambda job: seen.append((job.audio.closed, len(list(tmp_path.iterdir())))))
    with serving(script) as (server, recogniser):
        for body in (form(big), form(big, temperature="9"), form(big[:-5]), form(b"x" * 2_000_000)):
            post(server, body)
        wait_until(lambda: inside(server) == 0)
        assert all(job.audio.closed for job in recogniser.jobs)
    assert (False, 0) in seen  # open while it is needed, and without a name even then
    assert list(tmp_path.iterdir()) == []


def test_settings_of_a_test_server_are_those_given():
    with serving(workers=3) as (server, _):
        assert server.settings == replace(Settings(workers=3), port=0)
