"""Penalty on repetition and ban on repeated runs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from made_up import made_up_mel, made_up_model
from viska.decoding import decode
from viska.decoding.repetition import NoRepeatNgram, RepetitionPenalty, followers
from viska.errors import OptionError
from viska.tokenizer import get_tokenizer

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")
SOT = list(TOKENIZER.sot_sequence)
STAMP, WORD = TOKENIZER.timestamp_begin, TOKENIZER.timestamp_end  # a timestamp; a word that a fine-tune added


@pytest.fixture(scope="module")
def model():
    return made_up_model()


@pytest.fixture(scope="module")
def features(model):
    return model.embed_audio(made_up_mel(2))


def penalised(sampled: list[list[int]], logits: torch.Tensor, penalty: float = 2.0) -> torch.Tensor:
    logits = logits.clone()
    RepetitionPenalty(penalty, TOKENIZER, len(SOT)).apply(logits, torch.tensor([SOT + row for row in sampled]))
    return logits


def test_what_was_said_loses_by_the_factor_whatever_its_sign_and_however_often():
    logits = torch.linspace(-4, 4, WORD + 1).repeat(2, 1)
    after = penalised([[5, 50000, 5], [7, 7, 7]], logits)
    assert after[0, 5] == logits[0, 5] * 2  # below 0
    assert after[0, 50000] == logits[0, 50000] / 2  # above 0
    assert after[1, 7] == logits[1, 7] * 2
    changed = (after != logits).nonzero().tolist()
    assert changed == [[0, 5], [0, 50000], [1, 7]]


def test_timestamps_and_the_end_are_not_penalised_but_added_words_are():
    logits = torch.ones(1, WORD + 1)
    after = penalised([[STAMP, STAMP + 50, WORD, TOKENIZER.eot]], logits)
    assert (after != logits).nonzero().tolist() == [[0, WORD]]


def test_the_prompt_is_not_penalised_and_what_is_banned_stays_so():
    logits = torch.full((1, WORD), -math.inf)
    assert torch.equal(penalised([[]], logits), logits)
    assert penalised([[5]], logits)[0, 5] == -math.inf
    prompted = torch.ones(1, WORD)
    RepetitionPenalty(2.0, TOKENIZER, 5).apply(prompted, torch.tensor([[TOKENIZER.sot_prev, 9, *SOT]]))
    assert torch.equal(prompted, torch.ones(1, WORD))


@pytest.mark.parametrize(
    ("text", "size", "banned"),
    [
        ([], 1, []),
        ([5, 6], 1, [5, 6]),
        ([5, 6, 5], 2, [6]),
        ([5, 6, 5, 7, 5], 2, [6, 7]),
        ([5, 6], 2, []),
        ([5, 5], 2, [5]),
        ([1, 2, 3, 1, 2], 3, [3]),
        ([1, 2, 3, 4, 2], 3, []),
        ([1, 2], 4, []),
    ],
)
def test_followers_would_say_a_run_again(text, size, banned):
    assert followers(text, size) == banned


@given(st.lists(st.integers(0, 3), max_size=25), st.integers(1, 5))
def test_followers_are_all_those_that_complete_a_known_run_and_no_others(text, size):
    runs = {tuple(text[i : i + size]) for i in range(len(text) - size + 1)}
    expected = {token for token in range(4) if len(text) >= size and tuple([*text, token][-size:]) in runs}
    assert set(followers(text, size)) == expected


def test_runs_go_through_timestamps_which_are_never_banned():
    logits = torch.zeros(2, WORD + 1)
    sampled = [[STAMP, 5, 6, STAMP + 9, STAMP + 9, 5], [STAMP, 5, STAMP + 9, STAMP + 9, 6, 7]]
    NoRepeatNgram(2, TOKENIZER, len(SOT)).apply(logits, torch.tensor([SOT + row for row in sampled]))
    assert (logits == -math.inf).nonzero().tolist() == [[0, 6]]


@pytest.mark.parametrize("search", [{}, {"beam_size": 2}, {"temperature": 1.0}])
@pytest.mark.parametrize("size", [1, 3])
def test_nothing_decoded_has_a_run_twice(model, features, search, size):
    results = decode(model, features, language="en", no_repeat_ngram_size=size, sample_len=40, **search)
    for result in results:
        text = [token for token in result.tokens if token < TOKENIZER.eot]
        runs = [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]
        assert len(runs) == len(set(runs)) > 0


def test_a_penalty_makes_text_more_varied_and_1_is_none(model, features):
    plain = decode(model, features[0], language="en", sample_len=40)
    varied = decode(model, features[0], language="en", sample_len=40, repetition_penalty=3.0)
    assert len(set(varied.tokens)) > len(set(plain.tokens))
    neutral = decode(model, features[0], language="en", sample_len=40, repetition_penalty=1.0, no_repeat_ngram_size=0)
    assert neutral.tokens == plain.tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; it must be from 0.01 to 100, where 1 is none"),
        ({"repetition_penalty": math.nan}, "repetition_penalty is nan"),
        ({"repetition_penalty": math.inf}, "repetition_penalty is inf"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size is -1"),
    ],
)
def test_options_without_meaning_are_refused(model, features, options, message):
    with pytest.raises(OptionError, match=message):
        decode(model, features[0], language="en", **options)
