"""What users of `whisper.utils` import: the same names, results and files."""

import io
import itertools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viska import utils
from viska.errors import OptionError, OutputError
from viska.formats import LineOptions, to_json, to_srt, to_tsv, to_txt, to_vtt
from viska.result import Segment, Transcript, Word
from viska.utils import (
    ResultWriter,
    WriteJSON,
    WriteSRT,
    WriteTSV,
    WriteTXT,
    WriteVTT,
    exact_div,
    format_timestamp,
    get_end,
    get_start,
    get_writer,
    make_safe,
    optional_float,
    optional_int,
    str2bool,
)

MEASURES = {"seek": 0, "temperature": 0.0, "avg_logprob": -0.3, "compression_ratio": 1.2, "no_speech_prob": 0.1}


def make_segment(number, words):
    timed = tuple(Word(word, start, end, 0.9) for word, start, end in words)
    text = "".join(word.word for word in timed)
    return Segment(number, start=timed[0].start, end=timed[-1].end, text=text, tokens=(1,), words=timed, **MEASURES)


TALK = Transcript(
    text=" Good evening, ladies and gentlemen. We begin right now.",
    segments=(
        make_segment(
            0,
            [
                (" Good", 0.5, 0.9),
                (" evening,", 0.9, 1.4),
                (" ladies", 1.6, 2.0),
                (" and", 2.0, 2.2),
                (" gentlemen.", 2.2, 3),
            ],
        ),
        make_segment(1, [(" We", 6.5, 6.8), (" begin", 6.8, 7.2), (" right", 7.2, 7.3), (" now.", 3607.3, 3607.9)]),
    ),
    language="en",
)
PLAIN = Transcript(
    text=" Hello.\tYou.",
    segments=(Segment(0, start=0.0, end=1.5, text=" Hello.\tYou.", tokens=(1,), **MEASURES),),
    language="en",
)

# --- converters


def test_exact_div():
    assert exact_div(480_000, 160) == 3000
    assert exact_div(-6, 3) == -2
    with pytest.raises(OptionError, match="7 is no multiple of 2"):
        exact_div(7, 2)


@given(st.integers(), st.integers().filter(bool))
def test_exact_div_undoes_a_product(x, y):
    assert exact_div(x * y, y) == x


def test_str2bool():
    assert str2bool("True") is True
    assert str2bool("False") is False
    for other in ("true", "1", "", "None"):
        with pytest.raises(ValueError, match=repr(other)):
            str2bool(other)


def test_optional_numbers():
    assert optional_int("None") is None
    assert optional_int("-5") == -5
    assert optional_float("None") is None
    assert optional_float("0.2") == 0.2
    assert isinstance(optional_float("2"), float)
    with pytest.raises(OptionError, match=r"'1\.5' is neither a whole number nor None"):
        optional_int("1.5")
    with pytest.raises(OptionError, match=r"'none' is neither a number nor None"):
        optional_float("none")


@given(st.integers(), st.floats(allow_nan=False))
def test_optional_numbers_read_what_python_writes(whole, number):
    assert optional_int(str(whole)) == whole
    assert optional_float(str(number)) == number


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "naïve 日本"), ("latin-1", "naïve ??"), ("ascii", "na?ve ??"), (None, "naïve 日本")],
)
def test_make_safe_leaves_what_standard_output_can_show(monkeypatch, encoding, expected):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(encoding=encoding))
    assert make_safe("naïve 日本") == expected


def test_make_safe_without_a_standard_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert make_safe("naïve \ud800") == "naïve ?"


@given(st.text(), st.sampled_from(["ascii", "cp1252", "utf-8", "shift_jis"]))
def test_what_is_safe_can_be_printed(text, encoding):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", SimpleNamespace(encoding=encoding))
        make_safe(text).encode(encoding)


def test_format_timestamp_is_that_of_the_formats():
    assert format_timestamp(3661.5) == "01:01:01.500"
    assert format_timestamp(1.5, always_include_hours=True, decimal_marker=",") == "00:00:01,500"


def test_nothing_heavy_is_imported_and_no_name_made_up():
    code = """
import sys
from viska.utils import get_writer
assert not {"torch", "numpy"} & set(sys.modules)
import viska.utils
try:
    viska.utils.no_such_name
except AttributeError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no attribute 'no_such_name'" in run.stdout


def test_compression_ratio_tells_repetition():
    assert utils.compression_ratio("and so on " * 50) > 10 > utils.compression_ratio("and so on")


# --- start and end


def test_start_and_end_are_those_of_the_words():
    assert get_start(TALK.segments) == 0.5
    assert get_end(TALK.segments) == 3607.9


def test_start_and_end_of_segments_without_words():
    dicts = [{"start": 1.0, "end": 2.0, "words": []}, {"start": 2.0, "end": 3.0}]
    assert (get_start(dicts), get_end(dicts)) == (1.0, 3.0)
    assert (get_start([]), get_end([])) == (None, None)


def test_an_emptied_segment_has_no_part_in_start_and_end():
    word = {"word": " a", "start": 1.5, "end": 1.8}
    empty = {"words": [], "start": 0.0, "end": 9.0}
    dicts = [empty, {"words": [word], "start": 1.0, "end": 2.0}, empty]
    assert (get_start(dicts), get_end(dicts)) == (1.5, 1.8)


# --- writers


@pytest.mark.parametrize(
    ("writer", "extension", "content"),
    [
        (WriteTXT, "txt", to_txt),
        (WriteVTT, "vtt", to_vtt),
        (WriteSRT, "srt", to_srt),
        (WriteTSV, "tsv", to_tsv),
        (WriteJSON, "json", to_json),
    ],
)
@pytest.mark.parametrize("result", [TALK, TALK.to_dict(), PLAIN], ids=["transcript", "dict", "no words"])
def test_a_writer_writes_its_format_beside_no_other(tmp_path, writer, extension, content, result):
    assert writer.extension == extension
    assert type(get_writer(extension, tmp_path)) is writer
    assert writer(str(tmp_path))(result, "in/talk.part1.wav") is None
    assert [path.name for path in tmp_path.iterdir()] == [f"talk.part1.{extension}"]
    assert (tmp_path / f"talk.part1.{extension}").read_bytes() == content(result).encode()
    file = io.StringIO()
    writer(tmp_path).write_result(result, file=file)
    assert file.getvalue() == content(result)


def test_all_writes_every_format(tmp_path):
    get_writer("all", str(tmp_path))(TALK, tmp_path / "talk.mp3", {"max_line_width": 20}, max_line_count=1)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"talk.{name}" for name in ("txt", "vtt", "srt", "tsv", "json")
    }
    options = LineOptions(max_line_width=20, max_line_count=1)
    assert (tmp_path / "talk.srt").read_text() == to_srt(TALK, options)
    assert (tmp_path / "talk.vtt").read_text() == to_vtt(TALK, options)
    assert to_srt(TALK, options) != to_srt(TALK)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"'docx'.*txt, vtt, srt, tsv, json, all"):
        get_writer("docx", tmp_path)


def srt(*options, **kwargs):
    file = io.StringIO()
    WriteSRT(".").write_result(TALK, file, *options, **kwargs)
    return file.getvalue()


def test_options_come_as_a_dict_or_as_keywords():
    expected = to_srt(TALK, LineOptions(max_words_per_line=2, highlight_words=True))
    assert srt({"max_words_per_line": 2, "highlight_words": True}) == expected
    assert srt(max_words_per_line=2, highlight_words=True) == expected
    assert srt({"max_words_per_line": 2}, highlight_words=True) == expected
    assert srt({"max_words_per_line": 3}, max_words_per_line=2, highlight_words=True) == expected
    assert expected != to_srt(TALK)


def test_options_that_are_none_are_not_given():
    unset = {"max_line_width": None, "max_line_count": None, "highlight_words": False, "max_words_per_line": None}
    assert srt(unset) == srt(options=None) == srt(**unset) == to_srt(TALK)
    assert srt({"max_words_per_line": 2}, max_words_per_line=None) == srt(max_words_per_line=2)


@pytest.mark.parametrize("writer", ["txt", "srt", "json", "all"])
def test_an_option_that_is_not_known_is_refused(tmp_path, writer):
    with pytest.raises(OptionError, match=r"'max_line_length'.*max_line_width"):
        get_writer(writer, tmp_path)(TALK, "talk.wav", {"max_line_length": 40})
    with pytest.raises(OptionError, match=r"'max_line_length'.*max_line_width"):
        get_writer(writer, tmp_path)(TALK, "talk.wav", max_line_length=40)
    assert list(tmp_path.iterdir()) == []


class WriteCount(ResultWriter):
    extension = "count"

    def write_result(self, result, file, options=None, **kwargs):
        print(len(result["segments"]), options, kwargs, file=file)


def test_a_format_of_the_users_own(tmp_path):
    WriteCount(str(tmp_path))(TALK, "talk.wav", {"a": 1}, b=2)
    assert (tmp_path / "talk.count").read_bytes() == b"2 {'a': 1} {'b': 2}\n"


class WriteLoud(WriteSRT):
    def write_result(self, result, file, options=None, **kwargs):
        content = io.StringIO()
        super().write_result(result, content, options, **kwargs)
        file.write(content.getvalue().upper())


def test_a_writer_can_be_changed(tmp_path):
    WriteLoud(tmp_path)(TALK, "talk.wav", max_words_per_line=1)
    assert (tmp_path / "talk.srt").read_text() == srt(max_words_per_line=1).upper()


def test_the_base_is_no_writer(tmp_path):
    with pytest.raises(TypeError, match="write_result"):
        ResultWriter(tmp_path)


@pytest.mark.parametrize("writer", ["txt", "srt", "all"])
def test_an_input_without_a_name(tmp_path, writer):
    with pytest.raises(OutputError, match=r"''"):
        get_writer(writer, tmp_path)(TALK, "")


@pytest.mark.parametrize("writer", ["srt", "vtt", "all"])
def test_line_options_do_nothing_without_words(tmp_path, writer):
    get_writer(writer, tmp_path)(PLAIN, "plain.wav")
    get_writer(writer, tmp_path)(PLAIN, "talk.wav", {"max_line_width": 1, "highlight_words": True})
    written = {path.suffix: path.read_bytes() for path in tmp_path.glob("talk.*")}
    assert written
    assert written == {path.suffix: path.read_bytes() for path in tmp_path.glob("plain.*")}


def test_an_older_file_is_replaced_and_a_failure_leaves_it_alone(tmp_path):
    (tmp_path / "talk.txt").write_text("old")
    with pytest.raises(KeyError):
        WriteTXT(tmp_path)({"segments": [{"no": "text"}]}, "talk.wav")
    assert (tmp_path / "talk.txt").read_text() == "old"
    WriteTXT(tmp_path)(PLAIN, "talk.wav")
    assert (tmp_path / "talk.txt").read_text() == "Hello.\tYou.\n"


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        WriteTXT(tmp_path / "file")(TALK, "talk.wav")


# --- against openai/whisper

ORACLE_SCRIPT = """
import importlib.util, json, sys, types

# The module alone, without the torch that the whole package imports.
package = types.ModuleType("whisper")
package.__path__ = list(importlib.util.find_spec("whisper").submodule_search_locations)
sys.modules["whisper"] = package
from whisper import utils

calls, folder = json.load(sys.stdin)
for number, (result, options) in enumerate(calls):
    utils.get_writer("all", folder)(result, f"{number}.wav", options)
segments = calls[0][0]["segments"]
numbers = {
    "int": [utils.optional_int(text) for text in ("None", "5", "-1", " 7 ", "1_000")],
    "float": [utils.optional_float(text) for text in ("None", "5", "0.2", "1e-3", " 7 ")],
    "bool": [utils.str2bool(text) for text in ("True", "False")],
    "start": utils.get_start(segments),
    "end": utils.get_end(segments),
    "div": utils.exact_div(480000, 160),
}
json.dump(numbers, sys.stdout)
"""


@pytest.mark.slow
def test_same_files_and_values_as_openai_whisper(tmp_path):
    python = os.environ.get("VISKA_ORACLE_PYTHON")
    if not python:
        pytest.skip("VISKA_ORACLE_PYTHON is not set: give a Python that has openai-whisper==20250625")
    settings = [
        {"max_line_width": width, "max_line_count": count, "highlight_words": highlight, "max_words_per_line": words}
        for width, count, highlight, words in itertools.product([None, 12], [None, 1, 2], [False, True], [None, 1, 3])
    ]
    calls = [*((TALK, options) for options in settings), (PLAIN, settings[0]), (PLAIN, None)]
    (tmp_path / "theirs").mkdir()
    asked = json.dumps([[(result.to_dict(), options) for result, options in calls], str(tmp_path / "theirs")])
    run = subprocess.run([python, "-c", ORACLE_SCRIPT], input=asked, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    write = get_writer("all", tmp_path / "ours")
    for number, (result, options) in enumerate(calls):
        write(result, f"{number}.wav", options)
    theirs = {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()}
    ours = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    assert len(ours) == 5 * len(calls)
    assert ours == theirs
    assert json.loads(run.stdout) == {
        "int": [optional_int(text) for text in ("None", "5", "-1", " 7 ", "1_000")],
        "float": [optional_float(text) for text in ("None", "5", "0.2", "1e-3", " 7 ")],
        "bool": [True, False],
        "start": get_start(TALK.segments),
        "end": get_end(TALK.segments),
        "div": exact_div(480_000, 160),
    }
