"""Viska's own layout: what it promises of every transcript, and how it reads."""

import html
import io
import itertools
import re
from dataclasses import replace

import pysubs2
import pytest
import webvtt
from hypothesis import example, given
from hypothesis import strategies as st

from made_up_transcripts import SCRIPTS, make_spoken, make_transcript, paced, spaced, spoken_transcripts, talk
from made_up_transcripts import without_words as forgotten
from viska.errors import OptionError
from viska.formats import PRESETS, Preset, to_ass, to_cues, to_lrc, to_srt, to_vtt
from viska.formats.pieces import display_width, pieces_of
from viska.formats.readable import cheapest_runs
from viska.result import Transcript

TV = PRESETS["tv"]


def texts(transcript, preset=TV):
    return [cue.text for cue in to_cues(transcript, preset)]


def bare(text):
    return "".join(text.split())


def ms(seconds):
    return round(seconds * 1000)


# --- presets


def test_the_presets_are_their_data():
    assert list(PRESETS) == ["tv", "children", "bbc", "shorts"]
    assert (TV.max_line_width, TV.max_line_count, TV.max_speed, TV.max_duration) == (42, 2, 17, 7)
    assert TV.min_duration == 5 / 6
    assert PRESETS["children"] == replace(TV, max_speed=13)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_line_width", 0),
        ("max_line_width", None),
        ("max_line_count", -2),
        ("max_line_count", True),
        ("max_words", 0),
        ("max_words", 1.5),
        ("min_duration", -1),
        ("gap", float("inf")),
        ("max_pause", float("nan")),
        ("max_speed", 0),
        ("max_speed", float("nan")),
        ("max_duration", 0),
        ("max_duration", 0.5),
    ],
)
def test_numbers_that_cannot_be_meant(name, value):
    with pytest.raises(OptionError, match=f"{name} is {value!r}; accepted are"):
        Preset(**{name: value})


# --- how it reads


def test_breaks_at_punctuation_and_before_links():
    transcript = make_spoken(
        paced(spaced("The harbour was quiet when the captain came home, and nobody was awake in the whole village."))
    )
    assert texts(transcript) == [
        "The harbour was quiet\nwhen the captain came home,",
        "and nobody was awake in the whole village.",
    ]


@pytest.mark.parametrize(
    ("language", "upper", "lower"),
    [
        ("en", "I told them all of it", "as we walked along the old canal"),
        ("de", "Ich habe es ihnen gestern erzählt", "weil der Regen kam"),
        ("fr", "Je leur ai raconté cette histoire", "pendant le voyage"),
        ("es", "Yo les conté aquella historia tan larga", "durante el viaje"),
    ],
)
def test_breaks_before_links(language, upper, lower):
    assert texts(make_spoken(paced(spaced(f"{upper} {lower}")), language=language)) == [f"{upper}\n{lower}"]


def test_names_articles_and_initials_stay_together():
    preset = Preset(max_line_width=24)
    text = "yesterday evening Valentin Haüy visited the museum where J. Smith lived with Mr. Jones"
    for cue in texts(make_spoken(paced(spaced(text))), preset):
        for line in cue.split("\n"):
            assert line.split()[-1] not in ("Valentin", "the", "J.", "Mr.", "with"), line


def test_no_more_lines_than_needed():
    assert texts(make_spoken(paced(spaced("Well, I see, and so do you.")))) == ["Well, I see, and so do you."]


def test_japanese_breaks_by_width_and_without_spaces():
    transcript = talk("ja")
    cues = texts(transcript, Preset(max_line_width=16, max_pause=60.0))
    assert " " not in "".join(cues)
    lines = "\n".join(cues).split("\n")
    assert all(display_width(line) <= 16 for line in lines)
    assert all(line[0] not in "。？" for line in lines)  # noqa: RUF001
    assert lines == ["今日はとてもいい", "天気ですね。", "駅まで歩いて", "行きましょうか？"]  # noqa: RUF001


def test_japanese_without_words_breaks_where_a_phrase_may_begin():
    text = "復興努力に対するリベラル派からの批判では関係者と思われる人物と復興契約を交わしたことに焦点を当てています"
    transcript = make_transcript((0.0, 15.0, text), language="ja")
    lines = "\n".join(texts(transcript)).split("\n")
    assert "".join(lines) == text
    assert not any(re.match("[ぁ-ゖ]", line) for line in lines)


def test_korean_breaks_at_its_spaces_only():
    words = ["안녕하세요", "여러분", "오늘은", "날씨가", "정말", "좋습니다", "그래서", "우리는", "공원에", "갑니다"]
    transcript = make_transcript((0.0, 9.0, " " + " ".join(words)), language="ko")
    assert re.split(r"\s", "\n".join(texts(transcript, Preset(max_line_width=14)))) == words


def test_what_is_joined_stays_joined():
    family = "👨‍👩‍👧"
    transcript = make_transcript((0.0, 4.0, f"見て{family}が👩🏽‍💻だ、か\u3099ね"), language="ja")
    for cue in texts(transcript, Preset(max_line_width=2, max_line_count=1)):
        assert not cue.startswith(("\u200d", "🏽", "\u3099", "、"))
        assert not cue.endswith("\u200d")
    assert family in texts(transcript, Preset(max_line_width=4, max_line_count=1))


def test_half_words_make_one():
    spoken = make_spoken([(" twenty", 0.0, 0.5), ("-one", 0.5, 0.8), (" days", 0.8, 1.2)])
    assert texts(spoken, Preset(max_line_width=8)) == ["twenty-one\ndays"]


def test_stripped_segments_do_not_run_together():
    assert texts(make_transcript((0.0, 1.0, "Hello there."), (1.0, 2.0, "Bye."))) == ["Hello there. Bye."]
    assert texts(make_transcript((0.0, 1.0, "今日は。"), (1.0, 2.0, "では。"), language="ja")) == ["今日は。では。"]


def test_shorts_are_one_to_three_words():
    for language in ("en", "de", "ar"):
        assert all(len(text.split()) in (1, 2, 3) for text in texts(talk(language), PRESETS["shorts"]))


def test_a_pause_ends_a_cue():
    spoken = make_spoken([(" a", 0.0, 0.3), (" b", 1.8, 2.0), (" c", 3.6, 4.0)])
    assert texts(spoken) == ["a b", "c"]


def test_words_of_a_segment_with_another_segments():
    """Segments whose text begins without a space may have their words in the segment before."""
    segments = make_spoken(paced([" Hello", " you", ", there."]), []).segments
    segments = (replace(segments[0], text=" Hello you"), replace(segments[1], text=", there."))
    assert texts(Transcript("", segments, "en")) == ["Hello you, there."]


def test_text_that_the_words_lack():
    segments = make_spoken(paced([" Hello"]), paced([" there"], 2.0)).segments
    segments = (segments[0], replace(segments[1], text=" there and here"))
    assert texts(Transcript("", segments, "en")) == ["Hello", "there and here"]


# --- times


def test_a_short_cue_stays_until_it_can_be_read():
    one, other = to_cues(make_spoken([(" Hi.", 1.0, 1.2)], [(" Antidisestablishmentarianism!", 9.0, 9.1)]), TV)
    assert (one.start, one.end) == (1000, 1833)
    assert (other.start, other.end) == (9000, 9000 + ms(29 / 17))


def test_two_frames_between_cues():
    cues = list(to_cues(talk("en"), TV))
    gaps = {following.start - cue.end for cue, following in itertools.pairwise(cues)}
    assert 83 in gaps
    assert all(gap == 83 or gap >= 500 for gap in gaps)


def test_a_flicker_between_cues_is_closed():
    one, other = to_cues(make_spoken([(" One.", 0.0, 2.0)], [(" Two.", 2.4, 4.0)]), Preset(max_words=1))
    assert (one.end, other.start) == (2317, 2400)


def test_cues_are_cut_where_each_gets_time_to_be_read():
    spoken = make_spoken([(" one", 0.0, 0.1), (" two", 0.15, 0.2), (" three", 0.35, 1.5)])
    assert texts(spoken, Preset(max_words=2)) == ["one two", "three"]


def test_no_cue_is_longer_than_seven_seconds():
    (cue,) = to_cues(make_spoken([(" Ommm", 1.0, 31.0)]), TV)
    assert (cue.start, cue.end) == (1000, 8000)


def test_no_words_share_the_time_by_width():
    (cue,) = to_cues(make_transcript((2.0, 7.0, " ab abcd 日本")), TV)
    assert [(word.text, word.start, word.end) for word in cue.words] == [
        ("ab", 2000, 3000),
        (" abcd", 3000, 5000),
        (" 日", 5000, 6000),
        ("本", 6000, 7000),
    ]


@pytest.mark.parametrize("seconds", [-0.5, float("nan"), float("inf")])
def test_times_that_cannot_be_written(seconds):
    with pytest.raises(OptionError, match="cannot be written"):
        to_srt(make_transcript((seconds, 1.0, " a")), TV)
    with pytest.raises(OptionError, match="cannot be written"):
        to_srt(make_spoken([(" a", 0.0, seconds)]), TV)


# --- properties

presets = st.sampled_from(list(PRESETS.values())) | st.builds(
    Preset,
    max_line_width=st.integers(1, 30),
    max_line_count=st.integers(1, 3),
    max_words=st.none() | st.integers(1, 4),
    min_duration=st.sampled_from([0.0, 0.5, 2.0]),
    max_duration=st.sampled_from([2.0, 4.0]),
    max_speed=st.sampled_from([1.0, 15.0, float("inf")]),
    gap=st.sampled_from([0.0, 0.04, 0.3]),
    max_pause=st.sampled_from([0.0, 1.0]),
)
transcripts = spoken_transcripts(tidy=False)
transcripts = transcripts | transcripts.map(forgotten)
every_script = pytest.mark.parametrize("language", SCRIPTS)


@given(transcripts, presets)
@example(talk("ja"), TV)
def test_no_text_is_lost(transcript, preset):
    assert bare("".join(texts(transcript, preset))) == bare(transcript.text)


@given(transcripts, presets)
def test_cues_are_in_order_and_apart(transcript, preset):
    cues = list(to_cues(transcript, preset))
    for cue in cues:
        assert 0 <= cue.start < cue.end <= cue.start + ms(preset.max_duration)
        times = [time for word in cue.words for time in (word.start, word.end)]
        assert all(cue.start <= time <= cue.end for time in times)
        assert [word.start for word in cue.words] == sorted(word.start for word in cue.words)
    for cue, following in itertools.pairwise(cues):
        assert cue.end <= following.start
        if following.start - cue.start > 2 * ms(preset.gap):
            assert following.start - cue.end >= ms(preset.gap)


@given(transcripts, presets)
def test_width_and_count_are_kept_but_for_a_longer_word(transcript, preset):
    unbreakable = {piece.text for piece in pieces_of(transcript)}
    for text in texts(transcript, preset):
        lines = text.split("\n")
        assert len(lines) <= preset.max_line_count
        for line in lines:
            assert line == line.strip() != ""
            assert display_width(line) <= preset.max_line_width or line in unbreakable
    if preset.max_words:
        assert all(len(cue.words) <= preset.max_words for cue in to_cues(transcript, preset))


@given(transcripts, presets)
def test_cues_stay_as_long_as_there_is_time(transcript, preset):
    cues = list(to_cues(transcript, preset))
    for cue, following in itertools.zip_longest(cues, cues[1:]):
        columns = display_width(cue.text.replace("\n", "")) + cue.text.count("\n")
        needed = max(preset.min_duration, columns / preset.max_speed)
        shown = (cue.end - cue.start) / 1000
        dense = following is not None and following.start - cue.end <= max(ms(preset.gap), 1)
        # A line break takes the place of a space, but of none in scripts without: one column for each line.
        slack = cue.text.count("\n") / preset.max_speed + 0.002
        assert shown >= min(needed - slack, preset.max_duration - 0.001) or dense


@given(st.integers(0, 7), st.randoms(use_true_random=False))
def test_runs_are_the_cheapest_of_all(count, random):
    prices = {(i, j): random.randint(0, 9) for i in range(count) for j in range(i + 1, count + 1)}
    allowed = {(i, j) for i, j in prices if j == i + 1 or random.random() < 0.6}
    best = cheapest_runs(
        0, count, lambda start: [j for i, j in sorted(allowed) if i == start], lambda i, j: prices[i, j]
    )
    assert [i for i, _ in best] + [count] == [0] + [j for _, j in best]

    def total(runs):
        return sum(prices[run] for run in runs)

    every = [
        list(itertools.pairwise([0, *inner, count]))
        for size in range(count)
        for inner in itertools.combinations(range(1, count), size)
    ]
    possible = [runs for runs in every if set(runs) <= allowed]
    assert total(best) == (min(map(total, possible)) if count else 0)


# --- files, read by other people's parsers

AWKWARD = spaced("Tom & Jerry <3 said: a --> b, 1 < 2 > 0 &amp; </i> 00:01 --- x->y 50% “so”")


def both(language):
    return [talk(language), forgotten(talk(language))]


def read_srt(content):
    events = pysubs2.SSAFile.from_string(content, format_="srt", keep_html_tags=True).events
    return [(event.start, event.end, event.text.replace(r"\N", "\n")) for event in events]


def read_vtt(content):
    captions = webvtt.from_buffer(io.StringIO(content)).captions
    return [(ms(c.start_in_seconds), ms(c.end_in_seconds), html.unescape(c.raw_text)) for c in captions]


@every_script
@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_independent_parsers_agree(language, preset):
    options = PRESETS[preset] if preset else None
    for transcript in both(language):
        expected = [(cue.start, cue.end, cue.text) for cue in to_cues(transcript, options)]
        assert read_srt(to_srt(transcript, options)) == expected
        assert [text for *_, text in read_vtt(to_vtt(transcript, options))] == [text for *_, text in expected]
        assert len(pysubs2.SSAFile.from_string(to_vtt(transcript, options), format_="vtt")) == len(expected)
        assert len(pysubs2.SSAFile.from_string(to_ass(transcript, options), format_="ass")) == len(expected)


@given(st.lists(st.sampled_from(AWKWARD), min_size=1, max_size=9), st.sampled_from(list(PRESETS.values())))
@example(AWKWARD, TV)
def test_awkward_text_survives_every_format(words, preset):
    transcript = make_spoken(paced(words))
    expected = "".join(re.sub("-{2,}>", "->", word.strip()) for word in words)
    assert bare("".join(text for *_, text in read_srt(to_srt(transcript, preset)))) == expected
    assert bare("".join(text for *_, text in read_vtt(to_vtt(transcript, preset)))) == expected
    sung = pysubs2.SSAFile.from_string(to_ass(transcript, preset), format_="ass")
    assert bare("".join(event.plaintext for event in sung)) == "".join(map(str.strip, words))


@pytest.mark.parametrize("preset", PRESETS)
def test_empty_transcripts_make_valid_files(preset):
    for empty in (make_transcript(), make_spoken([]), make_transcript((0.0, 2.0, "  "))):
        options = PRESETS[preset]
        assert to_srt(empty, options) == ""
        assert to_vtt(empty, options) == "WEBVTT\n\n"
        assert to_lrc(empty, options) == ""
        assert len(pysubs2.SSAFile.from_string(to_ass(empty, options))) == 0


# --- bugs seen elsewhere


def test_a_time_just_below_a_minute_is_the_minute():
    transcript = make_spoken([(" a", 59.9996, 61.0)])
    assert "00:01:00,000 --> " in to_srt(transcript, TV)
    assert "01:00.000 --> " in to_vtt(transcript, TV)
    assert "0:01:00.00," in to_ass(transcript, TV)
    assert "[01:00.00]" in to_lrc(transcript, TV)


def test_a_millisecond_is_kept():
    assert "00:00:01,001 --> " in to_srt(make_spoken([(" a", 1.001, 2.0)]), TV)


def test_vtt_is_escaped():
    assert "\na &lt;b&gt; &amp; c\n" in to_vtt(make_spoken(paced([" a", " <b>", " &", " c"])), TV)
