"""What becomes of one recording, of groups of them, and of two runs."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viska.errors import AudioError, OptionError
from viska.evaluation.compare import LeftOut, compare, left_out
from viska.evaluation.hypothesis import HeardSegment, HeardWord, Hypothesis
from viska.evaluation.manifest import Clip, Phrase
from viska.evaluation.run import evaluate, stored_engine
from viska.evaluation.score import Judged, score
from viska.evaluation.storage import Report, read_report, write_report
from viska.evaluation.summary import groups, summaries, summary

FOX = "the quick brown fox jumps over the lazy dog"


@pytest.fixture
def clip(tmp_path):
    return Clip("a.wav", tmp_path / "a.wav", kind="short", language="en", text=FOX, duration=9.0)


def heard(text, **facts):
    return Hypothesis(text=text, **facts)


def test_a_right_transcript(clip):
    found = score(clip, heard(FOX.title() + ".", language="en", seconds=1.0), 9.0)
    assert (found.error_rate, found.lost, found.invented, found.loops, found.language_right) == (0, (), 0, 0, True)
    assert found.n_reference == 9


def test_lost_speech_and_its_seconds(clip):
    found = score(clip, heard("the quick dog"), 10.0)
    (run,) = found.lost
    assert run.text == "brown fox jumps over the lazy"
    assert run.units == 6
    assert run.seconds == pytest.approx(10 * len("brownfoxjumpsoverthelazy") / len(FOX.replace(" ", "")))
    assert found.error_rate == pytest.approx(6 / 9)


def test_words_that_were_misheard_are_not_lost(clip):
    said = replace(clip, text="alpha beta gamma delta epsilon zeta eta theta")
    found = score(said, heard("alpha zut zut zut theta"), 8.0)
    (run,) = found.lost
    assert (run.text, run.units) == ("beta gamma delta epsilon zeta eta", 3)
    assert run.seconds == pytest.approx(8.0 * 28 / 38 / 2)
    assert (found.counts["substitution"], found.counts["deletion"]) == (3, 3)


def test_two_missing_words_are_errors_but_no_lost_speech(clip):
    found = score(clip, heard(FOX.replace("brown fox ", "")), 9.0)
    assert (found.lost, found.n_errors) == ((), 2)


def test_seconds_of_lost_speech_by_the_times_of_the_reference(clip):
    phrases = (Phrase(0, 2, "the quick brown fox"), Phrase(5, 9, "jumps over the lazy dog"))
    found = score(replace(clip, phrases=phrases), heard("the quick brown fox"), 60.0)
    assert found.lost[0].seconds == pytest.approx(4.0)


def test_a_whole_phrase_made_up_within_speech(clip):
    found = score(clip, heard(FOX + " thank you for watching"), 9.0)
    assert (found.inserted, found.invented) == (4, 0)


def test_words_made_up_where_nothing_is_said(clip):
    silence = replace(clip, kind="silence", text=None, language=None)
    words = (HeardWord(" Thank", 0, 1, 0.5), HeardWord(" you.", 1, 2, 0.25), HeardWord(" ...", 2, 3, 0.1))
    found = score(silence, heard("Thank you. ...", words=words, language="en"), 9.0)
    assert (found.invented, found.scored, found.language_right) == (2, False, None)
    assert found.words == (Judged(False, 0.5), Judged(False, 0.25))
    assert score(silence, heard(" ... "), 9.0).invented == 0
    assert score(silence, heard("you " * 8), 9.0).loops == 1


@pytest.mark.parametrize("language", [None, "zh", "en"])
def test_loops_in_scripts_without_spaces(clip, language):
    silence = replace(clip, kind="noise", text=None, language=language)
    found = score(silence, heard("谢谢观看" * 20), 9.0)
    assert (found.invented, found.loops) == (80, 1)
    assert score(replace(clip, language=language), heard(f"{FOX} {'谢谢观看' * 20}"), 9.0).loops == 1


def test_loops_that_were_said_are_none(clip):
    song = replace(clip, text="la " * 8 + "and so on")
    assert score(song, heard("la " * 8 + "and so on"), 9.0).loops == 0
    assert score(song, heard("la " * 30 + "and so on"), 9.0).loops == 1
    assert score(song, heard("thank you so much " * 20), 9.0).loops == 1
    assert score(clip, heard("la " * 8 + "and so on"), 9.0).loops == 1
    assert score(replace(clip, text=None), heard("la " * 8), 9.0).loops == 1


def test_free_ends(clip):
    part = replace(clip, text=None, partial_text=FOX)
    found = score(part, heard(f"This is a recording. {FOX}. End of the recording."), 9.0)
    assert (found.error_rate, found.inserted) == (0, 0)
    assert [pair.kind for pair in found.aligned].count("free") == 8


def test_characters_where_there_are_no_spaces(clip):
    chinese = replace(clip, language="zh", text="今天天气很好")
    found = score(chinese, heard("今天天很好"), 9.0)
    assert (found.unit, found.n_reference, found.n_errors) == ("character", 6, 1)


def test_languages(clip):
    several = replace(clip, language="mul", languages=("es", "en"), text=None)
    assert score(several, heard("", language="es"), 9.0).language_right is True
    assert score(several, heard("", language="de"), 9.0).language_right is False
    assert score(clip, heard("", language="de"), 9.0).language_right is False
    assert score(clip, heard("", language=None), 9.0).language_right is None
    assert score(replace(clip, language=None), heard("", language="en"), 9.0).language_right is None


def timed(text, start=0.0):
    """A word a second."""
    return tuple(HeardWord(" " + word, start + i, start + i + 0.9, 0.5) for i, word in enumerate(text.split()))


def test_phrase_boundaries(clip):
    phrases = (Phrase(0.1, 3.9, "the quick brown fox"), Phrase(4.0, 9.0, "jumps over the lazy dog"))
    found = score(replace(clip, phrases=phrases), heard(FOX, words=timed(FOX)), 9.0)
    assert found.boundary_errors == pytest.approx([-0.1, 0.0, 0.0, -0.1])
    wrong_at_edges = score(replace(clip, phrases=phrases), heard("a" + FOX[3:], words=timed("a" + FOX[3:])), 9.0)
    assert len(wrong_at_edges.boundary_errors) == 3
    assert score(clip, heard(FOX, words=timed(FOX)), 9.0).boundary_errors == ()


def test_phrase_boundaries_by_segments_only_where_one_begins_or_ends(clip):
    phrases = (Phrase(0.0, 4.0, "the quick brown fox"), Phrase(4.0, 9.0, "jumps over the lazy dog"))
    segments = (HeardSegment(" the quick brown fox jumps over", 0.5, 6.0), HeardSegment(" the lazy dog", 6.0, 8.0))
    found = score(replace(clip, phrases=phrases), heard(FOX, segments=segments), 9.0)
    assert found.boundary_errors == pytest.approx([0.5, -1.0])


def test_words_are_judged_with_all_their_units(clip):
    said = replace(clip, text="we can not go to the twenty five houses")
    words = [" We", " can't", " go", " uh", " through", " the", " twenty", "-five", " houses."]
    found = score(said, heard("".join(words), words=tuple(HeardWord(word, probability=0.5) for word in words)), 9.0)
    assert [one.correct for one in found.words].count(False) == 1
    assert len(found.words) == 7  # neither the filler nor the word that became part of a number


def test_words_behind_a_free_end_are_not_judged(clip):
    part = replace(clip, text=None, partial_text=FOX)
    text = f"hello there {FOX}"
    found = score(part, heard(text, words=timed(text)), 9.0)
    assert len(found.words) == 9
    assert all(one.correct for one in found.words)


def test_a_failure(clip):
    found = score(clip, Hypothesis(error="no such file"), 9.0)
    assert (found.error, found.scored, found.error_rate, found.n_reference) == ("no such file", False, None, 0)


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["en", "de", "ja", "mul", None]), st.booleans())
def test_any_texts_can_be_scored(tmp_path_factory, said, given_text, language, part):
    file = tmp_path_factory.getbasetemp() / "a.wav"
    reference = {"partial_text": said} if part else {"text": said}
    words = tuple(HeardWord(" " + word, 0.0, 1.0, 0.5) for word in given_text.split())
    found = score(Clip("a.wav", file, language=language, **reference), heard(given_text, words=words), 1.0)
    assert found.n_errors >= sum(run.units for run in found.lost)
    assert len(found.words) <= len(words)
    assert found.error_rate is None or found.error_rate >= 0


# --- Groups -----------------------------------------------------------------------------------------------------------


def some(clip, n, given=FOX, seconds=1.0, **facts):
    """Scores of n clips that share their facts."""
    name = "-".join(str(value) for value in facts.values())
    clips = [replace(clip, **{"path": f"{name}{i}", **facts}) for i in range(n)]
    return [score(one, heard(given, seconds=seconds, language="en"), one.duration) for one in clips]


def test_small_groups_are_pooled(clip):
    scores = [
        *some(clip, 5, kind="short"),
        *some(clip, 4, kind="long"),
        *some(clip, 2, language="fr"),
        *some(clip, 3, kind="noise", text=None, language=None),
        *some(clip, 6, kind="silence", text="", language=None),
    ]
    assert {name: len(group) for name, group in groups(scores).items()} == {
        "- silence": 6,
        "en short": 5,
        "others": 6,
        "others without speech": 3,
    }
    assert list(groups(scores))[:2] == ["- silence", "en short"]
    assert next(one.name for one in summaries(scores)) == "all"


def test_figures_of_a_group(clip):
    scores = [
        *some(clip, 1, given="the quick dog", seconds=3.0),
        *some(clip, 1, given=FOX + " x"),
        *some(clip, 2, "you you", kind="noise", language=None),
        score(clip, Hypothesis(error="broken"), 9.0),
    ]
    scores[2:4] = [replace(one, silent=True, invented=2, counts={}) for one in scores[2:4]]
    found = summary("all", scores)
    assert (found.n_clips, found.n_scored, found.n_failed, found.n_reference) == (5, 2, 1, 18)
    assert found.error_rate.value == pytest.approx(7 / 18)
    assert found.mean_error_rate.value == pytest.approx((6 / 9 + 1 / 9) / 2)
    assert (found.substitutions, found.deletions, found.insertions) == pytest.approx((0, 6 / 18, 1 / 18))
    assert found.invented_per_hour == pytest.approx(4 * 3600 / 18)
    assert (found.lost_runs, found.lost_units) == (1, 6)
    assert (found.n_languages_told, found.language_accuracy) == (2, 1.0)
    assert found.real_time_factor == pytest.approx(6 / 36)


def test_an_empty_group_has_no_figures():
    found = summary("none", [])
    assert (found.error_rate, found.invented_per_hour, found.real_time_factor, found.boundaries) == (None,) * 4


def test_boundaries_of_a_group(clip):
    scores = [replace(one, boundary_errors=(-0.1, 0.3)) for one in some(clip, 2)]
    found = summary("all", scores).boundaries
    assert (found.n, found.mean, found.median) == (4, pytest.approx(0.2), pytest.approx(0.2))


# --- Runs -------------------------------------------------------------------------------------------------------------


def test_one_bad_recording_does_not_end_the_run(clip, caplog):
    def engine(one):
        if one.path == "bad":
            raise AudioError("bad is empty")
        if one.path == "worse":
            raise RuntimeError("a bug")
        return heard(FOX)

    found = list(evaluate([replace(clip, path=path) for path in ("a", "bad", "worse", "b")], engine))
    assert [one.error for one in found] == [None, "bad is empty", "RuntimeError: a bug", None]
    assert "worse could not be evaluated" in caplog.text


def test_stored_hypotheses(clip):
    engine = stored_engine({"a.wav": heard(FOX)})
    found = list(evaluate([clip, replace(clip, path="b.wav")], engine))
    assert found[0].error_rate == 0
    assert found[1].error == "there is no hypothesis for it"


def test_the_duration_is_measured_where_the_manifest_has_none(recordings):
    clip = Clip("a", recordings / "sense_and_sensibility_0880.flac", duration=None)
    (found,) = evaluate([clip], lambda _: heard("x"))
    assert found.duration == pytest.approx(2.99, abs=0.01)


@pytest.mark.parametrize(
    ("told", "measured", "counts"),
    [
        (1e9, 3.0, 3.0),
        (0.001, 3.0, 3.0),
        (3.9, 3.0, 3.9),
        (105.0, 100.0, 105.0),
        (120.0, 100.0, 100.0),
        (None, 3.0, 3.0),
        (5.0, None, 5.0),
    ],
)
def test_a_duration_that_is_far_off_is_measured(clip, caplog, told, measured, counts):
    (found,) = evaluate([replace(clip, duration=told)], lambda _: heard(FOX, duration=measured))
    assert found.duration == counts
    assert ("wrong durations" in caplog.text) == (told not in (None, counts))


def test_wrong_durations_are_told_once(clip, caplog):
    list(evaluate([replace(clip, path=path, duration=1e9) for path in "abc"], lambda _: heard(FOX, duration=2.5)))
    (told,) = caplog.messages
    assert told.startswith("wrong durations in the manifest: 3, such as a: 1e+09 s, measured 2.5 s;")


# --- Reports ----------------------------------------------------------------------------------------------------------


def report(name, scores):
    return Report(name, tuple(scores), {"manifest": "m.jsonl"})


def test_a_report_survives_being_stored(clip, tmp_path):
    phrases = (Phrase(0.0, 9.0, FOX),)
    first = score(replace(clip, phrases=phrases), heard("the quick dog", words=timed("the quick dog")), 9.0)
    before = report("run", [first, score(clip, Hypothesis(error="broken"), 9.0), *some(clip, 3, kind="noise")])
    assert first.lost
    assert first.words
    assert first.boundary_errors
    write_report(before, tmp_path / "run.json")
    after = read_report(tmp_path / "run.json")
    assert after == before
    assert after.summaries() == before.summaries()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "other"}', '{"format": "viska-eval-1"}', "[" * 100_000]
)
def test_what_is_no_report(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(OptionError, match="viska eval --json"):
        read_report(tmp_path / "run.json")
    with pytest.raises(OptionError, match="cannot be read"):
        read_report(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"duration": "x"}, r"scores\[0\].duration is 'x'"),
        ({"duration": True}, r"scores\[0\].duration is True"),
        ({"duration": float("nan")}, r"scores\[0\].duration is nan"),
        ({"duration": 10**400}, r"scores\[0\].duration is 1000"),
        ({"loops": 1.5}, r"scores\[0\].loops is 1.5"),
        ({"unit": ["word"]}, r"scores\[0\].unit is \['word'\]"),
        ({"error": 5}, r"scores\[0\].error is 5"),
        ({"counts": {"hit": "9"}}, r"scores\[0\].counts is {'hit': '9'}"),
        ({"counts": []}, r"scores\[0\].counts is \[\]"),
        ({"aligned": [["hit", "a", "a", "0"]]}, r"scores\[0\].aligned\[0\].start is '0'"),
        ({"lost": [{"text": "a", "units": None, "seconds": 1}]}, r"scores\[0\].lost\[0\].units is None"),
        ({"boundary_errors": [0.5, "x"]}, r"scores\[0\].boundary_errors is \(0.5, 'x'\)"),
        ({"words": [[True, "0.5", None]]}, r"scores\[0\].words\[0\].probability is '0.5'"),
    ],
)
def test_a_report_with_a_wrong_value(clip, tmp_path, change, field):
    record = report("run", some(clip, 1)).to_dict()
    record["scores"][0] |= change
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(OptionError, match=rf"run.json is no report of this version \({field}.*\); give one that"):
        read_report(tmp_path / "run.json")


def test_two_runs(clip):
    good, bad = some(clip, 30, FOX), some(clip, 30, FOX.replace("fox", "cat"))
    every, *_ = compare(report("a", good), report("b", bad))
    assert every.verdict == "worse"
    assert every.error_rate.value == pytest.approx(1 / 9)
    assert compare(report("b", bad), report("a", good))[0].verdict == "better"
    assert compare(report("a", good), report("a", good))[0].verdict == "no difference shown"


def test_two_runs_share_only_some_recordings(clip):
    first = some(clip, 8)
    second = [*some(clip, 3), score(replace(clip, path="3"), Hypothesis(error="broken"), 9.0)]
    every, *_ = compare(report("a", first), report("b", second))
    assert every.first.n_clips == every.second.n_clips == 3


def test_what_is_left_out_of_a_comparison(clip):
    one, two, three, four = some(clip, 4)
    broken = [replace(each, error="broken") for each in (one, two, three)]
    found = left_out(report("a", [broken[0], broken[1], three]), report("b", [broken[1], broken[2], four]))
    assert found == LeftOut((one.path,), (four.path,), (two.path,), (two.path, three.path))
    assert len(found) == 4
    assert found.line() == (
        "left out: 4 recordings (1 in the first run alone, 1 in the second run alone, 1 failed in the first run, "
        "2 failed in the second run)"
    )
    assert not left_out(report("a", [one]), report("b", [one]))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"text": None, "partial_text": FOX},
            "a.wav was counted by other rules in 'b': free_ends is False in the first",
        ),
        ({"language": "zh"}, "other rules in 'b': unit is 'word' in the first run and 'character' in the second"),
        ({"language": "de"}, "language is 'en' in the first run and 'de' in the second; score both with one manifest"),
        ({"speech": False}, "silent is False in the first run and True in the second"),
    ],
)
def test_runs_by_other_rules_cannot_be_compared(clip, facts, message):
    first, second = (score(one, heard(FOX), 9.0) for one in (clip, replace(clip, **facts)))
    with pytest.raises(OptionError, match=message):
        compare(report("a", [first]), report("b", [second]))


def test_runs_that_cannot_be_compared(clip):
    one = some(clip, 1)
    with pytest.raises(OptionError, match=r"no transcript of one .* left out: 1 recordings \(1 failed in the second"):
        compare(report("a", one), report("b", [replace(one[0], error="broken")]))
    with pytest.raises(OptionError, match="no transcript of one recording in common"):
        compare(report("a", one), report("b", [replace(one[0], path="other")]))
    with pytest.raises(OptionError, match="has another reference"):
        compare(report("a", one), report("b", [replace(one[0], reference="other")]))
    silent = [replace(one[0], silent=True, counts={})]
    assert compare(report("a", silent), report("b", silent))[0].verdict == "-"
