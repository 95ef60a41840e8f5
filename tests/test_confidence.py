"""The confidence of words and segments, and how it is fitted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.confidence.collect import number_words, observed
from benchmarks.confidence.fit import fit, predicted, worth
from hypothesis import given
from hypothesis import strategies as st

from viska.evaluation.manifest import Clip
from viska.result import Segment, Transcript, Word
from viska.timing import WordTiming
from viska.tokenizer import get_tokenizer
from viska.transcription.confidence import (
    NEAR,
    SEGMENT,
    WORD,
    confidence,
    log_odds,
    rate_words,
    segment_features,
    with_confidence,
    word_features,
)
from viska.transcription.speech import SpeechTrack
from viska.transcription.spelling import spellings_of

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")


def spoken(length_s: float = 10.0, probability: float = 0.95) -> SpeechTrack:
    return SpeechTrack(np.full(round(length_s * 100), probability, dtype=np.float32))


def segment(*words: Word, **known) -> Segment:
    facts = {"temperature": 0.0, "avg_logprob": -0.3, "compression_ratio": 1.3, "no_speech_prob": 0.02, **known}
    return Segment(0, 0, 1.0, 4.0, " Good morning.", (), **facts, words=words or None)


def timing(text: str, *sureness: float) -> WordTiming:
    return WordTiming(text, [7] * len(sureness), 0.0, 1.0, 0.5, sureness)


def rated(*timings: WordTiming, language: str | None = "en") -> list[float | None]:
    rate_words(timings, language)
    return [one.confidence for one in timings]


sure = st.floats(0, 1)


@given(st.lists(st.builds(timing, st.text(min_size=1), sure, sure), min_size=1), st.floats(-5, 0), sure)
def test_it_is_a_probability_whatever_is_known(timings, avg_logprob, speech):
    assert all(0 <= one <= 1 for one in rated(*timings))
    assert 0 <= with_confidence(segment(avg_logprob=avg_logprob), spoken(probability=speech)).confidence <= 1


def test_a_surer_word_has_more():
    unsure, surer = rated(timing(" good", 0.2), timing(" good", 0.9))
    assert unsure < surer
    assert rated(timing(" good", 0.97))[0] > 0.9


def test_one_doubtful_part_is_enough_to_doubt_a_word():
    whole, part = (rated(timing(" annabel", *probabilities))[0] for probabilities in ((0.9, 0.9), (0.9, 0.1)))
    assert part < whole


def test_so_are_doubtful_words_around_it():
    among_sure = rated(*[timing(" word", 0.95)] * 3)[1]
    among_unsure = rated(timing(" word", 0.2), timing(" word", 0.95), timing(" word", 0.2))[1]
    assert among_unsure < among_sure
    far = [timing(" word", 0.1), *[timing(" word", 0.95)] * NEAR, timing(" word", 0.95)]
    assert rated(*far)[-1] == pytest.approx(among_sure, abs=1e-3)


def test_every_piece_of_a_word_must_be_right():
    whole, pieces = (rated(timing(" morning", *probabilities))[0] for probabilities in ((0.8,), (0.8,) * 3))
    assert pieces < whole
    all_right = [word_features([timing(" morning", *sure)], 0, "en")[0] for sure in ((0.8,) * 3, (0.8**3,))]
    assert all_right[0] == pytest.approx(all_right[1])


def test_numbers_are_heard_better_and_fleeting_words_worse_than_their_probability_says():
    plain, number = (rated(timing(text, 0.6))[0] for text in (" clubs", " 30000"))
    assert plain < number
    fleeting, never = (rated(WordTiming(" clubs", [7], 0.0, end_s, 0.5, (0.6,)))[0] for end_s in (0.1, 0.0))
    assert never < fleeting < plain


def test_what_is_no_word_is_doubted_where_that_can_be_known():
    word, none = (rated(timing(text, 0.9))[0] for text in (" tapestries", " tapistries"))
    assert none < 0.7 < 0.9 < word
    for language in ("yo", None):
        assert rated(timing(" tapistries", 0.9), language=language) == [word]


def test_a_translation_is_english(monkeypatch, base, recordings):
    languages = []
    monkeypatch.setattr("viska.transcription.passage.rate_words", lambda _, language: languages.append(language))
    for task in ("transcribe", "translate"):
        options = {"language": "fr", "task": task, "temperature": 0.0, "word_timestamps": True}
        base.transcribe(str(recordings / "sense_and_sensibility_0870.wav"), **options)
    assert languages == ["fr", "en"]


def test_what_was_put_to_another_word_has_none():
    assert rated(timing(" good", 0.9), timing("", 0.5), WordTiming(" old", [7], 0, 1, 0.5))[1:] == [None, None]


def test_a_segment_has_the_mean_of_its_words():
    words = [Word(" Good", 1.0, 1.3, 0.97, 0.9), Word(" morning.", 1.3, 1.8, 0.2, 0.4), Word(" —", 1.8, 1.9, 0.2)]
    found = with_confidence(segment(*words), spoken())
    assert found.confidence == pytest.approx(0.65)
    assert replace(found, confidence=None) == segment(*words)


def test_without_words_improbable_text_and_text_without_speech_has_less():
    good = with_confidence(segment(), spoken()).confidence
    assert with_confidence(segment(avg_logprob=-1.2), spoken()).confidence < good
    assert with_confidence(segment(), spoken(probability=0.05)).confidence < good


def test_probabilities_of_0_and_1_have_odds():
    assert log_odds(0.0) == pytest.approx(-log_odds(1.0))
    assert log_odds(0.5) == 0


def test_the_weights_fit_the_features():
    assert len(WORD) == len(word_features([timing(" good", 0.5)], 0, "en")) + 1
    assert len(SEGMENT) == len(segment_features(segment(), spoken())) + 1


# Spelling


def predictions(**probabilities: float) -> torch.Tensor:
    row = torch.zeros(1, TOKENIZER.eot)
    for text, probability in probabilities.items():
        (token,) = TOKENIZER.encode(text.replace("_", " "))
        row[0, token] = probability
    return row


def sureness(text: str, **probabilities: float) -> float:
    (token,) = TOKENIZER.encode(text)
    return spellings_of(TOKENIZER.encoding, TOKENIZER.eot).probabilities(predictions(**probabilities), [token]).item()


def test_a_word_is_the_same_in_every_spelling():
    assert sureness(" But", _But=0.3, _but=0.4, But=0.1, _and=0.2) == pytest.approx(0.8)
    assert sureness(" and", _But=0.3, _but=0.4, But=0.1, _and=0.2) == pytest.approx(0.2)


def test_marks_that_might_have_come_first_do_not_count():
    assert sureness(" But", _but=0.4, _and=0.1, **{",": 0.4, ".": 0.1}) == pytest.approx(0.8)
    assert sureness(" But", **{",": 1.0}) == 0


def test_a_mark_and_a_part_of_a_character_are_like_themselves_alone():
    spellings = spellings_of(TOKENIZER.encoding, TOKENIZER.eot)
    comma, part = TOKENIZER.encode(",")[0], TOKENIZER.encode("\N{GRINNING FACE}")[0]
    row = torch.zeros(2, TOKENIZER.eot)
    row[0, comma] = row[1, part] = 0.25
    assert spellings.probabilities(row, [comma, part]).tolist() == pytest.approx([0.25 / 0.75, 0.25])
    assert spellings.probabilities(row[:0], []).tolist() == []


def test_marks_that_make_other_letters_are_no_accents():
    for accented, plain, same in (("é", "e", True), ("\N{HIRAGANA LETTER GA}", "\N{HIRAGANA LETTER KA}", False)):
        ((one,), (other,)) = TOKENIZER.encode(accented), TOKENIZER.encode(plain)
        row = torch.zeros(1, TOKENIZER.eot)
        row[0, one], row[0, other] = 0.25, 0.5
        found = spellings_of(TOKENIZER.encoding, TOKENIZER.eot).probabilities(row, [one])
        assert found.item() == pytest.approx(0.75 if same else 0.25)


def test_words_of_real_speech_have_a_confidence_in_viskas_own_mode_alone(tiny_en, recordings):
    from viska import transcribe

    sound = recordings / "sense_and_sensibility_0870.wav"
    own, compat = (
        transcribe(tiny_en, sound, word_timestamps=True, temperature=0.0, compat=mode) for mode in (None, "openai")
    )
    assert own.words
    assert all(0.2 < word.confidence < 1 for word in own.words)
    assert all(word.confidence is None for word in compat.words)
    mean = sum(word.confidence for word in own.segments[0].words) / len(own.segments[0].words)
    assert own.segments[0].confidence == pytest.approx(mean, abs=1e-3)


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
    table = []
    timings = [timing(" Good", 0.97), timing(" —", 0.5), timing(" morning.", 0.2)]
    number_words(table, timings, "en")
    words = (Word(one.word, 1.0, 1.3, 0.1 * i, one.confidence) for i, one in enumerate(timings))
    transcript = Transcript(" Good — morning.", (segment(*words),), "en")
    clip = Clip("a.wav", tmp_path / "a.wav", language="en", text="good evening")
    found = list(observed(clip, transcript, table, spoken()))
    assert [(one.correct, one.probability, one.segment) for one in found] == [(True, 0.0, 0), (False, 0.2, 0)]
    assert found[1].word_features == word_features(timings, 2, "en")


def test_confidence_is_the_logistic_function():
    assert confidence((0.0,), (0.0, 1.0)) == 0.5
    assert confidence((1e9,), (0.0, 1.0)) == 1.0
    assert confidence((1.0,), (1.0, 1.0)) == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-4)
