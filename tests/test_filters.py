"""Logit filters: what may follow what."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from viska.decoding import ApplyTimestampRules, SuppressBlank, SuppressTokens
from viska.tokenizer import get_tokenizer

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")
BEGIN, END, EOT = TOKENIZER.timestamp_begin, TOKENIZER.timestamp_end, TOKENIZER.eot
N_VOCAB = END
SOT = list(TOKENIZER.sot_sequence)
TEXT, OTHER_TEXT = 400, 500


def stamp(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


def allowed(
    sampled: list[int], *, logits: torch.Tensor | None = None, latest: int | None = None, n_vocab: int = N_VOCAB
):
    """The tokens that the timestamp rules leave open after `sampled`, with every token equally likely."""
    logits = torch.zeros(1, n_vocab) if logits is None else logits
    rules = ApplyTimestampRules(TOKENIZER, len(SOT), latest)
    rules.apply(logits, torch.tensor([SOT + sampled]))
    return set(torch.isfinite(logits[0]).nonzero().flatten().tolist())


def text_favoured(n_vocab: int = N_VOCAB) -> torch.Tensor:
    """Logits under which the timestamps together do not outweigh a single text token."""
    logits = torch.zeros(1, n_vocab)
    logits[:, [TEXT, OTHER_TEXT, EOT]] = 20.0
    return logits


def test_suppress_blank_bans_blank_and_end_at_the_first_token_only():
    tokenizer_filter = SuppressBlank(TOKENIZER, sample_begin=len(SOT))
    logits = torch.zeros(2, N_VOCAB)
    tokenizer_filter.apply(logits, torch.tensor([SOT, SOT]))
    assert torch.isinf(logits).nonzero().tolist() == [[0, 220], [0, EOT], [1, 220], [1, EOT]]
    logits = torch.zeros(1, N_VOCAB)
    tokenizer_filter.apply(logits, torch.tensor([[*SOT, TEXT]]))
    assert torch.isfinite(logits).all()


def test_suppress_tokens_bans_these_in_every_row_at_every_step():
    logits = torch.zeros(2, N_VOCAB)
    SuppressTokens([5, 7]).apply(logits, torch.tensor([[*SOT, TEXT], [*SOT, OTHER_TEXT]]))
    assert torch.isinf(logits).nonzero().tolist() == [[0, 5], [0, 7], [1, 5], [1, 7]]


def test_the_first_token_is_a_timestamp():
    assert allowed([]) == set(range(BEGIN, END))


@pytest.mark.parametrize("latest", [0, 1, 50])
def test_the_first_timestamp_is_not_late(latest):
    assert allowed([], latest=latest) == set(range(BEGIN, BEGIN + latest + 1))


def test_after_the_opening_timestamp_text_follows():
    assert allowed([stamp(1)], logits=text_favoured()) == set(range(BEGIN)) - {TOKENIZER.no_timestamps}


def test_after_a_closing_timestamp_its_twin_or_the_end_follows():
    open_now = allowed([stamp(1), TEXT, stamp(2)], logits=text_favoured())
    assert EOT in open_now
    assert TEXT not in open_now
    assert {token for token in open_now if token >= BEGIN} == set(range(stamp(2), END))


def test_after_a_pair_of_timestamps_text_follows():
    open_now = allowed([stamp(1), TEXT, stamp(2), stamp(2)], logits=text_favoured())
    assert TEXT in open_now
    assert not {token for token in open_now if token >= BEGIN}


def test_after_text_a_segment_closes_later_than_it_opened():
    open_now = allowed([stamp(1), TEXT], logits=text_favoured())
    assert TEXT in open_now
    assert {token for token in open_now if token >= BEGIN} == set(range(stamp(1) + 1, END))


def test_no_timestamps_is_never_said():
    assert TOKENIZER.no_timestamps not in allowed([stamp(1), TEXT], logits=text_favoured())


def test_a_timestamp_comes_when_all_together_outweigh_every_other_token():
    after_text = [stamp(0), TEXT]
    logits = torch.zeros(1, N_VOCAB)
    n_stamps = END - stamp(0) - 1
    logits[:, OTHER_TEXT] = math.log(n_stamps) - 0.01  # a little less than the timestamps together
    assert allowed(after_text, logits=logits) == set(range(stamp(0) + 1, END))
    logits = torch.zeros(1, N_VOCAB)
    logits[:, OTHER_TEXT] = math.log(n_stamps) + 0.01
    assert OTHER_TEXT in allowed(after_text, logits=logits)


def test_the_end_counts_among_the_other_tokens():
    logits = torch.zeros(1, N_VOCAB)
    logits[:, EOT] = 10.0
    assert EOT in allowed([stamp(0), TEXT], logits=logits)


def test_rows_are_judged_apart():
    logits = text_favoured().repeat(2, 1)
    tokens = torch.tensor([[*SOT, stamp(1), TEXT], [*SOT, stamp(1), TEXT]])
    logits[1, BEGIN:] = 30.0
    ApplyTimestampRules(TOKENIZER, len(SOT), None).apply(logits, tokens)
    assert torch.isfinite(logits[0, TEXT])
    assert torch.isinf(logits[1, TEXT])


def test_words_of_a_fine_tune_behind_the_timestamps_count_as_text():
    added = END  # the first of them
    assert added not in allowed([], n_vocab=END + 2)
    assert added in allowed([stamp(1)], logits=text_favoured(END + 2), n_vocab=END + 2)
    assert added not in allowed([stamp(1), TEXT, stamp(2)], logits=text_favoured(END + 2), n_vocab=END + 2)
    logits = text_favoured(END + 2)
    logits[:, BEGIN:END] = 30.0
    assert added not in allowed([stamp(1), TEXT], logits=logits, n_vocab=END + 2)


@given(st.data())
def test_whatever_the_network_says_timestamps_are_paired_and_never_go_back(data):
    """A random network decoded under the rules gives text between timestamps that rise."""
    seed = data.draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    rules = ApplyTimestampRules(TOKENIZER, len(SOT), 50)
    sampled: list[int] = []
    for _ in range(12):
        logits = torch.randn(1, N_VOCAB, generator=generator)
        logits[:, TEXT] += data.draw(st.sampled_from([0.0, 20.0]))
        logits[:, EOT] += data.draw(st.sampled_from([0.0, 15.0]))
        rules.apply(logits, torch.tensor([SOT + sampled]))
        token = int(logits.argmax())
        assert torch.isfinite(logits[0, token])
        if token == EOT:
            break
        sampled.append(token)
    stamps = [token for token in sampled if token >= BEGIN]
    assert sampled[0] >= BEGIN
    assert stamps == sorted(stamps)
    kinds = "".join("s" if token >= BEGIN else "t" for token in sampled)
    assert "sss" not in kinds
    assert all(part in ("s", "ss") for part in kinds.replace("t", " ").split())
    assert not kinds.startswith("ss")
