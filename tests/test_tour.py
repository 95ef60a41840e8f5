"""docs/tour.md: every snippet and every command of the page is run as it stands.

A section of the page (`## ...`) is one test. Its blocks are run in order, in a folder with the files that it names:

    ```python     is executed; the first section's before those of every other
    ```sh         each line is a command; `viska` is the command line of this checkout
    ```text       is what the block before has printed, where ... stands for any text
    ```console    is shown alone, for what does not end or needs what tests have not
    <!-- needs: NAME -->   skips the section where that module is not installed
"""

import doctest
import os
import re
import shlex
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest

import viska
from viska.audio import SAMPLE_RATE, load_audio
from viska.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "tour.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
SETTING_UP = next(iter(SECTIONS.values()))


@pytest.fixture(scope="session")
def files(recordings, tmp_path_factory) -> dict[str, bytes]:
    """The contents of the files that the page names."""
    folder = tmp_path_factory.mktemp("tour")
    second, third = (load_audio(recordings / f"sense_and_sensibility_{number}.flac") for number in ("0880", "0890"))
    both = np.zeros((2, len(second) + len(third)), np.float32)
    both[0, : len(second)], both[1, len(second) :] = second, third
    write_wav(folder / "call.wav", both)
    write_film(folder / "film.mkv", [np.stack([second, second]), np.stack([third, third])])
    return {
        "talk.wav": (recordings / "sense_and_sensibility_0870.wav").read_bytes(),
        "talks/a.flac": (recordings / "sense_and_sensibility_0880.flac").read_bytes(),
        "talks/b.flac": (recordings / "sense_and_sensibility_0890.flac").read_bytes(),
        "call.wav": (folder / "call.wav").read_bytes(),
        "film.mkv": (folder / "film.mkv").read_bytes(),
    }


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((len(samples), 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((samples.T * 32767).astype("<i2").tobytes())


def write_film(path: Path, tracks: list[np.ndarray]) -> None:
    with av.open(str(path), "w", format="matroska") as file:
        streams = [file.add_stream("flac", rate=SAMPLE_RATE, layout="stereo") for _ in tracks]
        for stream, samples in zip(streams, tracks, strict=True):
            frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16), format="s16p", layout="stereo")
            frame.sample_rate, frame.pts = SAMPLE_RATE, 0
            packed = av.AudioResampler(format="s16", layout="stereo", rate=SAMPLE_RATE)
            for part in (*packed.resample(frame), *packed.resample(None)):
                file.mux(stream.encode(part))
            file.mux(stream.encode(None))


@pytest.fixture
def folder(files, tmp_path, monkeypatch) -> Path:
    """A working folder with the files, and a program `viska` on the path."""
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    programs = tmp_path / ".programs"
    programs.mkdir()
    (programs / "viska").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m viska "$@"\n')
    (programs / "viska").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def loaded_once(tiny_en, base, monkeypatch):
    """The real models, each loaded once for all tests; other names and folders are loaded as always."""
    load_model, loaded = viska.load_model, {"tiny.en": tiny_en, "base": base}

    def load(name, *arguments, **settings):
        return loaded[name] if name in loaded else load_model(name, *arguments, **settings)

    monkeypatch.setattr("viska.load_model", load)
    monkeypatch.setattr("viska.weights.load_model", load)


def run_python(code: str, names: dict) -> None:
    exec(compile(code, "docs/tour.md", "exec"), names)


def run_shell(lines: str) -> None:
    for line in lines.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["viska"] and not set(line) & set("|>*"):
            assert main(words[1:]) == 0, line
            continue
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        print(done.stdout, end="")


def run_section(text: str, capsys) -> None:
    for module in re.findall(r"<!-- needs: (\w+) -->", text):
        pytest.importorskip(module)
    names: dict = {}
    for _, code in BLOCK.findall(SETTING_UP):
        run_python(code, names)
    printed = ""
    for kind, content in BLOCK.findall(text):
        if kind == "text":
            assert is_as_shown(content, printed), f"shown:\n{content}\nprinted:\n{printed}"
            continue
        capsys.readouterr()
        {"python": lambda code: run_python(code, names), "sh": run_shell, "console": lambda _: None}[kind](content)
        printed = capsys.readouterr().out


def is_as_shown(shown: str, printed: str) -> bool:
    return doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_of_the_tour_runs(title, folder, loaded_once, capsys):
    run_section(SECTIONS[title], capsys)


def test_the_commands_leave_what_the_page_says(folder, loaded_once, capsys):
    run_section(SECTIONS["Transcribe"], capsys)
    run_section(SECTIONS["Many files, folders, patterns, standard input"], capsys)
    assert {path.name for path in folder.glob("talk.*")} == {
        f"talk.{name}" for name in ("wav", "txt", "vtt", "srt", "tsv", "json")
    }
    written = {path.name for path in (folder / "out").iterdir()}
    assert written >= {"talk.txt", "a.txt", "b.txt", "a-2.txt", "b-2.txt", "stdin.srt"}


@pytest.mark.parametrize(
    "broken",
    [
        "```python\nviska.no_such_name\n```\n",
        "```python\nviska.transcribe(model, 'missing.wav')\n```\n",
        "```sh\nviska missing.wav --model tiny.en\n```\n",
        "```sh\nfalse | false\n```\n",
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```ruby\nputs 1\n```\n",
    ],
)
def test_a_page_that_does_not_work_is_noticed(broken, folder, loaded_once, capsys):
    with pytest.raises((AssertionError, AttributeError, viska.ViskaError, KeyError)):
        run_section(broken, capsys)


def test_every_section_shows_something_and_every_block_is_of_a_known_kind():
    assert len(SECTIONS) >= 15
    assert [title for title, text in SECTIONS.items() if not BLOCK.search(text)] == []
    assert {kind for kind, _ in BLOCK.findall(PAGE)} <= {"python", "sh", "text", "console"}
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE)), "a block is not closed"


def test_the_readme_leads_to_the_tour():
    assert "(docs/tour.md)" in (ROOT / "README.md").read_text()
