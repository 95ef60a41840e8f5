"""The result type: reading it like a dict, its words, and saving it."""

import json
import subprocess
import sys

import pytest
from hypothesis import given

from made_up_transcripts import make_transcript, spoken_transcripts, talk, without_words
from viska.errors import OptionError, OutputError
from viska.formats import FORMATS, PRESETS, LineOptions, Preset, to_srt, to_vtt

TALK = talk("en")


@given(spoken_transcripts())
def test_words_are_those_of_the_segments_in_order(transcript):
    assert list(transcript.words) == [word for segment in transcript.segments for word in segment.words]


def test_a_transcript_without_words_has_none():
    assert without_words(TALK).words == ()
    assert "words" not in TALK  # the dict is that of openai/whisper: words are a property, not a key


@pytest.mark.parametrize("name", FORMATS)
def test_a_path_tells_the_format(tmp_path, name):
    path = TALK.save(tmp_path / "new" / f"talk.part1.{name.upper()}")
    assert path == tmp_path / "new" / f"talk.part1.{name.upper()}"
    assert path.read_bytes().decode() == FORMATS[name](TALK)


def test_saved_json_is_the_result(tmp_path):
    assert json.loads(TALK.save(str(tmp_path / "talk.json")).read_text()) == TALK.to_dict()


def test_subtitles_are_laid_out_as_asked(tmp_path):
    def saved(**options):
        return TALK.save(tmp_path / "talk.srt", **options).read_text()

    assert saved(preset="tv") == saved(preset=PRESETS["tv"]) == to_srt(TALK, PRESETS["tv"])
    assert saved(preset=Preset(max_words=2)) == to_srt(TALK, Preset(max_words=2))
    assert saved(max_line_width=20, max_line_count=1) == to_srt(TALK, LineOptions(max_line_width=20, max_line_count=1))
    assert len({saved(), saved(preset="tv"), saved(max_words_per_line=2)}) == 3
    assert "<c>" in TALK.save(tmp_path / "a.vtt", preset="tv", karaoke=True).read_text()
    assert TALK.save(tmp_path / "a.vtt", highlight_words=True).read_text() == to_vtt(
        TALK, LineOptions(highlight_words=True)
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("talk.doc", {}, r"'.*talk\.doc' does not end in the name of a format: let it end in \.txt, .*\.ass"),
        ("talk", {}, "does not end in the name of a format"),
        ("talk.srt", {"preset": "radio"}, "unknown preset 'radio': give one of tv, children, bbc, shorts"),
        ("talk.srt", {"preset": "tv", "max_line_width": 3}, "leave out max_line_width, or the preset"),
        ("talk.srt", {"colour": "red"}, "unknown option colour: give some of preset, max_line_width"),
        ("talk.srt", {"max_line_width": 0}, "max_line_width is 0"),
        ("talk.srt", {"preset": 5}, "options is 5"),
        ("talk.txt", {"preset": "tv"}, "txt has no cues to lay out: leave the options out, or save as vtt, srt"),
    ],
)
def test_what_cannot_be_saved_leaves_no_file(tmp_path, name, options, message):
    with pytest.raises(OptionError, match=message):
        TALK.save(tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failure(tmp_path, monkeypatch):
    older = tmp_path / "talk.txt"
    older.write_text("old")

    def breaks_off(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", breaks_off)
    with pytest.raises(OutputError, match=r"cannot write .*talk\.txt: No space left on device; free some space"):
        TALK.save(older)
    assert older.read_text() == "old"
    assert list(tmp_path.iterdir()) == [older]


def test_optional_facts_are_absent_where_they_are_not_known():
    segment = make_transcript((0.0, 1.0, " Hi")).segments[0]
    assert set(segment) & {"words", "language", "token_logprobs", "top_logprobs", "channel"} == set()
    with pytest.raises(KeyError):
        segment["channel"]


def test_a_result_alone_loads_no_writer():
    code = "import sys, viska.result; print('viska.formats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
