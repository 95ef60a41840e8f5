"""Writers: layout, times, and files that appear whole or not at all."""

import errno
import json
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up_transcripts import make_transcript
from viska.errors import OptionError, OutputError
from viska.formats import FORMATS, format_timestamp, to_json, to_srt, to_tsv, to_txt, to_vtt, write
from viska.result import Word

EMPTY = make_transcript()
TALK = make_transcript(
    (0.0, 2.5, " Hello there."), (2.5, 59.9996, " Grüße -->\tund 日本語 👩🏽‍💻 "), (3661.001, 3662.0, " Bye.")
)


# --- layout


def test_txt():
    assert to_txt(TALK) == "Hello there.\nGrüße -->\tund 日本語 👩🏽‍💻\nBye.\n"


def test_vtt():
    assert to_vtt(TALK) == (
        "WEBVTT\n\n"
        "00:00.000 --> 00:02.500\nHello there.\n\n"
        "00:02.500 --> 01:00.000\nGrüße ->\tund 日本語 👩🏽‍💻\n\n"
        "01:01:01.001 --> 01:01:02.000\nBye.\n\n"
    )


def test_srt():
    assert to_srt(TALK) == (
        "1\n00:00:00,000 --> 00:00:02,500\nHello there.\n\n"
        "2\n00:00:02,500 --> 00:01:00,000\nGrüße ->\tund 日本語 👩🏽‍💻\n\n"
        "3\n01:01:01,001 --> 01:01:02,000\nBye.\n\n"
    )


def test_tsv():
    assert to_tsv(TALK) == (
        "start\tend\ttext\n0\t2500\tHello there.\n2500\t60000\tGrüße --> und 日本語 👩🏽‍💻\n3661001\t3662000\tBye.\n"
    )


def test_json():
    content = to_json(TALK)
    assert content.isascii()
    assert "\n" not in content
    parsed = json.loads(content)
    assert parsed == TALK.to_dict()
    assert list(parsed) == ["text", "segments", "language"]
    assert list(parsed["segments"][0])[:5] == ["id", "seek", "start", "end", "text"]
    assert "words" not in parsed["segments"][0]


def test_json_keeps_words():
    words = (Word(" Hi", 0.0, 0.5, 0.9),)
    parsed = json.loads(to_json(make_transcript((0.0, 1.0, " Hi", words))))
    assert parsed["segments"][0]["words"] == [{"word": " Hi", "start": 0.0, "end": 0.5, "probability": 0.9}]


def test_json_refuses_what_is_not_a_result():
    with pytest.raises(TypeError, match="set has no place in JSON"):
        to_json({"segments": {1, 2}})


def test_empty_transcript():
    assert (to_txt(EMPTY), to_vtt(EMPTY), to_srt(EMPTY)) == ("", "WEBVTT\n\n", "")
    assert to_tsv(EMPTY) == "start\tend\ttext\n"
    assert json.loads(to_json(EMPTY)) == {"text": "", "segments": [], "language": "en"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_plain_dict_will_do(name):
    assert FORMATS[name](TALK.to_dict()) == FORMATS[name](TALK)


# --- times


@pytest.mark.parametrize(
    ("seconds", "plain", "srt"),
    [
        (0, "00:00.000", "00:00:00,000"),
        (1.001, "00:01.001", "00:00:01,001"),
        (59.9994, "00:59.999", "00:00:59,999"),
        (59.9996, "01:00.000", "00:01:00,000"),
        (3599.9996, "01:00:00.000", "01:00:00,000"),
        (3600.0, "01:00:00.000", "01:00:00,000"),
        (359999.999, "99:59:59.999", "99:59:59,999"),
        (360000.0, "100:00:00.000", "100:00:00,000"),
        (-0.0, "00:00.000", "00:00:00,000"),
    ],
)
def test_format_timestamp(seconds, plain, srt):
    assert format_timestamp(seconds) == plain
    assert format_timestamp(seconds, always_include_hours=True, decimal_marker=",") == srt


@pytest.mark.parametrize("seconds", [-0.001, float("nan"), float("inf")])
def test_times_that_cannot_be_written(seconds):
    with pytest.raises(OptionError, match=re.escape(f"the time {seconds} s")):
        format_timestamp(seconds)
    with pytest.raises(OptionError, match="cannot be written"):
        to_tsv(make_transcript((0.0, seconds, "a")))


def parse_timestamp(text):
    *hours, minutes, rest = text.split(":")
    seconds, milliseconds = rest.split(".")
    assert len(milliseconds) == 3
    assert int(minutes) < 60
    assert int(seconds) < 60
    return ((int(hours[0]) if hours else 0) * 3600 + int(minutes) * 60 + int(seconds)) * 1000 + int(milliseconds)


times = st.floats(0, 1e6)


@given(times, st.booleans())
def test_a_timestamp_is_the_nearest_millisecond(seconds, hours):
    text = format_timestamp(seconds, always_include_hours=hours)
    assert parse_timestamp(text) == round(seconds * 1000)
    assert (text.count(":") == 2) == (hours or round(seconds * 1000) >= 3_600_000)


@given(times, times)
def test_timestamps_are_monotone(first, second):
    early, late = sorted((first, second))
    assert parse_timestamp(format_timestamp(early)) <= parse_timestamp(format_timestamp(late))


@given(st.integers(0, 10**9))
def test_whole_milliseconds_survive(milliseconds):
    assert parse_timestamp(format_timestamp(milliseconds / 1000)) == milliseconds


words_only = st.text(st.characters(categories=["L", "N", "P", "S", "M"]), min_size=1)
rows = st.lists(st.tuples(times, times, words_only), max_size=5)


@given(rows)
def test_srt_reads_back(rows):
    blocks = to_srt(make_transcript(*rows)).split("\n\n")
    assert blocks.pop() == ""
    assert len(blocks) == len(rows)
    for number, (block, (start, end, text)) in enumerate(zip(blocks, rows, strict=True), start=1):
        head, times_line, body = block.split("\n")
        assert head == str(number)
        stamps = [parse_timestamp(stamp.replace(",", ".")) for stamp in times_line.split(" --> ")]
        assert stamps == [round(start * 1000), round(end * 1000)]
        assert body == re.sub("-{2,}>", "->", text)


@given(rows)
def test_tsv_reads_back(rows):
    header, *lines = to_tsv(make_transcript(*rows)).removesuffix("\n").split("\n")
    assert header == "start\tend\ttext"
    assert [line.split("\t") for line in lines] == [
        [str(round(start * 1000)), str(round(end * 1000)), text] for start, end, text in rows
    ]


@given(st.lists(st.tuples(times, times, st.text()), max_size=5))
def test_json_reads_back(rows):
    transcript = make_transcript(*rows)
    assert json.loads(to_json(transcript)) == transcript.to_dict()


# --- files


def test_write_all(tmp_path):
    paths = write(TALK, "some/folder/talk.part1.wav", tmp_path)
    assert [path.name for path in paths] == [f"talk.part1.{name}" for name in ("txt", "vtt", "srt", "tsv", "json")]
    for path in paths:
        assert path.read_bytes() == FORMATS[path.suffix[1:]](TALK).encode("utf-8")
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.parametrize("name", FORMATS)
def test_write_one_into_a_new_folder(tmp_path, name):
    folder = tmp_path / "a" / "b"
    assert write(TALK, Path("talk.mp3"), str(folder), name) == [folder / f"talk.{name}"]
    assert [path.name for path in folder.iterdir()] == [f"talk.{name}"]


def test_write_into_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write(TALK, "talk", ".", "txt") == [Path("talk.txt")]
    assert (tmp_path / "talk.txt").is_file()


@pytest.mark.skipif(os.name == "nt", reason="the files of POSIX")
def test_links_and_devices_stay_what_they_are(tmp_path):
    (tmp_path / "link.txt").symlink_to("target.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    heard = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe.txt").read_text()))
    reader.start()
    for name in ("link", "pipe"):
        write(TALK, f"{name}.wav", tmp_path, "txt")
    reader.join(20)
    assert (tmp_path / "link.txt").is_symlink()
    assert heard == [(tmp_path / "target.txt").read_text()]
    assert (tmp_path / "pipe.txt").is_fifo()


def test_write_replaces_an_older_file(tmp_path):
    (tmp_path / "talk.txt").write_text("old and much longer than the new one" * 10)
    write(EMPTY, "talk.wav", tmp_path, "txt")
    assert (tmp_path / "talk.txt").read_text() == ""


@pytest.mark.skipif(os.name == "nt", reason="the permissions of POSIX")
def test_files_get_the_usual_permissions(tmp_path):
    umask = os.umask(0o022)
    try:
        (path,) = write(TALK, "talk.wav", tmp_path, "txt")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    stem = "x" * 251
    (path,) = write(TALK, f"{stem}.wav", tmp_path, "srt")
    assert path.name == f"{stem}.srt"


@pytest.mark.parametrize("name", ["doc", "SRT", "", "txt,srt"])
def test_unknown_format(tmp_path, name):
    with pytest.raises(OptionError, match=f"{name!r}: give one of txt, vtt, srt, tsv, json, lrc, ass, all"):
        write(TALK, "talk.wav", tmp_path / "new", name)
    assert not (tmp_path / "new").exists()


def test_an_input_without_a_name(tmp_path):
    with pytest.raises(OutputError, match="'/' has no file name"):
        write(TALK, "/", tmp_path)


def test_what_cannot_be_formatted_leaves_no_file(tmp_path):
    with pytest.raises(OptionError, match="the time -1"):
        write(make_transcript((-1.0, 0.0, "a")), "talk.wav", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "talk.srt").mkdir()
    with pytest.raises(OutputError, match=r"talk\.srt: .*there is a folder of that name"):
        write(TALK, "talk.wav", tmp_path, "srt")
    assert [path.name for path in tmp_path.iterdir()] == ["talk.srt"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(OutputError, match=r"cannot write .*choose another output folder"):
        write(TALK, "talk.wav", tmp_path / "out", "srt")
    with pytest.raises(OutputError, match="a part of the path is a file"):
        write(TALK, "talk.wav", tmp_path / "out" / "deeper", "srt")
    assert (tmp_path / "out").read_text() == "not a folder"


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(OutputError, match="give the input a shorter name"):
        write(TALK, "x" * 400 + ".wav", tmp_path, "srt")
    assert not list(tmp_path.iterdir())


class FailingFile:
    """A file on which writing fails after the first half."""

    def __init__(self, file, error):
        self.file = file
        self.error = error

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        raise self.error


def fail_on_writing(monkeypatch, error):
    path_open = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode="r": FailingFile(path_open(path, mode), error))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "check its permissions, or choose another output folder"),
    ],
)
def test_failure_half_way_keeps_the_older_file_and_no_pieces(tmp_path, monkeypatch, number, advice):
    (tmp_path / "talk.srt").write_text("older")
    fail_on_writing(monkeypatch, OSError(number, os.strerror(number)))
    with pytest.raises(OutputError, match=rf"cannot write .*talk\.srt: {os.strerror(number)}; .*{advice}") as caught:
        write(TALK, "talk.wav", tmp_path, "srt")
    assert isinstance(caught.value, OSError)
    assert caught.value.__cause__.errno == number
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["talk.srt"]
    assert (tmp_path / "talk.srt").read_text() == "older"


def test_an_interruption_half_way_leaves_no_pieces(tmp_path, monkeypatch):
    fail_on_writing(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write(TALK, "talk.wav", tmp_path, "srt")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="check its permissions"):
            write(TALK, "talk.wav", tmp_path, "srt")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_without_permission_simulated(tmp_path, monkeypatch):
    def refuse(path, mode="r"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OutputError, match=r"talk\.srt: Permission denied; check its permissions"):
        write(TALK, "talk.wav", tmp_path, "srt")


def test_independent_of_the_locale(tmp_path):
    # A Python whose locale knows ASCII only.
    program = "import json, sys; from viska.formats import write; write(json.loads(sys.argv[1]), 'a.wav', sys.argv[2])"
    variables = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", program, json.dumps(TALK.to_dict()), str(tmp_path)]
    subprocess.run(command, env=variables, check=True)
    assert {path.suffix[1:]: path.read_bytes().decode("utf-8") for path in tmp_path.iterdir()} == {
        name: FORMATS[name](TALK) for name in ("txt", "vtt", "srt", "tsv", "json")
    }


# --- against openai/whisper

ORACLE_SCRIPT = """
import json, sys
from whisper.utils import get_writer

for folder, result in json.load(sys.stdin):
    get_writer("all", folder)(result, "in/talk.part1.wav")
"""

TEXTS = st.text() | st.lists(st.sampled_from(["-->", "\t", "\n", " a", "日本", "👩🏽‍💻", "--", ">", "&<"])).map("".join)


@pytest.mark.slow
def test_same_bytes_as_openai_whisper(tmp_path):
    python = os.environ.get("VISKA_ORACLE_PYTHON")
    if not python:
        pytest.skip("VISKA_ORACLE_PYTHON is not set: give a Python that has openai-whisper==20250625")
    # Of longer arrows openai/whisper leaves one that breaks the file.
    transcripts = [transcript for transcript in [EMPTY, TALK, *made_up_transcripts()] if "--->" not in transcript.text]
    asked = []
    for number, transcript in enumerate(transcripts):
        (tmp_path / f"theirs{number}").mkdir()
        asked.append((str(tmp_path / f"theirs{number}"), transcript.to_dict()))
    run = subprocess.run([python, "-c", ORACLE_SCRIPT], input=json.dumps(asked), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for number, transcript in enumerate(transcripts):
        for path in write(transcript, "in/talk.part1.wav", tmp_path / f"ours{number}"):
            assert path.read_bytes() == (tmp_path / f"theirs{number}" / path.name).read_bytes(), path


def made_up_transcripts():
    collected = []

    @given(st.lists(st.tuples(times, times, TEXTS), max_size=6))
    def collect(rows):
        collected.append(make_transcript(*rows))

    collect()
    return collected
