"""The harness that measures word times: how recordings are joined, what is counted, what is cached."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks.parity import clips
from benchmarks.parity.rival import Answer
from benchmarks.words import __main__ as command
from benchmarks.words import engines, joined, ours, report
from benchmarks.words.human import human_truths
from benchmarks.words.joined import RATE, Phrase, Piece, Truth
from benchmarks.words.measure import Agreement, agreement, boundary_errors, starts_in_silence, total

PHRASES = (Phrase(1.0, 2.0, "Please call Stella."), Phrase(4.0, 5.0, "It's five-five"))
HEARD = [
    (" Please", 0.8, 1.4),
    (" call", 1.4, 1.7),
    (" Stella.", 1.7, 2.3),
    (" Its", 3.2, 4.1),
    (" five", 4.1, 4.5),
    (" five", 4.5, 4.9),
]


def clip(path="a/b.wav", language="en", kind="short", duration=2.0, text="And so", **line):
    return clips._clip({"path": path, "language": language, "kind": kind, "duration": duration, "text": text, **line})


def tone(seconds: float, level: float = 0.3):
    return (level * np.sin(0.3 * np.arange(round(seconds * RATE)))).astype(np.float32)


def recorded(before: float = 0.5, speech: float = 1.0, behind: float = 0.5, level: float = 0.3):
    """A tone that begins and ends within a recording of faint noise."""
    samples = np.concatenate([tone(before, 0), tone(speech, level), tone(behind, 0)])
    return samples + 1e-3 * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)


class TestAgreement:
    def test_same_words_at_the_same_times(self):
        assert agreement(HEARD, HEARD) == Agreement(6, 6, 6, 6)

    @pytest.mark.parametrize(("by", "same"), [(0.02, 1), (-0.02, 1), (0.021, 0), (-0.03, 0)])
    @pytest.mark.parametrize("side", [1, 2])
    def test_a_time_may_differ_by_the_tolerance(self, side, by, same):
        theirs, found = [" word", 1.0, 2.0], [" word", 1.0, 2.0]
        found[side] += by
        assert agreement([tuple(theirs)], [tuple(found)]).same_times == same

    def test_words_are_matched_by_text_around_those_that_differ(self):
        found = [HEARD[0], (" called", 1.4, 1.7), *HEARD[2:]]
        assert agreement(HEARD, found) == Agreement(6, 6, 5, 5)

    def test_all_recordings_together(self):
        whole = total([Agreement(10, 9, 8, 8), Agreement(10, 10, 8, 4)])
        assert whole == Agreement(20, 19, 16, 12)
        assert whole.share == 0.75
        assert total([]).share == 0.0


class TestTruth:
    def test_errors_are_those_of_the_first_and_the_last_word_of_a_phrase(self):
        errors = boundary_errors(PHRASES, HEARD)
        assert errors == pytest.approx({(0, "start"): -0.2, (0, "end"): 0.3, (1, "start"): -0.8, (1, "end"): -0.1})

    def test_a_phrase_whose_first_word_was_not_heard_has_no_start(self):
        assert set(boundary_errors(PHRASES, HEARD[1:])) == {(0, "end"), (1, "start"), (1, "end")}
        assert boundary_errors(PHRASES, []) == {}
        assert boundary_errors((Phrase(0, 1, "..."),), HEARD) == {}

    def test_words_that_begin_in_silence_are_counted_but_not_those_just_before_its_end(self):
        pauses = ((0.0, 1.0), (2.0, 4.0))
        assert starts_in_silence(pauses, HEARD) == 2
        assert starts_in_silence(pauses, [(" a", 0.96, 2.0), (" b", 2.0, 3.0), (" c", 4.0, 5.0)]) == 1
        assert starts_in_silence((), HEARD) == 0


class TestJoining:
    def test_a_piece_is_cut_where_its_speech_begins_and_ends(self):
        first, last = joined.speech_bounds(recorded(0.5, 1.0, 0.7))
        assert (first / RATE, last / RATE) == (pytest.approx(0.5, abs=0.011), pytest.approx(1.5, abs=0.011))

    @pytest.mark.parametrize(
        "samples",
        [recorded(level=0.01), np.concatenate([recorded(), recorded()]), np.zeros(RATE, np.float32)],
        ids=["too noisy", "two pieces", "nothing"],
    )
    def test_what_has_no_clear_edges_is_not_used(self, samples):
        assert joined.speech_bounds(samples) is None
        assert joined.cut("and", samples) is None

    @pytest.mark.parametrize("level", [0.1, 0.9])
    def test_pieces_come_to_one_loudness(self, level):
        piece = joined.cut("and", recorded(level=level))
        assert 10 * np.log10((piece.samples**2).mean()) == pytest.approx(joined.LOUDNESS_DB, abs=0.1)

    def test_phrases_lie_where_they_are_said_to(self):
        pieces = [Piece("one", tone(0.5)), Piece("two", tone(0.8))]
        samples, phrases = joined.join(pieces, np.random.default_rng(3))
        assert [phrase.text for phrase in phrases] == ["one", "two"]
        level = joined.level_db(samples)
        for phrase, piece in zip(phrases, pieces, strict=True):
            assert phrase.end - phrase.start == pytest.approx(len(piece.samples) / RATE)
            inside = level[round(phrase.start * 100) + 1 : round(phrase.end * 100) - 1]
            assert inside.min() > -20
        pauses = joined.pauses_between(phrases, len(samples) / RATE)
        assert len(pauses) == 3
        for start, end in pauses:
            assert joined.PAUSES_S[0] - 0.01 <= end - start <= joined.PAUSES_S[1]
            assert level[round(start * 100) + 1 : round(end * 100) - 1].max() < -35

    def test_only_short_clips_with_text_and_spaces_are_joined(self):
        assert joined.is_candidate(clip())
        others = ({"language": None}, {"language": "ja"}, {"kind": "noise"}, {"text": None}, {"duration": 9.0})
        assert not any(joined.is_candidate(clip(**other)) for other in others)

    def test_every_piece_is_in_each_variant_and_a_seed_gives_the_same_again(self):
        given = [clip(path=f"{i}.wav", text=f"word {i}") for i in range(10)] + [clip("x.wav", language="fr")]
        saved = []

        def truths(seed):
            saved.clear()
            return list(joined.joined_truths(given, lambda _: recorded(), lambda s: saved.append(s) or "file", seed))

        first, samples = truths(1), list(saved)
        texts = sorted(phrase.text for truth in first for phrase in truth.phrases)
        assert texts == sorted([f"word {i}" for i in range(10)] * joined.VARIANTS)  # one French clip is too few
        assert {truth.language for truth in first} == {"en"}
        assert truths(1) == first
        assert all(map(np.array_equal, samples, saved))
        assert truths(2) != first


def test_human_phrases_and_the_gaps_between_them(tmp_path):
    lines = [
        {
            "path": "a/timed.wav",
            "language": "en",
            "segments": [[1.0, 2.0, "I am"], [2.0, 3.0, "here", "B"], [4, 5, "a"]],
        },
        {"path": "a/other.wav", "language": "en"},
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (truth,) = human_truths(tmp_path, lambda path: tmp_path / path)
    assert truth.label == "timed"
    assert truth.audio == tmp_path / "a/timed.wav"
    assert truth.phrases == (Phrase(1.0, 2.0, "I am"), Phrase(2.0, 3.0, "here"), Phrase(4, 5, "a"))
    assert truth.pauses == ((3.0, 4),)


class TestReport:
    TRUTH = Truth("t", "en", "file", PHRASES, ((0.0, 1.0), (2.0, 4.0)))

    def test_figures_are_over_the_boundaries_that_all_engines_heard(self):
        exact = [(" Please", 1.0, 1.5), (" call", 1.5, 1.6), (" Stella", 1.6, 2.0)]
        told = report.figures([self.TRUTH], {"a": [HEARD], "b": [exact]})
        assert told["b"] == report.Figures(2, 0.0, 0.0, 0.0, 3, 0)
        assert told["a"].boundaries == 2
        assert (told["a"].start_s, told["a"].end_s, told["a"].error_s) == pytest.approx((0.2, 0.3, 0.25))
        assert told["a"].silent_share == pytest.approx(2 / 6)
        assert told["a"].row("a").split() == ["a", "2", "250", "200", "300", "6", "2", "33.33", "%"]

    def test_ours_must_not_be_above_any_rival_in_either_figure(self):
        better, worse = report.Figures(9, 0.1, 0.1, 0.1, 100, 1), report.Figures(9, 0.2, 0.2, 0.2, 100, 2)
        mixed = report.Figures(9, 0.1, 0.1, 0.1, 100, 3)
        assert report.not_above(better, [worse, better])
        assert not report.not_above(worse, [better, worse])
        assert not report.not_above(mixed, [worse])


JOB = {"kind": "transcribe", "label": "a", "audio": ["abc.npy"], "options": {"language": "en"}}


class TestCaching:
    @pytest.fixture
    def calls(self, monkeypatch):
        calls = []

        def transcribe(model, samples, **options):
            calls.append(options)
            return SimpleNamespace(to_dict=lambda: {"segments": [{"words": None}]})

        monkeypatch.setattr(ours.np, "load", lambda path: path)
        monkeypatch.setattr(ours.viska, "transcribe", transcribe, raising=False)
        return calls

    def test_a_result_is_computed_once_and_a_cut_off_one_again(self, tmp_path, calls):
        for _ in range(2):
            answers = ours.Ours(None, tmp_path, 1, compat="openai").answers([JOB], "digest")
            assert engines.words_of(answers[0]) == []
        assert calls == [{"compat": "openai", "fp16": False, "language": "en"}]
        (results,) = tmp_path.iterdir()
        results.write_text(results.read_text()[:-5])
        ours.Ours(None, tmp_path, 1, compat="openai").answers([JOB], "digest")
        assert len(calls) == 2
        assert results.read_text().count("\n") == 1

    def test_other_modes_and_other_sources_are_other_results(self, tmp_path, calls, monkeypatch):
        ours.Ours(None, tmp_path, 1, compat="openai").answers([JOB], "digest")
        ours.Ours(None, tmp_path, 1, compat=None).answers([JOB], "digest")
        monkeypatch.setattr(ours, "source_digest", lambda: "changed")
        ours.Ours(None, tmp_path, 1, compat=None).answers([JOB], "digest")
        assert len(calls) == 3


class TestCommand:
    WORDS = (("And", 0.0, 1.0),)

    @pytest.fixture
    def asked(self, monkeypatch):
        """Engines that all give the same words, and the jobs they were given."""
        asked = {}

        def ask(name, jobs):
            asked[name] = jobs
            words = [{"word": word, "start": start, "end": end} for word, start, end in self.WORDS]
            return [Answer({"segments": [{"words": words}]}) for _ in jobs]

        def made(model, threads, wanted):
            return {name: lambda jobs, name=name: ask(name, jobs) for name in wanted}

        monkeypatch.setattr(command, "engines", made)
        monkeypatch.setattr(command.viska, "load_audio", lambda path: recorded(), raising=False)
        monkeypatch.setattr(command, "WORK", self.folder)
        return asked

    @pytest.fixture(autouse=True)
    def corpus_folder(self, tmp_path):
        self.folder = tmp_path
        self.arguments = ["--corpus", str(tmp_path), "--threads", str(torch.get_num_threads())]
        line = {"language": "en", "kind": "short", "duration": 2.0, "text": "And"}
        timed = {**line, "path": "timed.wav", "duration": 60, "segments": [[0, 1, "And"], [3, 4, "And"]]}
        lines = [{**line, "path": f"{i}.wav"} for i in range(4)] + [timed]
        (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def test_both_parts_end_with_a_line_of_json(self, asked, capsys):
        assert command.main(self.arguments) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert told["compat"] == {
            "recordings": 4,
            "words": 4,
            "theirs": 4,
            "alike": 4,
            "same_times": 4,
            "share": 1.0,
            "passed": True,
        }
        assert set(told["truth"]) == {"joined", "human", "both", "passed"}
        assert told["truth"]["human"]["viska default"]["words"] == 1

    def test_every_engine_is_asked_the_same(self, asked):
        command.main([*self.arguments, "--part", "truth"])
        first, *others = asked.values()
        assert len(asked) == 4
        assert all(jobs == first for jobs in others)
        assert first[0]["options"]["language"] == "en"

    def test_no_language_is_given_where_none_is_known(self):
        assert "language" not in command.job("a.npy", "a", None, {})["options"]
        assert "language" not in command.job("a.npy", "a", "mul", {})["options"]


def test_faster_whisper_is_told_to_search_greedily():
    jobs = []
    engines._greedily(lambda given: jobs.extend(given) or [], [{"options": {"temperature": 0.0}}])
    assert jobs == [{"options": {"temperature": 0.0, "beam_size": 1}}]


def test_openai_whisper_is_told_whose_heads_to_follow():
    jobs = []
    engines._with_heads_of("base", lambda given: jobs.extend(given) or [], [{"label": "a"}])
    assert jobs == [{"label": "a", "heads": "base"}]


def test_an_engine_that_failed_ends_the_run():
    with pytest.raises(SystemExit, match="out of memory"):
        engines.words_of(Answer(error="out of memory"))
