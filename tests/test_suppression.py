"""Tokens banned by their text."""

import math

import pytest
import torch

from made_up import made_up_mel, made_up_model
from viska.decoding import decode, tokenizer_for
from viska.decoding.suppression import SuppressMatching, tokens_matching
from viska.errors import OptionError
from viska.tokenizer import get_tokenizer

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")


def test_tokens_are_found_by_their_text_with_its_space():
    digits = tokens_matching(r"\d", TOKENIZER).tolist()
    assert set(TOKENIZER.encode(" 1984")) <= set(digits)
    assert all(any(mark.isdigit() for mark in TOKENIZER.decode([token])) for token in digits)
    assert tokens_matching("^ Viking$", TOKENIZER).tolist() == TOKENIZER.encode(" Viking")
    assert tokens_matching("^Viking$", TOKENIZER).tolist() == []


def test_controls_and_timestamps_are_no_text():
    assert max(tokens_matching(r"[<|>.\d]", TOKENIZER).tolist()) < TOKENIZER.eot


def test_added_words_are_text_and_added_controls_are_not():
    tokenizer = tokenizer_for(made_up_model(added_tokens=("<|brand|>", " viska")))
    assert tokens_matching("viska|brand.>", tokenizer).tolist() == [tokenizer.special_tokens[" viska"]]


def test_the_vocabulary_is_looked_through_once():
    assert tokens_matching("[0-9]", TOKENIZER) is tokens_matching("[0-9]", TOKENIZER)


def test_what_matches_is_banned_in_every_row_and_nothing_else():
    logits = torch.zeros(2, TOKENIZER.timestamp_end)
    SuppressMatching("[aeiou]", TOKENIZER, logits.device).apply(logits, torch.tensor([[1], [2]]))
    expected = tokens_matching("[aeiou]", TOKENIZER).tolist()
    for row in logits:
        assert (row == -math.inf).nonzero().flatten().tolist() == expected


@pytest.mark.parametrize("search", [{}, {"beam_size": 2}, {"temperature": 1.0}])
def test_nothing_decoded_matches(search):
    model = made_up_model()
    mel = made_up_mel()[0]
    pattern = r"[A-Za-z]"
    assert any(mark.isascii() and mark.isalpha() for mark in decode(model, mel, language="en", sample_len=20).text)
    result = decode(model, mel, language="en", sample_len=20, suppress_regex=pattern, **search)
    said = [token for token in result.tokens if token < TOKENIZER.eot]
    assert said
    assert not any(mark.isascii() and mark.isalpha() for mark in TOKENIZER.decode(said))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[a-", r"suppress_regex is '\[a-', which is no regular expression \(unterminated"),
        (7, "suppress_regex is 7; accepted is a text or None"),
        ("", "suppress_regex '' matches every token"),
        (".*", "nothing can be said; narrow it"),
    ],
)
def test_patterns_without_meaning_are_refused(pattern, message):
    with pytest.raises(OptionError, match=message):
        decode(made_up_model(), made_up_mel()[0], language="en", suppress_regex=pattern)
