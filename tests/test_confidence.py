"""The confidence of words and segments, and how it is fitted."""

import numpy as np
import pytest
from benchmarks.confidence.collect import observed
from benchmarks.confidence.fit import fit, predicted, worth
from hypothesis import given
from hypothesis import strategies as st

from viska.evaluation.manifest import Clip
from viska.result import Segment, Transcript, Word
from viska.transcription.confidence import (
    SEGMENT,
    WORD,
    confidence,
    log_odds,
    segment_features,
    with_confidence,
    word_features,
)
from viska.transcription.speech import SpeechTrack


def spoken(length_s: float = 10.0, probability: float = 0.95) -> SpeechTrack:
    return SpeechTrack(np.full(round(length_s * 100), probability, dtype=np.float32))


def segment(*words: Word, **known) -> Segment:
    facts = {"temperature": 0.0, "avg_logprob": -0.3, "compression_ratio": 1.3, "no_speech_prob": 0.02, **known}
    return Segment(0, 0, 1.0, 4.0, " Good morning.", (), **facts, words=words or None)


GOOD = Word(" Good", 1.0, 1.3, 0.97)
UNSURE = Word(" morning.", 1.3, 1.8, 0.2)

anything = st.floats(0, 1)


@given(anything, st.floats(-5, 0), anything, st.floats(0, 20), st.floats(0, 30), st.floats(0, 1))
def test_it_is_a_probability_whatever_is_known(probability, avg_logprob, no_speech, ratio, duration, temperature):
    word = Word(" word", 1.0, 1.0 + duration, probability)
    known = {"avg_logprob": avg_logprob, "no_speech_prob": no_speech, "compression_ratio": ratio}
    found = with_confidence(segment(word, **known, temperature=temperature), spoken())
    assert 0 <= found.words[0].confidence <= 1
    assert 0 <= found.confidence <= 1
    assert 0 <= with_confidence(segment(**known, temperature=temperature), spoken()).confidence <= 1


def test_a_surer_word_has_more_confidence():
    found = with_confidence(segment(GOOD, UNSURE), spoken())
    good, unsure = (word.confidence for word in found.words)
    assert good > unsure
    assert found.confidence == pytest.approx((good + unsure) / 2, abs=1e-4)


@pytest.mark.parametrize("worse", [{"avg_logprob": -1.2}, {"no_speech_prob": 0.9}])
def test_a_doubtful_window_has_less(worse):
    assert with_confidence(segment(**worse), spoken()).confidence < with_confidence(segment(), spoken()).confidence
    sure, doubtful = (with_confidence(segment(GOOD, **facts), spoken()).words[0] for facts in ({}, worse))
    assert doubtful.confidence < sure.confidence


def test_words_without_speech_have_less():
    assert (
        with_confidence(segment(GOOD), spoken(probability=0.05)).confidence
        < with_confidence(segment(GOOD), spoken()).confidence
    )


def test_nothing_else_of_a_segment_changes():
    given_segment = segment(GOOD, UNSURE)
    found = with_confidence(given_segment, spoken()).to_dict()
    del found["confidence"]
    for word in found["words"]:
        del word["confidence"]
    assert found == given_segment.to_dict()


def test_probabilities_of_0_and_1_have_odds():
    assert log_odds(0.0) == pytest.approx(-log_odds(1.0))
    assert log_odds(0.5) == 0


def test_the_weights_fit_the_features():
    assert len(WORD) == len(word_features(GOOD, segment(GOOD), spoken())) + 1
    assert len(SEGMENT) == len(segment_features(segment(), spoken())) + 1


# Fitting


def test_a_fit_finds_the_weights_that_made_the_data():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(20_000, 2)) * [1.0, 10.0] + [0.5, -3.0]
    truth = (0.3, 1.5, -0.1)
    right = rng.random(len(table)) < predicted([tuple(row) for row in table], truth)
    assert fit([tuple(row) for row in table], right) == pytest.approx(truth, abs=0.06)


def test_rows_that_count_twice_are_as_good_as_two_rows():
    table, right = [(0.0,), (1.0,), (2.0,)], [0.0, 1.0, 1.0]
    twice = fit([*table, table[1]], [*right, right[1]])
    counted = fit(table, right, [1.0, 2.0, 1.0])
    # Scaling for the ridge sees other rows; what is predicted is nearly the same.
    assert predicted(table, counted) == pytest.approx(predicted(table, twice), abs=0.05)


def test_a_constant_feature_gets_no_weight():
    assert fit([(1.0, 0.0), (1.0, 1.0)] * 10, [0.0, 1.0] * 10)[1] == 0


def test_worth_is_that_of_the_report():
    figures = worth([0.9, 0.9, 0.1, 0.1], [True, True, False, False])
    assert figures.area == 1
    assert figures.brier == pytest.approx(0.01)
    assert figures.expected_error == pytest.approx(0.1)


# Collecting


def test_every_word_that_counts_is_observed_with_its_segment(tmp_path):
    words = (GOOD, Word(" —", 1.3, 1.4, 0.5), UNSURE)
    transcript = Transcript(" Good — morning.", (segment(*words),), "en")
    clip = Clip("a.wav", tmp_path / "a.wav", language="en", text="good evening")
    found = list(observed(clip, transcript, spoken(), 10.0))
    assert [(one.correct, one.probability, one.segment) for one in found] == [(True, 0.97, 0), (False, 0.2, 0)]
    assert found[1].word_features == word_features(UNSURE, transcript.segments[0], spoken())


def test_confidence_is_the_logistic_function():
    assert confidence((0.0,), (0.0, 1.0)) == 0.5
    assert confidence((1e9,), (0.0, 1.0)) == 1.0
    assert confidence((1.0,), (1.0, 1.0)) == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-4)
