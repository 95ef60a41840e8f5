"""The network: none is used unless a model is asked for by name, and none at all offline."""

import re
import socket
import subprocess
from pathlib import Path

import pytest

import viska
from checkpoint_files import write_huggingface
from made_up import ENGLISH, dimensions, made_up_model
from sound_files import riff, tone
from viska.cli import main
from viska.errors import DownloadError
from viska.weights import cache, load_model
from viska.weights.load import locate

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Fail where a connection is opened, a name is looked up or a program is started; the cache is empty."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(arguments)
        raise AssertionError(f"the network was used: {arguments}")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("run", "Popen"):
        monkeypatch.setattr(subprocess, name, refuse)
    monkeypatch.setenv("VISKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("VISKA_OFFLINE", raising=False)
    yield attempts
    assert attempts == []


@pytest.fixture
def model_folder(tmp_path):
    """A small model with Whisper's own vocabulary, which a transcription can run with."""
    return write_huggingface(tmp_path / "model", dimensions(ENGLISH), made_up_model(ENGLISH).half().state_dict())


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "talk.wav"
    path.write_bytes(riff((tone() * 30000).astype("<i2")))
    return path


FEW = {"beam_size": None, "temperature": 0.0}


def test_a_transcription_with_a_local_model_opens_nothing(no_network, model_folder, sound, capsys):
    result = viska.transcribe(load_model(model_folder, "cpu"), str(sound), **FEW)
    assert result.language == "en"
    flags = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "-o", str(sound.parent / "out")]
    assert main([str(sound), "--model", str(model_folder), *flags]) == 0


@pytest.mark.parametrize("name", ["base", "owner/name", "owner/name@v1"])
@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline_a_name_that_is_not_in_the_cache_is_an_error(no_network, monkeypatch, tmp_path, name, how):
    if how == "variable":
        monkeypatch.setenv("VISKA_OFFLINE", "1")
    said = {"argument": "offline=True", "variable": "VISKA_OFFLINE is set"}[how]
    with pytest.raises(DownloadError, match=rf"not whole in .*{said}.*Run 'viska models fetch {name}'"):
        load_model(name, "cpu", offline=True if how == "argument" else None)
    assert not (tmp_path / "cache").exists()


def test_an_argument_counts_more_than_the_variable(monkeypatch):
    monkeypatch.setenv("VISKA_OFFLINE", "1")
    assert cache.why_offline(False) is None
    assert "VISKA_OFFLINE" in cache.why_offline(None)
    assert "offline=True" in cache.why_offline(True)
    for value in ("", "0", "no", "false", "off"):
        monkeypatch.setenv("VISKA_OFFLINE", value)
        assert cache.why_offline() is None


def test_a_word_that_is_not_known_forbids(monkeypatch):
    monkeypatch.setenv("VISKA_OFFLINE", "ture")
    assert "VISKA_OFFLINE" in cache.why_offline()


def test_offline_on_the_command_line(no_network, sound, tmp_path, capsys):
    assert main([str(sound), "--model", "base", "--offline", "-o", str(tmp_path / "out")]) == 4
    message = capsys.readouterr().err
    assert message.startswith("viska: error: the model base is not whole in ")
    assert "(--offline, local_files_only) forbids to fetch it. Run 'viska models fetch base'" in message
    for command in (["fetch", "base"], ["convert", "base", str(tmp_path / "new")]):
        assert main(["models", "--offline", *command]) == 4
        assert main(["models", *command, "--offline"]) == 4
        assert "not whole in" in capsys.readouterr().err


def test_offline_a_model_of_the_cache_is_taken(no_network, model_folder, tmp_path):
    key = tmp_path / "cache" / "models" / "me--tuned"
    key.parent.mkdir(parents=True)
    model_folder.rename(key)
    facts = {
        path.name: f'{{"size": {path.stat().st_size}, "sha256": "{cache.sha256_of(path)}"}}' for path in key.iterdir()
    }
    files = ", ".join(f'"{name}": {fact}' for name, fact in facts.items())
    (key / "viska.json").write_text(f'{{"source": "hub", "files": {{{files}}}}}')
    assert locate("me/tuned", offline=True).path == key
    (key / "config.json").write_text("{}")
    with pytest.raises(DownloadError, match=r"config.json has 2 bytes, expected"):
        locate("me/tuned", offline=True)
    assert (key / "config.json").read_text() == "{}"  # nothing was set aside


def test_only_the_weights_open_connections():
    """No other module imports what could; the server listens."""
    opener = re.compile(r"^\s*(?:import|from) (?:requests|urllib\.request|http\.client|socket|subprocess)\b", re.M)
    found = {
        path.relative_to(ROOT / "src" / "viska").parts[0]
        for path in (ROOT / "src" / "viska").rglob("*.py")
        if opener.search(path.read_text())
    }
    assert found <= {"weights", "server"}


def test_the_lock_has_the_versions_that_are_tested_and_a_digest_of_everything():
    lock = (ROOT / "requirements-dev.lock").read_text()
    entries = re.findall(r"^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", lock, re.M)
    assert len(entries) > 40
    assert len(entries) == len(re.findall(r"^\S", lock, re.M))  # nothing is in it in any other form
    locked = {normal(name): version for name, version, _ in entries}
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    assert locked.keys().isdisjoint({"torch", "viska"})
    differing = {name for name, version in pinned.items() if locked.get(normal(name), version) != version}
    assert differing == set()
    assert {normal(name) for name in pinned} - locked.keys() <= {"torch"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
