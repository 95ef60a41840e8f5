"""LRC, ASS and WebVTT with karaoke: layout, times, and durations that add up."""

import io
import re
from dataclasses import replace

import pysubs2
import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from made_up_transcripts import make_spoken, make_transcript, spoken_transcripts, without_words
from viska.errors import OptionError
from viska.formats import PRESETS, LineOptions, to_ass, to_cues, to_lrc, to_vtt, write

SONG = make_spoken(
    [(" Row,", 1.0, 1.5), (" row", 1.75, 2.0), (" your", 2.0, 2.2), (" boat", 2.2, 3.0)],
    [(" gently", 3.5, 4.0)],
    [(" down", 7.1, 7.5)],
)
PRESET = PRESETS["tv"]


def events(content):
    return [line.removeprefix("Dialogue: ").split(",", 9) for line in content.splitlines() if "Dialogue: " in line]


# --- LRC


def test_lrc_with_words():
    assert to_lrc(SONG) == (
        "[00:01.00]<00:01.00>Row, <00:01.75>row <00:02.00>your <00:02.20>boat\n"
        "[00:03.50]<00:03.50>gently\n"
        "[00:04.00]\n"
        "[00:07.10]<00:07.10>down\n"
        "[00:07.50]\n"
    )


def test_lrc_without_words():
    assert to_lrc(without_words(SONG)) == (
        "[00:01.00]Row, row your boat\n[00:03.50]gently\n[00:04.00]\n[00:07.10]down\n[00:07.50]\n"
    )


def test_lrc_minutes_go_on_past_an_hour():
    assert to_lrc(make_transcript((5999.994, 6000.0, " a"))) == "[99:59.99]a\n[100:00.00]\n"
    assert to_lrc(make_transcript((59.9996, 60.004, " a"))) == "[01:00.00]a\n[01:00.00]\n"


def test_lrc_stamps_each_line_of_a_cue():
    content = to_lrc(SONG, LineOptions(max_line_width=9))
    assert content.startswith("[00:01.00]<00:01.00>Row, <00:01.75>row\n[00:02.00]<00:02.00>your <00:02.20>boat\n")


def test_lrc_text_is_no_stamp():
    content = to_lrc(make_transcript((0.0, 1.0, " [Music] at [00:12.00] and <1:02>\nall\tday")))
    assert content == "[00:00.00][Music] at (00:12.00) and (1:02) all day\n[00:01.00]\n"


def test_lrc_of_blank_segments_is_empty():
    assert to_lrc(make_transcript((0.0, 1.0, "  "))) == to_lrc(make_transcript()) == ""


stamps = re.compile(r"[\[<](\d{2,}):([0-5]\d)\.(\d\d)[\]>]")


@given(spoken_transcripts(), st.sampled_from([None, LineOptions(max_line_width=9), *PRESETS.values()]), st.booleans())
def test_lrc_stamps_are_in_order_and_the_text_is_kept(transcript, options, known):
    if not known:
        transcript = without_words(transcript)
        options = None if isinstance(options, LineOptions) else options
    content = to_lrc(transcript, options)
    times = [(int(minutes) * 60 + int(seconds)) * 100 + int(rest) for minutes, seconds, rest in stamps.findall(content)]
    assert times == sorted(times)
    assert all(stamps.match(line) for line in content.splitlines())
    assert "".join(stamps.sub("", content).split()) == "".join(transcript.text.split())


# --- ASS


def test_ass_with_words():
    assert events(to_ass(SONG)) == [
        [
            *("0", "0:00:01.00", "0:00:03.00", "Default", "", "0", "0", "0", ""),
            r"{\k75}Row, {\k25}row {\k20}your {\k80}boat",
        ],
        ["0", "0:00:03.50", "0:00:04.00", "Default", "", "0", "0", "0", "", r"{\k50}gently"],
        ["0", "0:00:07.10", "0:00:07.50", "Default", "", "0", "0", "0", "", r"{\k40}down"],
    ]


def test_ass_without_words():
    assert [event[-1] for event in events(to_ass(without_words(SONG)))] == ["Row, row your boat", "gently", "down"]


def test_ass_lines():
    event, *_ = events(to_ass(SONG, LineOptions(max_line_width=9)))
    assert event[-1] == r"{\k75}Row, {\k25}row\N{\k20}your {\k80}boat"


def test_ass_times_have_minutes_hours_and_hundredths():
    """Elsewhere: `0:00:5.00`."""
    (event,) = events(to_ass(make_transcript((5.0, 3725.056, " a"))))
    assert event[1:3] == ["0:00:05.00", "1:02:05.06"]


def test_ass_text_means_nothing():
    (event,) = events(to_ass(make_transcript((0.0, 1.0, r" C:\new {\b1}bold{\b0}, a" + "\nb"))))
    assert event[-1] == "C:\\\u2060new \uff5b\\\u2060b1\uff5dbold\uff5b\\\u2060b0\uff5d, a b"
    assert not re.search(r"[{}]|\\[Nnhb]", event[-1])


def test_ass_header():
    content = to_ass(make_transcript())
    assert content.startswith("[Script Info]\nScriptType: v4.00+\n")
    assert content.endswith("Effect, Text\n")
    (styles,) = re.findall(r"^Style: (.*)$", content, re.MULTILINE)
    (fields,) = re.findall(r"^Format: (Name.*)$", content, re.MULTILINE)
    assert len(styles.split(",")) == len(fields.split(","))


def test_ass_leaves_blank_segments_out():
    assert events(to_ass(make_transcript((0.0, 1.0, "  "), (1.0, 2.0, " a"))))[0][-1] == "a"


@given(spoken_transcripts(tidy=False), st.sampled_from([*PRESETS.values()]))
def test_karaoke_adds_up_to_the_event(transcript, preset):
    rows = events(to_ass(transcript, preset))
    cues = [cue for cue in to_cues(transcript, preset) if cue.text.strip()]
    assert len(rows) == len(cues)
    for row, cue in zip(rows, cues, strict=True):
        durations = [int(duration) for duration in re.findall(r"\{\\k(-?\d+)\}", row[-1])]
        assert min(durations) >= 0
        assert sum(durations) == (cue.end + 5) // 10 - (cue.start + 5) // 10
        assert re.sub(r"\{[^}]*\}", "", row[-1]).replace(r"\N", "\n") == cue.text


@given(spoken_transcripts(), st.sampled_from([None, *PRESETS.values()]))
def test_ass_is_read_by_another_parser(transcript, options):
    cues = [cue for cue in to_cues(transcript, options) if cue.text.strip()]
    read = pysubs2.SSAFile.from_string(to_ass(transcript, options), format_="ass")
    assert [event.plaintext for event in read] == [cue.text for cue in cues]
    for event, cue in zip(read, cues, strict=True):
        assert abs(event.start - cue.start) <= 5
        assert abs(event.end - cue.end) <= 5


# --- files


@pytest.mark.parametrize(("name", "to_format"), [("lrc", to_lrc), ("ass", to_ass)])
def test_write(tmp_path, name, to_format):
    for options in (None, PRESET):
        (path,) = write(SONG, "song.mp3", tmp_path, name, options)
        assert path.name == f"song.{name}"
        assert path.read_bytes() == to_format(SONG, options).encode("utf-8")


def test_all_is_what_openai_whisper_writes(tmp_path):
    names = [path.suffix for path in write(SONG, "song.mp3", tmp_path, "all", PRESET)]
    assert names == [".txt", ".vtt", ".srt", ".tsv", ".json"]
    assert len(list(tmp_path.iterdir())) == 5


# --- WebVTT


KARAOKE = LineOptions(karaoke=True)


def test_vtt_tells_within_a_cue_when_each_word_is_said():
    assert to_vtt(SONG, KARAOKE).startswith(
        "WEBVTT\n\n00:01.000 --> 00:03.000\n"
        "<c>Row,</c> <00:00:01.750><c>row</c> <00:00:02.000><c>your</c> <00:00:02.200><c>boat</c>\n\n"
        "00:03.500 --> 00:04.000\n<c>gently</c>\n\n"
    )
    assert "<c>" not in to_vtt(SONG)


def test_vtt_karaoke_is_escaped():
    spoken = make_spoken([(" <b>", 0.0, 1.0), (" -->", 1.0, 2.0), (" R&B", 2.0, 3.0)])
    assert "<c>&lt;b&gt;</c> <00:00:01.000><c>--&gt;</c> <00:00:02.000><c>R&amp;B</c>" in to_vtt(spoken, KARAOKE)


def test_vtt_karaoke_goes_with_both_layouts():
    for options in (replace(PRESET, karaoke=True), LineOptions(karaoke=True, max_line_width=9)):
        content = to_vtt(SONG, options)
        assert content.count("<c>") == len(SONG.words)
        assert ("\n<00:00:02.000><c>your" in content) == isinstance(options, LineOptions)  # where the line breaks


@pytest.mark.parametrize("options", [KARAOKE, replace(PRESET, karaoke=True)])
def test_vtt_karaoke_needs_words(options):
    with pytest.raises(OptionError, match=r"karaoke needs? words, and segment 0 has none"):
        to_vtt(without_words(SONG), options)


def test_two_ways_to_mark_words_contradict_each_other():
    with pytest.raises(OptionError, match="highlight_words and karaoke mark words in two ways"):
        LineOptions(highlight_words=True, karaoke=True)
    with pytest.raises(OptionError, match="karaoke is 1; accepted are True and False"):
        LineOptions(karaoke=1)


@given(spoken_transcripts(tidy=False), st.sampled_from([KARAOKE, replace(PRESET, karaoke=True)]))
def test_vtt_karaoke_of_anything_has_ordered_times_and_all_of_the_text(transcript, options):
    plain = to_vtt(transcript, None if options is KARAOKE else PRESET)
    sung = to_vtt(transcript, options)
    webvtt.from_buffer(io.StringIO(sung))  # a parser that is not ours accepts it
    for block in sung.split("\n\n")[1:-1]:
        times, text = block.split("\n", 1)
        start, end = (milliseconds(time) for time in times.split(" --> "))
        inner = [milliseconds(time) for time in re.findall(r"<([\d:.]+)>", text)]
        assert [start, *inner, end] == sorted({start, *inner, end}) or (not inner and end <= start)
    stripped = re.sub(r"</?c>|<[\d:.]+>", "", sung)
    if options is KARAOKE:  # which escapes
        stripped = stripped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert stripped == plain


def milliseconds(time):
    seconds = 0.0
    for part in time.split(":"):
        seconds = seconds * 60 + float(part)
    return round(seconds * 1000)
