"""Results that cannot be written, and processes that are killed: message, exit status, and what is left behind."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from command import FAST, in_a_child
from sound_files import riff, tone

LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits and signals are those of Linux")


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "talk.wav"
    path.write_bytes(riff((tone() * 30000).astype("<i2")))
    return path


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir())


@LINUX
def test_files_that_may_not_be_so_large(sound, tmp_path):
    """The write itself fails, half way; `ulimit -f` is a full disk that needs no rights."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "talk.txt").write_text("older")
    code = """
use_made_up_model()
viska.formats.files.FORMATS["txt"] = lambda _: "word " * 10000
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(main(sys.argv[1:]))
"""
    child = in_a_child(code, sound, "-o", tmp_path / "results", *FAST)
    assert child.returncode == 5, child.stderr
    assert child.stderr == (
        f"viska: error: cannot write {tmp_path / 'results' / 'talk.txt'}: File too large; files may not be so large "
        "here (ulimit -f): raise the limit, or choose another output folder\n"
    )
    assert left_behind(tmp_path / "results") == ["talk.txt"]
    assert (tmp_path / "results" / "talk.txt").read_text() == "older"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 KiB, full but for a few bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=16k", "none", folder], check=False).returncode
    ):
        pytest.skip("needs a user who may mount a disk")
    try:
        (folder / "filler").write_bytes(bytes(16 << 10))
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk(command, sound, small_disk):
    command.folder = small_disk
    outcome = command(sound)
    assert outcome.status == 5
    assert outcome.err == (
        f"viska: error: cannot write {small_disk / 'talk.txt'}: No space left on device; free some space, or choose "
        "another output folder\n"
    )
    assert "-->" in outcome.out  # the text is not lost
    assert left_behind(small_disk) == ["filler"]


@LINUX
@pytest.mark.parametrize("more", [["--guard", "False"], ["--json"], ["--json", "--batch_size", "2"]])
def test_standard_output_that_takes_no_more(sound, tmp_path, more):
    """Nothing is shown any more; all is transcribed and written."""
    other = tmp_path / "other.wav"
    other.write_bytes(sound.read_bytes())
    code = """
use_made_up_model()
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
sys.exit(main(sys.argv[1:]))
"""
    child = in_a_child(code, sound, other, "-o", tmp_path / "results", *FAST, *more)
    assert child.returncode == 5
    assert child.stderr == (
        "viska: error: standard output takes no more: No space left on device; make room, or write it elsewhere\n"
    )
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["other.txt", "talk.txt"]


def test_a_full_disk_does_not_take_an_older_result(command, sound, small_disk):
    (small_disk / "filler").unlink()
    (small_disk / "talk.txt").write_text("older")
    (small_disk / "filler").write_bytes(bytes(12 << 10))
    command.folder = small_disk
    assert command(sound).status == 5
    assert (small_disk / "talk.txt").read_text() == "older"


def test_a_folder_in_the_place_of_a_result(command, sound):
    (command.folder / "talk.txt").mkdir(parents=True)
    outcome = command(sound)
    assert outcome.status == 5
    assert "move it away, or choose another output folder" in outcome.err
    assert left_behind(command.folder) == ["talk.txt"]


@LINUX
@pytest.mark.parametrize("where", ["before", "while"])
def test_killed_while_writing(sound, tmp_path, where):
    """No signal is harder than SIGKILL: the older result stays whole, and what lies beside it has a name of its own."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "talk.txt").write_text("older")
    code = {
        "before": "Path.replace = lambda *_: os.kill(os.getpid(), 9)",
        "while": 'viska.formats.files.FORMATS["txt"] = lambda _: "word " * 10000;'
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); signal.signal(signal.SIGXFSZ, signal.SIG_DFL)",
    }[where]
    child = in_a_child(
        f"import signal; use_made_up_model(); {code}; main(sys.argv[1:])", sound, "-o", tmp_path / "results", *FAST
    )
    assert child.returncode == (-signal.SIGKILL if where == "before" else -signal.SIGXFSZ), child.stderr
    assert (tmp_path / "results" / "talk.txt").read_text() == "older"
    names = left_behind(tmp_path / "results")
    assert [name for name in names if not name.startswith(".viska-")] == ["talk.txt"]
    # The next run is not disturbed by it.
    child = in_a_child("use_made_up_model(); sys.exit(main(sys.argv[1:]))", sound, "-o", tmp_path / "results", *FAST)
    assert child.returncode == 0
    assert (tmp_path / "results" / "talk.txt").read_text() != "older"


@LINUX
def test_killed_while_transcribing(sound, tmp_path):
    """A result is written when all of it is there; a process that ends before leaves none."""
    code = "use_made_up_model(); viska.transcription.Transcription.transcript = lambda _: os.kill(os.getpid(), 15)"
    child = in_a_child(f"{code}; main(sys.argv[1:])", sound, "-o", tmp_path / "results", *FAST)
    assert child.returncode == -signal.SIGTERM
    assert left_behind(tmp_path / "results") == []


@pytest.mark.skipif(os.name == "nt", reason="the permissions of POSIX")
def test_a_results_folder_without_permission(command, sound, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    command.refused(sound, status=5, message="cannot be written to; choose another one with --output_dir")
