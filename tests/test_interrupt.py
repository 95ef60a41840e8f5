"""Ctrl-C in the middle of several files: what is finished is whole, what is not is not there."""

import json
import signal
import subprocess
import sys
import time
import wave
from contextlib import suppress
from pathlib import Path

import pytest

from viska.errors import AudioError
from viska.formats.files import ALL

PATIENCE_S = 300  # on a busy machine
FAST = ["--model", "tiny.en", "--beam_size", "None", "--temperature_increment_on_fallback", "None"]


def wait_until(condition, process):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, f"it ended before: {process.communicate()}"
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.02)


@pytest.fixture
def many_minutes(recordings, tmp_path) -> Path:
    """A recording that takes long enough to be interrupted."""
    with wave.open(str(recordings / "sense_and_sensibility_0870.wav")) as short:
        settings, sound = short.getparams(), short.readframes(short.getnframes())
    path = tmp_path / "b_long.wav"
    with wave.open(str(path), "wb") as long:
        long.setparams(settings)
        for _ in range(300):
            long.writeframes(sound)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_leaves_finished_files_whole_and_no_halves(recordings, tiny_en, many_minutes, tmp_path):
    first, last = recordings / "sense_and_sensibility_0870.wav", recordings / "sense_and_sensibility_0880.flac"
    out = tmp_path / "out"
    out.mkdir()
    (out / "b_long.txt").write_text("from an earlier day")
    command = [sys.executable, "-m", "viska", str(first), str(many_minutes), str(last), "-o", str(out), *FAST]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed: list[str] = []

    def is_within_the_second():
        printed.append(process.stdout.readline())  # ends with the process, if that fails
        return len(printed) >= 2 and (out / f"{first.stem}.json").is_file()

    wait_until(is_within_the_second, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, errors) == (130, "viska: interrupted\n")
    finished = {f"{first.stem}.{name}" for name in ALL}
    assert {path.name for path in out.iterdir()} == {*finished, "b_long.txt"}  # nothing of the others
    assert (out / "b_long.txt").read_text() == "from an earlier day"
    result = json.loads((out / f"{first.stem}.json").read_text())
    assert result["text"].split() == (out / f"{first.stem}.txt").read_text().split()
    assert (out / f"{first.stem}.srt").read_text().endswith("in his power to do for them.\n\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_files_that_share_batches_too(recordings, tiny_en, many_minutes, tmp_path):
    first, out = recordings / "sense_and_sensibility_0870.wav", tmp_path / "out"
    command = [sys.executable, "-m", "viska", str(first), str(many_minutes), "-o", str(out), "--batch_size", "2", *FAST]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until((out / f"{first.stem}.json").is_file, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors.strip().splitlines()[-1]) == (130, "viska: interrupted")
    assert {path.name for path in out.iterdir()} == {f"{first.stem}.{ending}" for ending in ALL}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_the_command_though_somebody_swallows_it(command, many_minutes, monkeypatch):
    shown = []

    def swallow(*_):
        shown.append(1)
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("viska.cli.show.Show.segment", swallow)
    monkeypatch.setattr("viska.cli.show.ShowLines.segment", swallow)
    outcome = command(many_minutes, *FAST[2:], "--no_speech_threshold", "None", "--guard", "False")
    assert outcome.status == 130
    assert outcome.err == "viska: interrupted\n"
    assert 1 <= len(shown) < 9
    assert not list(command.folder.iterdir())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_the_command_though_somebody_makes_another_error_of_it(recordings, command, monkeypatch):
    heard = []

    def spoil(_, audio):
        heard.append(audio)
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise AudioError("it cannot be read")

    monkeypatch.setattr("viska.cli.run.Ear.voices", spoil)
    first, second = recordings / "sense_and_sensibility_0870.wav", recordings / "sense_and_sensibility_0880.flac"
    outcome = command(first, str(second), *FAST[2:])
    assert (outcome.status, outcome.err) == (130, "viska: interrupted\n")
    assert heard == [str(first)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_while_things_are_loaded_is_no_traceback(recordings, tmp_path):
    command = [sys.executable, "-m", "viska", str(recordings / "sense_and_sensibility_0870.wav"), "-o", str(tmp_path)]
    process = subprocess.Popen([*command, *FAST], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    loaded = Path(f"/proc/{process.pid}/maps")
    if not loaded.exists():
        process.kill()
        process.communicate()
        pytest.skip("no /proc to see how far it is")
    wait_until(lambda: "libtorch" in loaded.read_text(), process)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_S) == ("", "viska: interrupted\n")
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", ["open", "write", "replace"])
def test_an_interrupt_while_a_file_is_written_leaves_the_older_one(tmp_path, monkeypatch, moment):
    from viska.formats import write_text

    path = tmp_path / "talk.txt"
    path.write_text("old")

    class Interrupted:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, content):
            raise KeyboardInterrupt

    def interrupt(*_):
        raise KeyboardInterrupt

    if moment == "write":
        monkeypatch.setattr("pathlib.Path.open", lambda self, mode: self.touch() or Interrupted())
    else:
        monkeypatch.setattr(f"pathlib.Path.{moment}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["talk.txt"]
    assert path.read_text() == "old"
