"""The comparison of all modes with the rivals: which recordings, what is promised, and what is kept between runs."""

from pathlib import Path

import pytest
from benchmarks.accuracy import hear as hearing
from benchmarks.accuracy.__main__ import choose, report
from benchmarks.accuracy.contenders import DEFAULT, MODES, RIVALS
from benchmarks.accuracy.report import judge, show
from benchmarks.speed.client import RefusedError
from benchmarks.speed.engines import Engines

from viska.evaluation.hypothesis import Hypothesis
from viska.evaluation.manifest import Clip

SPOKEN = "the quick brown fox jumps over the lazy dog and runs away"


def spoken(number: int, **facts) -> Clip:
    return Clip(path=f"{number}.wav", file=Path("x"), **{"language": "en", "kind": "short", "text": SPOKEN, **facts})


def silent(number: int) -> Clip:
    return spoken(number, language=None, kind="noise", text="")


CLIPS = [*(spoken(i, duration=10.0) for i in range(8)), *(silent(i) for i in range(10, 14))]


def heard(name: str, speech: str = SPOKEN, noise: str = ""):
    texts = {clip.path: Hypothesis(noise if clip.kind == "noise" else speech, "en", seconds=1.0) for clip in CLIPS}
    return report(name, texts, CLIPS)


@pytest.fixture(autouse=True)
def length(monkeypatch):
    import numpy as np

    monkeypatch.setattr("viska.evaluation.run.read_samples", lambda _: np.zeros(16_000, dtype=np.float32))


def rivals():
    ten = "one two three four five six seven eight nine ten"
    return [
        heard("openai-whisper float32", SPOKEN.replace("quick", "slow"), noise=ten),
        heard("faster-whisper float32", SPOKEN.replace("quick brown", "slow red"), noise="thank you"),
    ]


def test_a_mode_that_is_as_good_as_the_better_rival_keeps_its_promise():
    verdict = judge(heard("viska", SPOKEN.replace("quick", "slow")), rivals())
    assert verdict.passed
    assert (verdict.invented, verdict.most_invented, verdict.lost) == (0, 4, 0)
    assert verdict.line().startswith("kept")


@pytest.mark.parametrize(
    ("speech", "noise", "broken"),
    [
        (SPOKEN, "one two", "invented"),  # 8 words in all
        ("the quick dog and runs away", "", "lost"),
        (SPOKEN.replace("quick brown fox", "slow red cat"), "", "worse"),
        (SPOKEN + " and runs away" * 9, "", "loops"),
    ],
)
def test_every_broken_promise_is_told(speech, noise, broken):
    verdict = judge(heard("viska", speech, noise), rivals())
    assert not verdict.passed
    assert verdict.line().startswith("BROKEN")
    assert {
        "invented": verdict.invented > verdict.most_invented,
        "lost": verdict.lost > verdict.most_lost,
        "worse": bool(verdict.worse),
        "loops": verdict.loops > 0,
    }[broken]


def test_a_recording_that_failed_breaks_the_promise():
    texts = {clip.path: Hypothesis(SPOKEN if clip.kind == "short" else "") for clip in CLIPS[:-1]}
    assert judge(report("viska", texts, CLIPS), rivals()).failed == 1


def test_the_table_has_a_row_for_each_and_a_column_in_each_group():
    shown = show([*rivals(), heard("viska auto")])
    assert "viska auto" in shown
    assert "1: openai-whisper float32" in shown
    group = next(line for line in shown.splitlines() if line.startswith("en short"))
    assert group.split()[:3] == ["en", "short", "8"]
    assert group.count("[") == 3


def test_groups_are_thinned_evenly_and_what_is_too_long_is_left_out():
    clips = [*CLIPS, spoken(50, duration=500.0)]
    assert [clip.path for clip in choose(clips, 4, 100.0)] == [
        *(f"{i}.wav" for i in (0, 2, 4, 6)),
        *(f"{i}.wav" for i in (10, 11, 12, 13)),
    ]
    assert {clip.path for clip in choose(clips, None, None)} == {clip.path for clip in clips}


def test_every_mode_is_there_and_both_rivals_are():
    assert {contender.engine for contender in RIVALS} == {"openai-whisper", "faster-whisper"}
    assert {(mode.compute_type, mode.options.get("batch_size", 1) > 1) for mode in MODES} == {
        (kind, batched) for kind in ("auto", "float32", "int8") for batched in (False, True)
    }
    assert {bool(mode.options.get("vad_filter")) for mode in MODES} == {False, True}
    assert len({mode.name for mode in MODES}) == len(MODES)


class MadeUpWorker:
    """Refuses one recording, and counts how often it is asked."""

    asked = 0

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def transcribe(self, recordings):
        MadeUpWorker.asked += 1
        if MadeUpWorker.asked == 2:
            raise RefusedError("cannot hear it")
        return {"answers": [{"text": SPOKEN, "language": "en", "seconds": 0.5}]}


def test_what_was_heard_is_kept_and_not_heard_again(tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.setattr(hearing, "FOLDER", tmp_path)
    monkeypatch.setattr(hearing, "WORK", tmp_path)
    monkeypatch.setattr(hearing, "Worker", MadeUpWorker)
    monkeypatch.setattr(hearing, "read_samples", lambda _: np.zeros(16_000, dtype=np.float32))
    engines = Engines("base", 1)
    first = hearing.hear(DEFAULT, CLIPS[:3], engines)
    assert [first[clip.path].text for clip in CLIPS[:3]] == [SPOKEN, "", SPOKEN]
    assert first["1.wav"].error == "cannot hear it"
    assert hearing.hear(DEFAULT, CLIPS[:4], engines).keys() == {f"{i}.wav" for i in range(4)}
    assert MadeUpWorker.asked == 4
    (kept,) = (tmp_path / "base").iterdir()
    kept.write_text(kept.read_text() + '{"path": "4.w')  # killed while it wrote
    assert len(hearing.hear(DEFAULT, CLIPS[:5], engines)) == 5
