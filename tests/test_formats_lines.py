"""The line options of openai/whisper: its layout, and its bytes."""

import json
import os
import subprocess
from dataclasses import FrozenInstanceError
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from made_up_transcripts import (
    SCRIPTS,
    make_segment,
    make_spoken,
    make_transcript,
    paced,
    spaced,
    spoken_transcripts,
    talk,
    without_words,
)
from viska.errors import OptionError
from viska.formats import PRESETS, LineOptions, to_ass, to_cues, to_lrc, to_srt, to_vtt, write
from viska.result import Transcript

TALK = make_spoken(
    paced(spaced("The quick brown fox jumps"), 1.0),
    paced(spaced("over the dog."), 3.0),
    paced(spaced("Bye."), 9.0),
)


def texts(transcript, **options):
    return [cue.text for cue in to_cues(transcript, LineOptions(**options))]


# --- options


@pytest.mark.parametrize("name", ["max_line_width", "max_line_count", "max_words_per_line"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "42", True])
def test_numbers_that_cannot_be_meant(name, value):
    with pytest.raises(OptionError, match=f"{name} is {value!r}; accepted are None and whole numbers from 1"):
        LineOptions(**{name: value})


@pytest.mark.parametrize("value", [0, 1, "True", None])
def test_highlighting_is_yes_or_no(value):
    with pytest.raises(OptionError, match="highlight_words is"):
        LineOptions(highlight_words=value)


def test_options_stay_as_they_are():
    with pytest.raises(FrozenInstanceError):
        LineOptions().max_line_width = 3


def test_options_are_named():
    with pytest.raises(TypeError):
        LineOptions(42, 2)


@pytest.mark.parametrize("options", ["tv", {"max_line_width": 42}, 42])
@pytest.mark.parametrize("to_format", [to_srt, to_vtt, to_lrc, to_ass])
def test_options_of_another_kind(options, to_format):
    with pytest.raises(OptionError, match=r"accepted are None, LineOptions.*tv, children, bbc, shorts"):
        to_format(TALK, options)


@pytest.mark.parametrize(
    "options",
    [{"max_line_width": 42}, {"max_line_count": 2}, {"max_words_per_line": 3}, {"highlight_words": True}],
)
@pytest.mark.parametrize("to_format", [to_srt, to_vtt])
def test_options_need_words(options, to_format):
    (name,) = options
    with pytest.raises(OptionError, match=f"^{name} .*segment 0 has none: transcribe with word_timestamps"):
        to_format(without_words(TALK), LineOptions(**options))


def test_the_segment_without_words_is_named():
    segments = (*TALK.segments[:2], make_segment(2, 9.0, 9.5, " Bye."))
    with pytest.raises(OptionError, match="max_line_width, highlight_words need words, and segment 2 has none"):
        to_srt(Transcript("", segments, "en"), LineOptions(max_line_width=42, highlight_words=True))


def test_options_do_no_harm_to_an_empty_transcript():
    options = LineOptions(max_line_width=42, max_line_count=2, max_words_per_line=1, highlight_words=True)
    for empty in (make_transcript(), make_spoken(), make_spoken([])):
        assert to_srt(empty, options) == ""
        assert to_vtt(empty, options) == "WEBVTT\n\n"
    assert to_srt(make_transcript((0.0, 1.0, " ")), LineOptions(max_line_width=9)).startswith("1\n00:00:00,000 --> ")


# --- layout


def test_words_give_the_times():
    loose = Transcript("", (make_segment(0, 0.0, 30.0, " Hi there.", TALK.segments[2].words),), "en")
    assert to_srt(loose) == "1\n00:00:09,000 --> 00:00:09,300\nBye.\n\n"
    assert to_vtt(loose) == "WEBVTT\n\n00:09.000 --> 00:09.300\nBye.\n\n"
    assert to_srt(loose, LineOptions()) == to_srt(loose)


def test_a_segment_whose_words_stand_with_another_is_no_cue():
    assert texts(make_spoken(paced([" a", " b"]), [], paced([" c"], 5.0))) == ["a b", "c"]


def test_emptied_words_where_no_others_are_known():
    """openai/whisper leaves `words` on an emptied segment even without word_timestamps, and then cannot write."""
    transcript = {
        "segments": [
            {"start": 0.0, "end": 1.0, "text": "", "words": []},
            {"start": 1.0, "end": 2.0, "text": " Hello."},
        ]
    }
    assert to_srt(transcript) == "1\n00:00:01,000 --> 00:00:02,000\nHello.\n\n"
    with pytest.raises(OptionError, match="segment 1 has none"):
        to_srt(transcript, LineOptions(max_line_width=3))


def test_width_alone_keeps_segments_apart():
    assert texts(TALK, max_line_width=10) == ["The quick\nbrown fox\njumps", "over the\ndog.", "Bye."]


def test_a_word_longer_than_the_line_gets_its_own():
    assert texts(TALK, max_line_width=4) == ["The\nquick\nbrown\nfox\njumps", "over\nthe\ndog.", "Bye."]


def test_width_and_count_join_segments_up_to_a_long_pause():
    assert texts(TALK, max_line_width=16, max_line_count=1) == ["The quick brown", "fox jumps over", "the dog.", "Bye."]
    assert texts(TALK, max_line_width=16, max_line_count=2) == ["The quick brown\nfox jumps over", "the dog.", "Bye."]


def test_words_a_line():
    assert texts(TALK, max_words_per_line=2) == ["The quick", "brown fox", "jumps", "over the", "dog.", "Bye."]
    assert texts(TALK, max_words_per_line=2, max_line_width=5) == [
        "The\nquick",
        "brown\nfox",
        "jumps",
        "over\nthe",
        "dog.",
        "Bye.",
    ]


def test_a_long_pause_is_longer_than_three_seconds():
    def cues(second):
        spoken = make_spoken([(" a", 1.0, 1.2)], [(" b", second, second + 0.5)])
        return texts(spoken, max_line_width=42, max_line_count=2)

    assert cues(4.0) == ["a b"]
    assert cues(4.01) == ["a", "b"]


def test_highlighted_words():
    spoken = make_spoken([(" Oh,", 1.0, 1.5), (" no!", 2.0, 2.25), (" No", 2.25, 3.0)])
    assert to_vtt(spoken, LineOptions(highlight_words=True, max_line_width=8)) == (
        "WEBVTT\n\n"
        "00:01.000 --> 00:01.500\n<u>Oh,</u> no!\nNo\n\n"
        "00:01.500 --> 00:02.000\nOh, no!\nNo\n\n"
        "00:02.000 --> 00:02.250\nOh, <u>no!</u>\nNo\n\n"
        "00:02.250 --> 00:03.000\nOh, no!\n<u>No</u>\n\n"
    )
    assert to_srt(spoken, LineOptions(highlight_words=True)).startswith(
        "1\n00:00:01,000 --> 00:00:01,500\n<u>Oh,</u> no! No\n\n2\n00:00:01,500 --> 00:00:02,000\nOh, no! No\n\n"
    )


def test_words_that_overlap_make_no_cue_of_negative_time():
    spoken = make_spoken([(" a", 1.0, 2.0), (" b", 1.8, 2.5)])
    assert "02.000 --> 00:01.800" not in to_vtt(spoken, LineOptions(highlight_words=True))


@pytest.mark.parametrize("arrow", ["-->", "--->", "-----> -->"])
@pytest.mark.parametrize("options", [None, LineOptions(max_line_width=5), LineOptions(highlight_words=True), "tv"])
@pytest.mark.parametrize("known", [True, False])
def test_no_arrow_survives(arrow, options, known):
    """openai/whisper shortens it only where there are no words."""
    transcript = make_spoken(paced([" a", f" {arrow}", " b"]))
    if not known:
        transcript = without_words(transcript)
        options = None if isinstance(options, LineOptions) else options
    for content in (
        to_srt(transcript, PRESETS.get(options, options)),
        to_vtt(transcript, PRESETS.get(options, options)),
    ):
        assert all(line.count("-->") == (":" in line) for line in content.split("\n"))
        assert "->" in content.replace("-->", "") or "-&gt;" in content


def test_write_hands_options_on(tmp_path):
    options = LineOptions(max_line_width=10)
    written = write(TALK, "talk.wav", tmp_path, "all", options)
    contents = {path.suffix: path.read_text("utf-8") for path in written}
    assert contents[".srt"] == to_srt(TALK, options) != to_srt(TALK)
    assert contents[".vtt"] == to_vtt(TALK, options)
    assert contents[".txt"] == "The quick brown fox jumps\nover the dog.\nBye.\n"
    (path,) = write(TALK, "talk.wav", tmp_path, "lrc", options)
    assert path.read_text("utf-8") == to_lrc(TALK, options)


def test_options_that_do_not_fit_leave_no_file(tmp_path):
    with pytest.raises(OptionError, match="word_timestamps"):
        write(without_words(TALK), "talk.wav", tmp_path, "all", LineOptions(max_line_width=10))
    assert not list(tmp_path.iterdir())


# --- properties

numbers = st.none() | st.integers(1, 30)
line_options = st.builds(
    LineOptions, max_line_width=numbers, max_line_count=st.none() | st.integers(1, 4), max_words_per_line=numbers
)


@given(spoken_transcripts(), line_options)
@example(TALK, LineOptions(max_line_width=10, max_line_count=1))
def test_no_text_is_lost_and_no_limit_passed(transcript, options):
    cues = list(to_cues(transcript, options))
    assert "".join("".join(cue.text for cue in cues).split()) == "".join(transcript.text.split())
    starts = [cue.start for cue in cues]
    assert starts == sorted(starts)
    for cue in cues:
        assert 0 <= cue.start <= cue.end
        lines = cue.text.split("\n")
        assert len(lines) <= (options.max_line_count or len(lines))
        if options.max_line_width:
            words = {word.text.strip() for word in cue.words}
            assert all(len(line) <= options.max_line_width or line in words for line in lines)
        if options.max_words_per_line and None in (options.max_line_width, options.max_line_count):
            assert len(cue.words) <= options.max_words_per_line


@given(spoken_transcripts(), line_options)
def test_highlighting_shows_every_word_once(transcript, options):
    plain = list(to_cues(transcript, options))
    lit = LineOptions(
        max_line_width=options.max_line_width,
        max_line_count=options.max_line_count,
        max_words_per_line=options.max_words_per_line,
        highlight_words=True,
    )
    content = to_srt(transcript, lit)
    assert content.count("<u>") == content.count("</u>") == sum(len(cue.words) for cue in plain)


# --- against openai/whisper

ORACLE_SCRIPT = """
import io, json, sys
from whisper.utils import get_writer

asked = json.load(sys.stdin)
answers = []
for result in asked["results"]:
    for options in asked["options"]:
        for name in ("srt", "vtt"):
            file = io.StringIO()
            get_writer(name, ".").write_result(result, file, options)
            answers.append(file.getvalue())
json.dump(answers, sys.stdout)
"""

COMBINATIONS = [
    dict(zip(("max_line_width", "max_line_count", "max_words_per_line", "highlight_words"), values, strict=True))
    for values in product((None, 1, 7, 20, 42), (None, 1, 2, 3), (None, 1, 3), (False, True))
]


def made_up():
    collected = []

    @given(spoken_transcripts())
    def collect(transcript):
        collected.append(transcript)

    collect()
    return collected


@pytest.mark.slow
def test_same_bytes_as_openai_whisper():
    python = os.environ.get("VISKA_ORACLE_PYTHON")
    if not python:
        pytest.skip("VISKA_ORACLE_PYTHON is not set: give a Python that has openai-whisper==20250625")
    # 4.4 - 1.4 is more than 3, by the last bit; and more words, and longer words, than an unlimited line has.
    odd = [
        make_spoken([(" a", 1.4, 1.5)], [(" b", 4.4, 4.5), (" c", 7.3, 8.0)]),
        make_spoken(paced([" word"] * 1203, length=0.1, gap=0.0)),
        make_spoken(paced([" " + "long" * 90] * 7)),
        make_spoken(),
        make_spoken([]),
    ]
    transcripts = [TALK, *map(talk, SCRIPTS), *odd, *made_up()]
    asked = {"results": [transcript.to_dict() for transcript in transcripts], "options": COMBINATIONS}
    run = subprocess.run([python, "-c", ORACLE_SCRIPT], input=json.dumps(asked), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    theirs = iter(json.loads(run.stdout))
    for transcript in transcripts:
        for combination in COMBINATIONS:
            options = LineOptions(**combination)
            assert to_srt(transcript, options) == next(theirs), (combination, transcript)
            assert to_vtt(transcript, options) == next(theirs), (combination, transcript)
    assert next(theirs, None) is None
