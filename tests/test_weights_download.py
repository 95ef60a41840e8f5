import errno
import hashlib
import io
import logging
import os
import random
import socket
import sys
import threading
import time

import pytest

from model_server import model_server
from viska.weights import download as module
from viska.weights.download import RemoteFile, download, unreachable
from viska.weights.source import SourceError, WrongDigestError

DATA = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def server():
    with model_server() as server:
        server.files["/model.bin"] = DATA
        yield server


def remote(server, path="/model.bin", **facts):
    return RemoteFile(server.url + path, "model.bin", **({"sha256": SHA256} | facts))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def range_starts(server):
    return [int(headers.get("Range", "bytes=0-")[6:-1]) for headers in server.bodies("/model.bin")]


def whole_chunks(n_bytes):
    return n_bytes // module.CHUNK_BYTES * module.CHUNK_BYTES


def test_a_file_arrives_under_its_final_name_alone(server, tmp_path):
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert names(tmp_path) == ["model.bin"]


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "model.bin").write_bytes(DATA)
    download(remote(server), tmp_path)
    assert server.requests == []


def test_a_wrong_file_that_is_there_is_replaced(server, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"wrong")
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_a_connection_that_breaks_is_resumed_where_it_broke(server, tmp_path):
    server.cut_after = [100_000, 50_000]
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert range_starts(server) == [0, whole_chunks(100_000), whole_chunks(100_000) + whole_chunks(50_000)]


def test_an_earlier_run_is_resumed(server, tmp_path, monkeypatch):
    server.cut_after = [120_000] * module.ATTEMPTS
    server.ranges = False
    with pytest.raises(SourceError, match="attempts"):
        download(remote(server), tmp_path)
    assert "model.bin" not in names(tmp_path)
    server.ranges, server.requests = True, []
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert range_starts(server) == [whole_chunks(120_000)]
    assert names(tmp_path) == ["model.bin"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.ranges, server.cut_after = False, [100_000]
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_a_server_that_sends_another_range_is_not_believed(server, tmp_path, monkeypatch):
    server.cut_after = [100_000]
    monkeypatch.setattr(module, "_range_start", lambda response: 7)
    server.ranges = False  # so that its answer is the whole file
    assert download(remote(server), tmp_path).read_bytes() == DATA


def partial_of(folder):
    return folder / f".model.bin.{SHA256[:16]}.partial"


def test_a_finished_part_needs_no_more_bytes(server, tmp_path):
    partial_of(tmp_path).write_bytes(DATA)
    assert download(remote(server), tmp_path).read_bytes() == DATA
    assert len(server.bodies("/model.bin")) == 1
    partial_of(tmp_path).write_bytes(DATA)
    (tmp_path / "model.bin").unlink()
    server.requests.clear()
    download(remote(server, size=len(DATA)), tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("rest", [b"x" * 1000, DATA + b"more", b"x" * len(DATA)])
@pytest.mark.parametrize("size", [None, len(DATA)])
def test_a_part_of_something_else_is_thrown_away(server, tmp_path, rest, size):
    partial_of(tmp_path).write_bytes(rest)
    assert download(remote(server, size=size), tmp_path).read_bytes() == DATA
    assert names(tmp_path) == ["model.bin"]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"sha256": "0" * 64}, f"has the SHA-256 {SHA256}, expected 0000"),
        ({"sha256": None, "git_sha1": "1" * 40}, "git object id"),
        ({"size": len(DATA) + 1, "sha256": None}, "300000 bytes, expected 300001"),
    ],
)
def test_other_bytes_are_refused_and_removed(server, tmp_path, facts, words):
    with pytest.raises(SourceError, match=words):
        download(remote(server, **facts), tmp_path)
    assert "model.bin" not in names(tmp_path)


def test_a_wrong_digest_leaves_nothing(server, tmp_path):
    with pytest.raises(WrongDigestError):
        download(remote(server, sha256="0" * 64), tmp_path)
    assert names(tmp_path) == []


def test_more_bytes_than_announced_are_not_stored(server, tmp_path):
    with pytest.raises(SourceError, match="more than the expected 1000 bytes"):
        download(remote(server, size=1000), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000


def test_git_object_id_is_checked(server, tmp_path):
    blob = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    assert download(remote(server, sha256=None, git_sha1=blob), tmp_path).read_bytes() == DATA


def test_without_length_and_digest_the_end_of_the_connection_is_the_end(server, tmp_path):
    server.announce_length = False
    assert download(remote(server, sha256=None), tmp_path).read_bytes() == DATA


def test_an_empty_file(server, tmp_path):
    server.files["/model.bin"] = b""
    assert download(remote(server, sha256=None, size=0), tmp_path).read_bytes() == b""


@pytest.mark.parametrize(("status", "words"), [(404, "no such file"), (401, "HF_TOKEN"), (403, "terms"), (410, "410")])
def test_refusals_are_not_tried_again(server, tmp_path, status, words):
    server.statuses["/model.bin"] = [status]
    with pytest.raises(SourceError, match=words):
        download(remote(server), tmp_path)
    assert len(server.bodies("/model.bin")) == 1


def test_passing_failures_are_tried_again(server, tmp_path):
    server.statuses["/model.bin"] = [500, 503, 429]
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_lasting_failures_end(server, tmp_path):
    server.statuses["/model.bin"] = [500] * 100
    with pytest.raises(SourceError, match=rf"HTTP status 500 \({module.ATTEMPTS} attempts\)"):
        download(remote(server), tmp_path)
    assert len(server.bodies("/model.bin")) == module.ATTEMPTS


def test_a_line_that_brings_something_each_time_is_not_given_up(server, tmp_path):
    server.cut_after = [40_000] * 9
    assert download(remote(server), tmp_path).read_bytes() == DATA


def test_a_stalled_server_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READ_SECONDS", 0.2)
    server.stall_s = 1.0
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"[Tt]imed? ?out"):
        download(remote(server), tmp_path)
    assert time.monotonic() - started < 0.2 * module.ATTEMPTS + 2


def test_redirects_are_followed(server, tmp_path):
    server.redirects["/short"] = "/model.bin"
    assert download(remote(server, "/short"), tmp_path).read_bytes() == DATA


def test_endless_redirects_end(server, tmp_path):
    server.redirects["/short"] = "/short"
    with pytest.raises(SourceError, match="redirects"):
        download(remote(server, "/short"), tmp_path)


def test_full_disk_is_seen_before_the_download(server, tmp_path):
    with pytest.raises(OSError, match=r"model.bin needs 1000000000000 MB more") as caught:
        download(remote(server, size=10**18), tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert server.requests == []


def test_full_disk_during_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        download(remote(server), tmp_path)
    assert "model.bin" not in names(tmp_path)


def test_progress_only_on_a_terminal(server, tmp_path, monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    download(remote(server), tmp_path)
    assert stderr.getvalue() == ""
    monkeypatch.setattr(stderr, "isatty", lambda: True, raising=False)
    download(remote(server, sha256=None), tmp_path)
    assert "model.bin: 100%" in stderr.getvalue()


# Reachability -------------------------------------------------------------------------------------------------------


def test_any_answer_counts_as_reachable(server):
    server.statuses["/"] = [500]
    assert unreachable([server.url]) == {}


def test_a_closed_port_is_unreachable_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        reasons = unreachable([address])
    assert "refused" in reasons[address]
    assert "object at 0x" not in reasons[address]


def test_hosts_that_hang_are_given_up_after_one_deadline_for_all(server, monkeypatch):
    real = socket.getaddrinfo
    release = threading.Event()

    def hang(host, *args, **kwargs):
        if host.endswith(".invalid"):
            release.wait(10)
            raise socket.gaierror("too late")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    addresses = ["http://a.invalid", "http://b.invalid", "http://c.invalid", server.url]
    started = time.monotonic()
    reasons = unreachable(addresses, seconds=0.5)
    taken = time.monotonic() - started
    release.set()
    assert sorted(reasons) == addresses[:3]
    assert set(reasons.values()) == {"no answer within 0.5 s"}
    assert 0.4 < taken < 2


def test_nothing_to_ask():
    assert unreachable([]) == {}


def test_retries_are_logged(server, tmp_path, caplog):
    server.statuses["/model.bin"] = [503]
    with caplog.at_level(logging.INFO, "viska"):
        download(remote(server), tmp_path)
    assert "HTTP status 503; trying again" in caplog.text
