"""The gate: accuracy on a small fixed set must not become worse than stored in `expected/gate.json`.

tiny.en is measured each time; base, which takes minutes, with -m slow. `scripts/gate --update` stores new figures.
"""

from dataclasses import replace

import pytest
from benchmarks import gate
from benchmarks.gate import Figures

from viska.evaluation.hypothesis import Hypothesis
from viska.evaluation.run import viska_engine

FIXTURES = {"tiny.en": "tiny_en", "base": "base"}
MODELS = [pytest.param("tiny.en"), pytest.param("base", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def stored():
    return gate.read()


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    return gate.carried_clips(tmp_path_factory.mktemp("gate"))


def check(stored, found, scores):
    told = gate.complaints(stored, found)
    assert told == [], [one.text for one in scores if one.invented or one.lost or one.loops or one.inserted]


@pytest.mark.guarded
@pytest.mark.parametrize("model", MODELS)
def test_not_worse_on_what_the_repo_carries(model, request, stored, carried):
    found, scores = gate.measure(carried, viska_engine(request.getfixturevalue(FIXTURES[model])))
    check(stored[0][model]["carried"], found, scores)


@pytest.mark.guarded
@pytest.mark.parametrize("model", MODELS)
def test_not_worse_on_the_corpus(model, request, stored, corpus):
    clips = gate.corpus_clips(corpus, model, stored[1])
    found, scores = gate.measure(clips, viska_engine(request.getfixturevalue(FIXTURES[model])))
    check(stored[0][model]["corpus"], found, scores)


BEFORE = Figures(errors=10, units=400, invented=0, inserted=0, lost=0, loops=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"errors": 12}, None),
        ({"errors": 5}, None),
        ({"errors": 13}, "the error rate rose from 2.50% to 3.25%"),
        ({"invented": 1}, "invented rose from 0 to 1"),
        ({"inserted": 3}, "inserted rose from 0 to 3"),
        ({"lost": 3}, "lost rose from 0 to 3"),
        ({"loops": 1}, "loops rose from 0 to 1"),
        ({"units": 401}, "not the same set"),
    ],
)
def test_what_counts_as_worse(change, message):
    told = gate.complaints(BEFORE, replace(BEFORE, **change))
    assert len(told) == (message is not None)
    assert message is None or message in told[0]


def test_an_engine_that_makes_things_up_does_not_pass(stored, carried):
    found, _ = gate.measure(carried, lambda clip: Hypothesis(text=(clip.reference or "") + " thanks for watching it"))
    told = " ".join(gate.complaints(stored[0]["tiny.en"]["carried"], found))
    assert "error rate" in told
    assert "invented rose" in told
    assert "inserted rose" in told


def test_an_engine_that_says_nothing_does_not_pass(stored, carried):
    found, _ = gate.measure(carried, lambda clip: Hypothesis())
    told = " ".join(gate.complaints(stored[0]["tiny.en"]["carried"], found))
    assert "error rate" in told
    assert "lost rose" in told


def test_a_failure_is_no_pass(carried):
    with pytest.raises(RuntimeError, match=r"not transcribed: .*broken"):
        gate.measure(carried[:1], lambda clip: Hypothesis(error="broken"))


def test_another_recording_under_a_known_path_is_refused(corpus):
    with pytest.raises(ValueError, match="is not the recording whose figures are stored"):
        gate.corpus_clips(corpus, "tiny.en", {})


def test_the_set_is_worth_measuring(stored):
    figures, digests = stored
    assert set(figures) == set(gate.MODELS)
    for by in figures.values():
        assert by["carried"].units + by["corpus"].units > 400  # one word more is less than the tolerance
        assert by["corpus"].error_rate < 0.2
    assert len(digests) == len(gate.ENGLISH + gate.OTHERS)
