"""The engine's rules on what may come next, against the plain ones; and its searches, against the plain ones."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from viska.decoding import (
    ApplyTimestampRules,
    BeamSearchDecoder,
    DecodingOptions,
    GreedyDecoder,
    Inference,
    MaximumLikelihoodRanker,
    SuppressBlank,
    SuppressTokens,
)
from viska.decoding.prompt import suppressed_tokens
from viska.engine.rules import Rules
from viska.engine.search import best_candidates, drawn_candidates, window_search
from viska.tokenizer import get_tokenizer

CPU = torch.device("cpu")
PLAIN = get_tokenizer(True, language="en", task="transcribe")
FINE_TUNED = get_tokenizer(True, language="en", task="transcribe", added_tokens=("<|one|>", "<|two|>"))
ENGLISH = get_tokenizer(False)


def stepped(tokenizer, options, rows, logits):
    """What the engine's rules leave of logits (R, V)."""
    rules = Rules(options, tokenizer, n_audio_ctx=1500, device=CPU)
    logits = logits.clone()
    rules.suppress(logits, rows)
    rules.keep_time(logits, rows)
    return logits


def plain(tokenizer, options, rows, logits):
    """What the filters of `viska.decoding` leave, a row at a time since rows may differ in length."""
    n = len(tokenizer.sot_sequence)
    filters = []
    if options.suppress_blank:
        filters.append(SuppressBlank(tokenizer, n))
    if banned := suppressed_tokens(options.suppress_tokens, tokenizer):
        filters.append(SuppressTokens(banned))
    if not options.without_timestamps:
        latest = options.max_initial_timestamp
        filters.append(ApplyTimestampRules(tokenizer, n, round(latest / 0.02) if latest else None))
    logits = logits.clone()
    for row, sampled in enumerate(rows):
        for logit_filter in filters:
            logit_filter.apply(logits[row : row + 1], torch.tensor([[*tokenizer.sot_sequence, *sampled]]))
    return logits


def drawn_logits(tokenizer, n_rows, seed, lift):
    """Logits under which the timestamps together win in some rows and lose in others."""
    n_vocab = tokenizer.timestamp_end + len(tokenizer.added_tokens)
    logits = torch.randn(n_rows, n_vocab, generator=torch.Generator().manual_seed(seed)) * 3
    logits[:, tokenizer.timestamp_begin : tokenizer.timestamp_end] += lift
    return logits


# Any history, also one that the rules would not have allowed: text, timestamps, controls, the end, added words.
steps = st.one_of(
    st.integers(0, 50255),
    st.integers(0, 1500).map(lambda index: ("stamp", index)),
    st.sampled_from([("eot", 0), ("control", 0), ("control", 5), ("added", 0), ("added", 1)]),
)


def tokens_of(tokenizer, history):
    places = {
        "stamp": tokenizer.timestamp_begin,
        "eot": tokenizer.eot,
        "control": tokenizer.sot,
        "added": tokenizer.timestamp_end,
    }
    tokens = [step if isinstance(step, int) else places[step[0]] + step[1] for step in history]
    return [token for token in tokens if token < tokenizer.timestamp_end + len(tokenizer.added_tokens)]


@given(
    st.sampled_from([PLAIN, FINE_TUNED, ENGLISH]),
    st.lists(st.lists(steps, max_size=6), min_size=1, max_size=4),
    st.integers(0, 999),
    st.sampled_from([-8.0, 0.0, 4.0]),
    st.builds(
        DecodingOptions,
        suppress_tokens=st.sampled_from(["-1", "", None, "11,220", [5, 50300]]),
        suppress_blank=st.booleans(),
        without_timestamps=st.booleans(),
        max_initial_timestamp=st.sampled_from([None, 0.0, 0.5, 1.0, 45.0]),
    ),
)
def test_rules_leave_what_the_plain_filters_leave(tokenizer, histories, seed, lift, options):
    rows = [tokens_of(tokenizer, history) for history in histories]
    logits = drawn_logits(tokenizer, len(rows), seed, lift)
    assert torch.equal(stepped(tokenizer, options, rows, logits), plain(tokenizer, options, rows, logits))


@settings(max_examples=15)
@given(st.integers(0, 999), st.sampled_from([-2.0, 2.0, 6.0]))
def test_a_whole_decoding_under_the_rules_is_the_same(seed, lift):
    options, rows = DecodingOptions(max_initial_timestamp=0.5), [[], []]
    for step in range(12):
        logits = drawn_logits(PLAIN, 2, 1000 * seed + step, lift)
        kept = stepped(PLAIN, options, rows, logits)
        assert torch.equal(kept, plain(PLAIN, options, rows, logits))
        for row, token in zip(rows, kept.argmax(dim=-1).tolist(), strict=True):
            row.append(token)


# Searches: a language model of five tokens whose logits depend on the last token and the step


N_VOCAB, EOT = 5, 4


class Table(Inference):
    def __init__(self, seed, banned=()):
        self.table = 2 * torch.randn(9, N_VOCAB, N_VOCAB, generator=torch.Generator().manual_seed(seed))
        for step, token in banned:
            self.table[step, :, token] = -math.inf

    def logits(self, tokens, audio_features=None):
        return self.table[tokens.shape[1] - 1, tokens[:, -1]][:, None]

    def rearrange_kv_cache(self, source_indices):
        pass


def engines_answer(table, options, n_steps):
    """The answer of the engine's search, begun at token 0, and the sources that it went on from."""
    search = window_search(options, EOT)
    generator = torch.Generator().manual_seed(options.seed)
    histories = [[0] for _ in search.rows]
    for _ in range(n_steps):
        logits = table.logits(torch.tensor([[0, *row] for row in search.rows]))[:, 0]
        if options.temperature > 0:
            candidates = drawn_candidates(logits, options.temperature, [generator])
        else:
            candidates = best_candidates(logits, options.beam_size + 1 if options.beam_size else 1)
        sources = search.advance(*candidates) or range(len(search.rows))
        histories = [[*histories[source], row[-1]] for source, row in zip(sources, search.rows, strict=True)]
        assert histories == [[0, *row] for row in search.rows]  # each row goes on from the row that it names
        if search.done:
            break
    sequences, sums = search.candidates()
    best = MaximumLikelihoodRanker(options.length_penalty).rank([sequences], [sums])[0]
    return sequences[best], sums[best], sorted(zip(sequences, sums, strict=True))


def plain_answer(table, options, n_steps):
    n_group = options.beam_size or options.best_of or 1
    if options.beam_size:
        decoder = BeamSearchDecoder(options.beam_size, EOT, table, options.patience)
    else:
        decoder = GreedyDecoder(options.temperature, EOT, torch.Generator().manual_seed(options.seed))
    tokens, sums = torch.zeros(n_group, 1, dtype=torch.long), torch.zeros(n_group)
    decoder.reset()
    for _ in range(n_steps):
        tokens, completed = decoder.update(tokens, table.logits(tokens)[:, 0], sums)
        if completed:
            break
    (group,), (logprobs,) = decoder.finalize(tokens[None], sums[None])
    sequences = [row[1 : row.tolist().index(EOT)].tolist() for row in group]
    best = MaximumLikelihoodRanker(options.length_penalty).rank([sequences], [logprobs])[0]
    return sequences[best], logprobs[best], sorted(zip(sequences, logprobs, strict=True))


options_to_search = st.one_of(
    st.just(DecodingOptions()),
    st.builds(
        DecodingOptions,
        beam_size=st.integers(1, 4),
        patience=st.sampled_from([None, 1.0, 2.0]),
        length_penalty=st.sampled_from([None, 0.6]),
    ),
    st.builds(
        DecodingOptions, temperature=st.sampled_from([0.3, 1.0]), best_of=st.integers(1, 3), seed=st.integers(0, 3)
    ),
)


@given(st.integers(0, 9999), options_to_search, st.integers(1, 8))
def test_searches_find_what_the_plain_ones_find(seed, options, n_steps):
    table = Table(seed)
    tokens, logprob, everything = engines_answer(table, options, n_steps)
    expected_tokens, expected_logprob, expected = plain_answer(table, options, n_steps)
    assert tokens == expected_tokens
    assert logprob == pytest.approx(expected_logprob, abs=1e-5)
    assert [sequence for sequence, _ in everything] == [sequence for sequence, _ in expected]


def test_a_beam_that_cannot_go_on_ends():
    table = Table(1, banned=[(0, EOT), (1, EOT), *((2, token) for token in range(4))])  # then nothing but the end
    options = DecodingOptions(beam_size=2)
    tokens, _, _ = engines_answer(table, options, 3)
    assert tokens == plain_answer(table, options, 3)[0]
    assert len(tokens) == 2


def test_beams_share_a_cache_as_far_as_they_say_the_same():
    search = window_search(DecodingOptions(beam_size=2), EOT)
    search.advance([[1, 2, 3], [1, 2, 3]], [[-0.1, -5.0, -6.0]] * 2)
    assert (search.rows, search.shared) == ([[1], [2]], 0)
    search.advance([[1, 2, 3], [1, 2, 3]], [[-0.1, -0.2, -0.3], [-7.0, -8.0, -9.0]])
    assert (search.rows, search.shared) == ([[1, 1], [1, 2]], 1)


def test_each_window_draws_from_its_own_generator():
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))

    def generators():
        return [torch.Generator().manual_seed(seed) for seed in (7, 8)]

    together, _ = drawn_candidates(logits, 0.8, generators())
    first, second = generators()
    assert together[:2] == drawn_candidates(logits[:2], 0.8, [first])[0]
    assert together[2:] == drawn_candidates(logits[2:], 0.8, [second])[0]
