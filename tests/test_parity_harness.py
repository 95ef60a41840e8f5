"""The harness that compares Viska with openai-whisper: what it calls equal, close and different, what it repeats."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.parity import __main__ as command
from benchmarks.parity import cases, clips, compare, expectations, rival, run, witness
from benchmarks.parity.report import Report
from benchmarks.parity.settings import CLIP_LANGUAGE, DECODE, QUICK, TRANSCRIBE, Setting
from hypothesis import given
from hypothesis import strategies as st

WINDOW = {
    "language": "en",
    "tokens": [50364, 400, 50400],
    "text": "And",
    "avg_logprob": -0.25,
    "no_speech_prob": 0.01,
    "temperature": 0.0,
    "compression_ratio": 0.8,
}
SEGMENT = {**WINDOW, "id": 0, "seek": 0, "start": 0.0, "end": 0.72}
SCORE = {"fork": 1, "rivals": [-0.7, -0.70005], "steps": [[-0.1, -0.7, -0.2], [-0.1, -0.7, -0.5, -0.1]]}
JOB = {"kind": "decode", "options": {"beam_size": 5}, "audio": ["/x/abc.npy"], "label": "beam5 a", "input": "mel"}
WHO = {"versions": {"torch": "2"}, "model": "d1", "threads": 2}
GREEDY = Setting("greedy")
TRANSCRIPT = {"text": "And", "language": "en", "segments": [SEGMENT, {**SEGMENT, "id": 1, "start": 0.72}]}


def clip(path="a/b.wav", language="en", kind="short", duration=5.0, text="And so", **line):
    return clips._clip({"path": path, "language": language, "kind": kind, "duration": duration, "text": text, **line})


@pytest.fixture
def arrays(tmp_path):
    def load(path):
        return np.full(clips.WINDOW_SAMPLES + 10, len(path.name), dtype=np.float32)

    return clips.Arrays(Path("somewhere"), tmp_path / "arrays", load)


class TestWindows:
    def test_the_same_is_equal(self):
        verdict = compare.compare_window(WINDOW, dict(WINDOW))
        assert (verdict.status, verdict.detail) == ("equal", "")
        assert verdict.deviations == {"avg_logprob": 0.0, "no_speech_prob": 0.0}

    @pytest.mark.parametrize("name", ["avg_logprob", "no_speech_prob"])
    @given(st.floats(-3e-4, 3e-4))
    def test_probabilities_may_differ_by_the_tolerance(self, name, by):
        verdict = compare.compare_window(WINDOW, {**WINDOW, name: WINDOW[name] + by})
        gap = abs(WINDOW[name] + by - WINDOW[name])
        assert (verdict.status == "equal") == (gap <= compare.TOLERANCE)
        assert verdict.deviations[name] == gap

    @pytest.mark.parametrize(
        ("name", "value"), [("text", "and"), ("language", "de"), ("compression_ratio", 0.8000001), ("temperature", 0.2)]
    )
    def test_everything_else_must_be_equal(self, name, value):
        verdict = compare.compare_window(WINDOW, {**WINDOW, name: value})
        assert verdict.status == "different"
        assert name in verdict.detail

    def test_other_tokens_leave_the_verdict_to_the_rivals_margin(self):
        assert compare.compare_window(WINDOW, {**WINDOW, "tokens": [50364, 401, 50400]}).status == "tokens"

    def test_another_language_is_different_whatever_the_tokens(self):
        found = {**WINDOW, "tokens": [50364], "language": "de"}
        assert compare.compare_window(WINDOW, found).status == "different"

    def test_a_probability_that_is_not_a_number_is_no_match(self):
        assert compare.compare_window(WINDOW, {**WINDOW, "avg_logprob": math.nan}).status == "different"
        both = {**WINDOW, "no_speech_prob": math.nan}
        assert compare.compare_window(both, dict(both)).status == "equal"

    def test_a_window_that_is_missing_is_an_error(self):
        with pytest.raises(ValueError, match="shorter"):
            compare.compare_answers("decode", [WINDOW, WINDOW], [WINDOW])


class TestLanguages:
    def test_the_largest_deviation_counts(self):
        expected, found = {"language_probs": {"en": 0.7, "de": 0.2}}, {"language_probs": {"de": 0.2002, "en": 0.7}}
        verdict = compare.compare_languages(expected, found)
        assert verdict.status == "different"
        assert verdict.deviations["language_probs"] == pytest.approx(2e-4)

    def test_a_language_on_one_side_only_is_different(self):
        verdict = compare.compare_languages(
            {"language_probs": {"en": 1.0}}, {"language_probs": {"en": 1.0, "yue": 0.0}}
        )
        assert verdict.status == "different"
        assert "yue" in verdict.detail


class TestTranscripts:
    def changed(self, **fields):
        return {**TRANSCRIPT, "segments": [SEGMENT, {**TRANSCRIPT["segments"][1], **fields}]}

    def test_the_same_is_equal(self):
        assert compare.compare_transcripts(TRANSCRIPT, json.loads(json.dumps(TRANSCRIPT))).status == "equal"

    @pytest.mark.parametrize(
        ("name", "value"), [("start", 0.74), ("end", 0.7), ("tokens", [1]), ("text", "and"), ("seek", 3000), ("id", 2)]
    )
    def test_a_segment_that_differs_is_named(self, name, value):
        verdict = compare.compare_transcripts(TRANSCRIPT, self.changed(**{name: value}))
        assert verdict.status == "different"
        assert verdict.detail.startswith("segment 1: ")
        assert name in verdict.detail

    def test_a_probability_beyond_the_tolerance_is_different(self):
        assert compare.compare_transcripts(TRANSCRIPT, self.changed(no_speech_prob=0.02)).status == "different"

    def test_too_few_segments_are_different(self):
        verdict = compare.compare_transcripts(TRANSCRIPT, {**TRANSCRIPT, "segments": [SEGMENT]})
        assert "2 segments against 1" in verdict.detail

    @pytest.mark.parametrize("name", ["text", "language"])
    def test_text_and_language_of_the_whole_count(self, name):
        assert compare.compare_transcripts(TRANSCRIPT, {**TRANSCRIPT, name: "xx"}).status == "different"


class TestMargin:
    def test_greedy_takes_the_tokens_where_the_sequences_part(self):
        assert compare.margin(SCORE, {}) == pytest.approx(5e-5)

    def test_beam_search_takes_the_scores_of_the_whole_sequences(self):
        assert compare.margin(SCORE, {"beam_size": 5}) == pytest.approx(abs(-1.0 / 2 - -1.4 / 3))

    def test_beam_search_ranks_with_the_length_penalty(self):
        expected = -1.0 / (7 / 6) ** 0.6 - -1.4 / (8 / 6) ** 0.6
        assert compare.margin(SCORE, {"beam_size": 5, "length_penalty": 0.6}) == pytest.approx(abs(expected))

    @pytest.mark.parametrize(("second", "status"), [(-0.70005, "listed"), (-0.7002, "different")])
    def test_only_a_tie_of_the_rivals_own_is_listed(self, arrays, second, status):
        case = next(cases.decode_cases([GREEDY], [clip()], arrays, multilingual=True))
        parting = run.Parting(case, case.audio[0], "greedy a/b.wav", WINDOW, {**WINDOW, "tokens": [50364, 7]})
        answer = rival.Answer(result=[{**SCORE, "rivals": [-0.7, second]}])
        verdict = run.judge_parting(parting, answer)
        assert verdict.status == status
        assert "[400, 50400] against [7]" in verdict.detail
        assert parting.job()["sequences"] == [[50364, 400, 50400], [50364, 7]]
        assert parting.job()["options"]["language"] == "en"

    def test_a_score_that_the_rival_cannot_give_is_no_excuse(self, arrays):
        case = next(cases.decode_cases([GREEDY], [clip()], arrays, multilingual=True))
        parting = run.Parting(case, case.audio[0], "x", WINDOW, WINDOW)
        assert run.judge_parting(parting, rival.Answer(error="no")).status == "different"


class Echo:
    """A stand-in for Viska that gives fixed answers."""

    def __init__(self, answer):
        self._answer = answer

    def answer(self, case):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def compared(arrays, found, *answers, setting=GREEDY, count=1, score=None):
    report = Report()
    chosen = [clip(f"a/{'b' * i}.wav") for i in range(1, count + 1)]
    make = cases.transcribe_cases if setting.kind == "transcribe" else None
    listed = (
        list(make([setting], chosen, arrays)) if make else list(cases.decode_cases([setting], chosen, arrays, True))
    )

    def ask(jobs):
        if jobs[0]["kind"] == "score":
            return [rival.Answer(result=[score])] * len(jobs)
        return list(answers)

    run.compare_model("base", listed, Echo(found), ask, report)
    return report


class TestRun:
    def test_equal_windows_pass(self, arrays):
        report = compared(arrays, [WINDOW], rival.Answer([WINDOW]))
        assert report.passed
        assert report.summary()["equal"] == 1

    def test_nothing_compared_is_a_failure(self):
        assert not Report().passed
        assert json.loads(list(Report().lines())[-1])["passed"] is False

    def test_an_error_of_viska_is_a_failure_and_is_told(self, arrays):
        report = compared(arrays, KeyError("boom"), rival.Answer([WINDOW]))
        assert not report.passed
        assert "ERROR base greedy a/b.wav: KeyError: 'boom'" in list(report.lines())

    def test_an_error_of_the_rival_is_not_compared_and_proves_nothing(self, arrays):
        report = compared(arrays, [WINDOW], rival.Answer(error="RuntimeError: crash"))
        assert report.summary()["not_compared"] == 1
        assert not report.passed

    def test_a_run_that_was_cut_short_is_no_proof(self, arrays):
        report = compared(arrays, [WINDOW], rival.Answer([WINDOW]))
        report.interrupted = True
        assert not report.passed
        assert report.summary()["interrupted"] is True

    def test_one_failure_among_many_fails_the_run(self, arrays):
        report = Report()
        report.add("base", "greedy", "x", compare.Verdict("equal"))
        assert report.passed
        report.add("base", "greedy", "y", compare.Verdict("different", "text"))
        assert not report.passed

    @pytest.mark.parametrize(("second", "passed"), [(-0.70001, True), (-0.8, False)])
    def test_other_tokens_are_judged_by_the_rivals_margin(self, arrays, second, passed):
        good = compared(arrays, [WINDOW], rival.Answer([WINDOW]))
        score = {**SCORE, "rivals": [-0.7, second]}
        report = compared(arrays, [{**WINDOW, "tokens": [50364]}], rival.Answer([WINDOW]), score=score)
        assert good.passed
        assert report.total("listed") == int(passed)
        assert report.total("different") == int(not passed)

    def test_a_batch_of_beams_is_compared_with_single_windows(self, arrays):
        setting = Setting("beam5-batch", {"beam_size": 5}, batch=2, single=True)
        second = {**WINDOW, "text": "So"}
        answers = (rival.Answer([WINDOW]), rival.Answer([second]))
        assert compared(arrays, [WINDOW, second], *answers, setting=setting, count=2).total("equal") == 2
        swapped = compared(arrays, [second, WINDOW], *answers, setting=setting, count=2)
        assert swapped.total("different") == 2

    def test_a_transcript_with_sampling_is_not_compared(self, arrays):
        ladder = next(setting for setting in TRANSCRIBE if setting.name == "transcribe-ladder")
        report = compared(arrays, AssertionError(), rival.Answer({"sampled": True}), setting=ladder)
        assert (report.total("not compared"), report.total("error")) == (1, 0)

    def test_a_transcript_is_compared(self, arrays):
        setting = TRANSCRIBE[0]
        assert compared(arrays, TRANSCRIPT, rival.Answer(TRANSCRIPT), setting=setting).passed

    def test_the_table_tells_the_largest_deviation(self):
        report = Report()
        for value in (2e-5, 3e-5, 1e-5):
            report.add("base", "greedy", "x", compare.Verdict("equal", deviations={"avg_logprob": value}))
        assert report.summary()["largest_deviations"] == {"avg_logprob": 3e-5}
        assert any("avg_logprob 3.0e-05" in line for line in report.lines())


class TestClips:
    def test_the_first_clips_vary_the_most(self):
        many = [clip(f"books/{i}.wav") for i in range(20)]
        few = [clip("noise/x.wav", None, "noise"), clip("lid/y.wav", "fi"), clip("tel/z.wav", "es", sample_rate=8000)]
        assert set(clips.choose([*many, *few], 4)) > set(few)

    def test_the_choice_does_not_depend_on_the_order(self):
        many = [clip(f"{'abc'[i % 3]}/{i}.wav", ("en", "de")[i % 2]) for i in range(30)]
        assert clips.choose(many, 10) == clips.choose(many[::-1], 10)
        assert len(clips.choose(many, 99)) == 30

    def test_headerless_recordings_are_left_out(self, tmp_path):
        lines = [{"path": "a/a.wav", "duration": 1}, {"path": "a/b.raw", "duration": 1, "raw_format": {"channels": 1}}]
        (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert [found.path for found in clips.read_manifest(tmp_path)] == ["a/a.wav"]

    def test_an_array_is_named_by_its_samples(self, tmp_path):
        first = clips.save_array(np.zeros(4, np.float32), tmp_path)
        assert clips.save_array(np.zeros(4, np.float64), tmp_path) == first
        assert clips.save_array(np.zeros(5, np.float32), tmp_path) != first
        assert np.load(first).dtype == np.float32
        assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy", ".npy"]

    def test_a_window_is_30_seconds_and_the_whole_is_all(self, arrays):
        assert np.load(arrays.window(clip())).shape == (480_000,)
        assert np.load(arrays.whole(clip())).shape == (480_010,)


class TestCases:
    def test_the_names_of_settings_are_unique(self):
        names = [setting.name for setting in (*DECODE, *TRANSCRIBE)]
        assert len(names) == len(set(names))
        assert set(QUICK) < set(names)

    def test_a_wide_setting_gets_all_clips_and_others_a_few(self, arrays):
        heard = [clip(f"{'x' * i}/b.wav") for i in range(1, 6)]
        wide, narrow = Setting("wide", widely=True), Setting("narrow")
        found = list(cases.decode_cases([wide, narrow], heard, arrays, True, few=2))
        assert [case.setting.name for case in found] == ["wide"] * 5 + ["narrow"] * 2

    def test_batches_end_with_what_is_left(self, arrays):
        heard = [clip(f"{'x' * i}/b.wav") for i in range(1, 6)]
        sizes = [len(case.clips) for case in cases.decode_cases([Setting("b", batch=4)], heard, arrays, True)]
        assert sizes == [4, 1]

    def test_an_english_model_is_told_english_and_spared_the_rest(self, arrays):
        settings = [Setting("translate", {"task": "translate"}, multilingual_only=True), Setting("greedy")]
        found = list(cases.decode_cases(settings, [clip()], arrays, multilingual=False))
        assert [case.options for case in found] == [{"language": "en"}]

    @pytest.mark.parametrize(("spoken", "given"), [("fi", "fi"), (None, "en"), ("mul", "en")])
    def test_the_clips_own_language_is_filled_in(self, arrays, spoken, given):
        setting = Setting("given", {"language": CLIP_LANGUAGE})
        case = next(cases.decode_cases([setting], [clip(language=spoken)], arrays, True))
        assert case.options == {"language": given}

    def test_long_beam_searches_take_the_shortest_recordings(self, arrays):
        long = [clip(f"long/{i}.wav", duration=i) for i in (90, 30, 60)]
        settings = [Setting("all", kind="transcribe", widely=True), Setting("two", kind="transcribe")]
        found = list(cases.transcribe_cases(settings, long, arrays))
        assert [(case.setting.name, case.clips[0].duration) for case in found] == [
            *(("all", 30), ("all", 60), ("all", 90)),
            *(("two", 30), ("two", 60)),
        ]


class TestKeys:
    def test_label_and_folder_do_not_matter(self):
        same = {**JOB, "label": "other", "audio": ["/y/abc.npy"]}
        assert cases.job_key(same, WHO) == cases.job_key(JOB, WHO)

    @pytest.mark.parametrize(
        "change",
        [
            *({"kind": "score"}, {"options": {}}, {"audio": ["/x/abd.npy"]}, {"input": "features"}),
            {"sequences": [[1], [2]]},
        ],
    )
    def test_everything_asked_matters(self, change):
        assert cases.job_key({**JOB, **change}, WHO) != cases.job_key(JOB, WHO)

    @pytest.mark.parametrize("change", [{"versions": {"torch": "3"}}, {"model": "d2"}, {"threads": 1}])
    def test_everyone_asked_matters(self, change):
        assert cases.job_key(JOB, {**WHO, **change}) != cases.job_key(JOB, WHO)


STAND_IN = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--version", action="store_true")
for name in ("--checkpoint", "--jobs", "--results", "--threads"):
    parser.add_argument(name)
args = parser.parse_args()
if args.version:
    print('{"openai-whisper": "0", "torch": "0"}')
else:
    with open(args.results, "a") as out:
        for job in map(json.loads, open(args.jobs)):
            out.write(json.dumps({"key": job["key"], "result": job["options"]}) + "\\n")
"""


class TestCache:
    """With a stand-in for the rival's script that echoes the options it is asked for."""

    @pytest.fixture
    def asked(self, tmp_path, monkeypatch):
        script = tmp_path / "stand_in.py"
        script.write_text(STAND_IN)
        monkeypatch.setattr(rival, "SCRIPT", script)
        whom = rival.Rival(sys.executable, tmp_path / "cache", threads=2)
        return lambda jobs: whom.answers(jobs, tmp_path / "model.pt", "a" * 64)

    def job(self, number):
        return {"kind": "decode", "options": {"n": number}, "audio": [f"{number}.npy"], "label": str(number)}

    def test_answers_come_in_the_order_of_the_jobs(self, asked):
        assert [answer.result["n"] for answer in asked([self.job(n) for n in (3, 1, 3, 2)])] == [3, 1, 3, 2]

    def test_nothing_is_computed_twice(self, asked, tmp_path):
        asked([self.job(1), self.job(2)])
        file = next((tmp_path / "cache").glob("*.jsonl"))
        before = file.read_text()
        asked([self.job(2), self.job(1)])
        assert file.read_text() == before
        asked([self.job(1), self.job(3)])
        assert file.read_text().count("\n") == 3
        assert not list((tmp_path / "cache").glob("*.jobs"))

    def test_a_line_that_was_cut_off_does_not_count(self, tmp_path):
        file = tmp_path / "results.jsonl"
        file.write_text('{"key": "a", "result": [1]}\n{"key": "b", "error": "E: x"}\n{"key": "c", "resu')
        found = rival.read_answers(file)
        assert found == {"a": rival.Answer([1]), "b": rival.Answer(error="E: x")}

    def test_no_file_is_no_answers(self, tmp_path):
        assert rival.read_answers(tmp_path / "none.jsonl") == {}


class TestCheckpoint:
    def test_weights_are_halved_only_where_nothing_is_lost(self, tmp_path):
        state = {"b": torch.tensor([0.1]), "a": torch.tensor([0.5, 2.0])}
        path, digest = rival.save_checkpoint({"n_mels": 80}, state, tmp_path)
        stored = torch.load(path, weights_only=True)
        assert stored["dims"] == {"n_mels": 80}
        assert {name: tensor.dtype for name, tensor in stored["model_state_dict"].items()} == {
            "a": torch.float16,
            "b": torch.float32,
        }
        assert path.stem == digest

    def test_the_digest_tells_content_apart_and_nothing_else(self, tmp_path):
        state = {"a": torch.tensor([0.5, 2.0])}
        _, first = rival.save_checkpoint({"n_mels": 80}, state, tmp_path)
        assert rival.save_checkpoint({"n_mels": 80}, {"a": state["a"].half()}, tmp_path)[1] == first
        assert rival.save_checkpoint({"n_mels": 80}, {"a": state["a"] * 2}, tmp_path)[1] != first
        assert rival.save_checkpoint({"n_mels": 128}, state, tmp_path)[1] != first


class TestExpectations:
    def test_what_is_stored_comes_back(self, tmp_path, arrays):
        heard = [clip(f"{'x' * i}/b.wav") for i in range(1, 6)]
        kept = expectations.cases_to_keep(heard, arrays, multilingual=False)
        answers = [rival.Answer([WINDOW]) for _ in kept]
        expectations.store(tmp_path / "e" / "m.jsonl", {"torch": "2"}, kept, answers)
        back = list(expectations.read(tmp_path / "e" / "m.jsonl", heard, arrays))
        assert [case for case, _ in back] == kept
        assert all(expected == [WINDOW] for _, expected in back)

    def test_of_the_languages_the_likeliest_are_kept(self, tmp_path, arrays):
        case = next(cases.decode_cases([Setting("detect", kind="detect")], [clip()], arrays, True))
        probs = {code: 1 / (2 + i) for i, code in enumerate("gfedcba")}
        expectations.store(tmp_path / "m.jsonl", {}, [case], [rival.Answer([{"language_probs": probs}])])
        ((_, expected),) = expectations.read(tmp_path / "m.jsonl", [clip()], arrays)
        assert list(expected[0]["language_probs"]) == list("gfedc")

    def test_an_error_of_the_rival_is_never_stored(self, tmp_path, arrays):
        case = next(cases.decode_cases([GREEDY], [clip()], arrays, True))
        with pytest.raises(RuntimeError, match="crash"):
            expectations.store(tmp_path / "m.jsonl", {}, [case], [rival.Answer(error="crash")])


class TestWitness:
    def test_words_are_compared_without_case_and_punctuation(self):
        assert witness.plain_words("“Well-known”, it's: 5 €!  Yes…") == "well known its 5 yes"
        assert witness.word_error_rate(["ALL MEN ARE", "EQUAL"], ["All men, are!", "Sequel"]) == 0.25

    def test_only_clean_english_with_a_reference_is_heard(self):
        good = clip("ljspeech/a.flac")
        bad = [clip("ljspeech/b.flac", text=None), clip("vctk/c.wav", noisy=True), clip("noise/d.wav", "de")]
        assert witness.clean_clips([*bad, good]) == [good]

    @pytest.mark.parametrize(
        ("count", "ours", "theirs", "passed"),
        [(5, 0.04, 0.045, True), (5, 0.04, 0.06, False), (5, 0.09, 0.09, False), (0, 0.0, 0.0, False)],
    )
    def test_it_takes_a_low_rate_near_the_others(self, count, ours, theirs, passed):
        testimony = witness.Testimony(count, 100, ours, theirs)
        assert testimony.passed is passed
        assert json.loads(testimony.line())["passed"] is passed


class TestCommand:
    def test_quick_is_a_dozen_clips_with_greedy_and_beam_search(self):
        args = command.parse(["--quick"])
        assert (args.part, args.clips, args.settings) == ("decode", 12, "detect,greedy,beam5")

    def test_settings_are_chosen_by_name(self):
        assert [setting.name for setting in command.chosen_settings("beam5,greedy", DECODE)] == ["greedy", "beam5"]
        assert command.chosen_settings(None, DECODE) == list(DECODE)
        assert command.chosen_settings("transcribe", DECODE) == []

    def test_a_name_that_is_no_setting_is_refused(self):
        with pytest.raises(SystemExit, match="beam6"):
            command.chosen_settings("beam6", DECODE)

    def test_parts_and_models_get_their_clips(self, arrays):
        heard = [
            clip("a/a.wav"),
            clip("b/b.wav", "fi"),
            clip("long/c.mp3", kind="long"),
            clip("long/d.mp3", "fr", "long"),
        ]
        args = command.parse(["--part", "transcribe"])
        found = command.cases_to_compare(args, heard, arrays, multilingual=False)
        assert {case.clips[0].path for case in found} == {"long/c.mp3"}
        args = command.parse(["--part", "decode", "--settings", "greedy", "--clips", "3"])
        assert len(command.cases_to_compare(args, heard, arrays, multilingual=True)) == 3
