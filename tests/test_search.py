"""Greedy decoding, sampling, beam search and ranking."""

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from made_up import made_up_mel, made_up_model
from viska.decoding import BeamSearchDecoder, GreedyDecoder, Inference, MaximumLikelihoodRanker, PyTorchInference

EOT = 4
N_VOCAB = 5


class Table(Inference):
    """A language model of five tokens: the logits depend on the last token alone. Remembers how rows were moved."""

    def __init__(self, logits: Tensor) -> None:
        self.table = logits  # (V, V): last token -> next
        self.moves: list[list[int]] = []

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        return self.table[tokens[:, -1]][:, None]

    def rearrange_kv_cache(self, source_indices: Sequence[int]) -> None:
        self.moves.append(list(source_indices))


def table(seed: int = 0) -> Table:
    return Table(2 * torch.randn(N_VOCAB, N_VOCAB, generator=torch.Generator().manual_seed(seed)))


def run(decoder, inference: Inference, rows: int, *, group: int = 1, steps: int = 4, start: int = 0):
    tokens = torch.full((rows, 1), start)
    sum_logprobs = torch.zeros(rows)
    decoder.reset()
    for _ in range(steps):
        logits = inference.logits(tokens, torch.empty(0))[:, -1]
        tokens, completed = decoder.update(tokens, logits, sum_logprobs)
        if completed:
            break
    return decoder.finalize(tokens.view(rows // group, group, -1), sum_logprobs.view(rows // group, group))


def sequence_logprob(inference: Table, sequence: Sequence[int]) -> float:
    logprobs = inference.table.log_softmax(-1)
    return sum(float(logprobs[a, b]) for a, b in itertools.pairwise(sequence))


def test_greedy_takes_the_likeliest_and_adds_its_logprob():
    decoder = GreedyDecoder(0.0, EOT)
    tokens, sum_logprobs = torch.tensor([[0], [1]]), torch.tensor([0.0, -1.0])
    logits = torch.tensor([[0.0, 3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 9.0]])
    tokens, completed = decoder.update(tokens, logits, sum_logprobs)
    assert tokens.tolist() == [[0, 1], [1, EOT]]
    assert not completed
    expected = logits.log_softmax(-1)
    torch.testing.assert_close(sum_logprobs, torch.stack([expected[0, 1], expected[1, EOT] - 1]))


def test_a_finished_row_stays_finished_and_costs_nothing():
    decoder = GreedyDecoder(0.0, EOT)
    sum_logprobs = torch.tensor([-2.0])
    logits = torch.tensor([[5.0, 0.0, 0.0, 0.0, 0.0]])
    tokens, completed = decoder.update(torch.tensor([[0, EOT]]), logits, sum_logprobs)
    assert tokens.tolist() == [[0, EOT, EOT]]
    assert completed
    assert sum_logprobs.tolist() == [-2.0]


def test_greedy_finalize_ends_every_sequence():
    tokens = torch.tensor([[[0, 1, 2]], [[0, 1, EOT]]])  # (n_audio, n_group, T)
    ended, logprobs = GreedyDecoder(0.0, EOT).finalize(tokens, torch.tensor([[-1.0], [-2.0]]))
    assert [group[0].tolist() for group in ended] == [[0, 1, 2, EOT], [0, 1, EOT, EOT]]
    assert logprobs == [[-1.0], [-2.0]]


def test_sampling_draws_from_the_tempered_distribution_and_scores_by_the_plain_one():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -2.0]]).repeat(20000, 1)
    sum_logprobs = torch.zeros(20000)
    decoder = GreedyDecoder(0.5, EOT, torch.Generator().manual_seed(0))
    tokens, _ = decoder.update(torch.zeros(20000, 1, dtype=torch.long), logits, sum_logprobs)
    drawn = tokens[:, 1]
    frequencies = torch.bincount(drawn, minlength=5) / 20000
    torch.testing.assert_close(frequencies, (logits[0] / 0.5).softmax(-1), atol=0.02, rtol=0)
    torch.testing.assert_close(sum_logprobs, logits[0].log_softmax(-1)[drawn])


def test_sampling_repeats_with_its_seed_and_leaves_the_global_generator_alone():
    def draw(seed: int) -> list[int]:
        decoder = GreedyDecoder(1.0, EOT, torch.Generator().manual_seed(seed))
        tokens, _ = decoder.update(torch.zeros(50, 1, dtype=torch.long), torch.zeros(50, 5), torch.zeros(50))
        return tokens[:, 1].tolist()

    state = torch.random.get_rng_state()
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert torch.equal(torch.random.get_rng_state(), state)


def best_of_all(inference: Table, steps: int) -> tuple[int, ...]:
    """The likeliest finished sequence of at most `steps` tokens, found by trying all."""
    sequences = [(0, *body, EOT) for n in range(steps) for body in itertools.product(range(EOT), repeat=n)]
    return max(sequences, key=lambda sequence: sequence_logprob(inference, sequence))


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_likeliest_sequence(seed):
    # A beam keeps beam_size unfinished rows: with all the continuations of three steps nothing is pruned.
    inference = table(seed)
    decoder = BeamSearchDecoder(4, EOT, inference, patience=50.0)
    candidates, logprobs = run(decoder, inference, rows=4, group=4, steps=3)
    by_score = dict(zip([tuple(c.tolist()) for c in candidates[0]], logprobs[0], strict=True))
    for sequence, score in by_score.items():
        assert score == pytest.approx(sequence_logprob(inference, sequence), abs=1e-4) or len(sequence) == 5
    assert best_of_all(inference, 2) in by_score


def test_beams_that_are_the_same_fall_together():
    inference = table()
    decoder = BeamSearchDecoder(3, EOT, inference)
    tokens, _ = decoder.update(
        torch.zeros(3, 1, dtype=torch.long),
        inference.logits(torch.zeros(3, 1, dtype=torch.long), torch.empty(0))[:, -1],
        torch.zeros(3),
    )
    assert len({tuple(row) for row in tokens.tolist()}) == 3


def test_beams_go_on_from_the_rows_they_come_from():
    logits = torch.full((N_VOCAB, N_VOCAB), -10.0)
    logits[0, [1, 2]] = torch.tensor([1.0, 0.9])  # start -> 1 or 2
    logits[1, 3] = -2.0  # after 1 nothing is likely ...
    logits[1, 0] = -2.1
    logits[2, [1, 3]] = 5.0  # ... after 2 two tokens are
    inference = Table(logits)
    decoder = BeamSearchDecoder(2, EOT, inference)
    tokens, sum_logprobs = torch.zeros(2, 1, dtype=torch.long), torch.zeros(2)
    for _ in range(2):
        tokens, _ = decoder.update(tokens, inference.logits(tokens, torch.empty(0))[:, -1], sum_logprobs)
    for row, logprob in zip(tokens.tolist(), sum_logprobs.tolist(), strict=True):
        assert logprob == pytest.approx(sequence_logprob(inference, row), abs=1e-4)
    sources = inference.moves[1]
    assert [row[1] for row in tokens.tolist()] == [[1, 2][source] for source in sources]


def test_several_audios_search_as_if_alone():
    inference = table(3)
    together, scores = run(BeamSearchDecoder(2, EOT, inference), inference, rows=6, group=2)
    alone, alone_scores = run(BeamSearchDecoder(2, EOT, inference), inference, rows=2, group=2)
    for group, group_scores in zip(together, scores, strict=True):
        assert [c.tolist() for c in group] == [c.tolist() for c in alone[0]]
        assert group_scores == pytest.approx(alone_scores[0])


def test_rows_must_fill_whole_groups():
    with pytest.raises(ValueError, match="5 rows are no multiple of the beam size 2"):
        BeamSearchDecoder(2, EOT, table()).update(
            torch.zeros(5, 1, dtype=torch.long), torch.zeros(5, 5), torch.zeros(5)
        )


@pytest.mark.parametrize(("patience", "candidates"), [(None, 2), (1.0, 2), (2.0, 4), (0.5, 1)])
def test_patience_says_how_many_finished_sequences_are_waited_for(patience, candidates):
    logits = torch.zeros(N_VOCAB, N_VOCAB)
    logits[:, EOT] = 1.0  # every beam offers an ending at every step
    decoder = BeamSearchDecoder(2, EOT, Table(logits), patience)
    assert decoder.max_candidates == candidates
    tokens, sum_logprobs = torch.zeros(2, 1, dtype=torch.long), torch.zeros(2)
    steps, completed = 0, False
    while not completed:
        tokens, completed = decoder.update(tokens, logits[tokens[:, -1]], sum_logprobs)
        steps += 1
    assert len(decoder.finished_sequences[0]) == candidates
    assert steps == {1: 1, 2: 2, 4: 3}[candidates]


def test_too_little_patience_is_refused():
    with pytest.raises(ValueError, match="leaves no candidate"):
        BeamSearchDecoder(2, EOT, table(), 0.2)


def test_reset_forgets():
    inference = table(1)
    decoder = BeamSearchDecoder(2, EOT, inference)
    first = run(decoder, inference, rows=2, group=2)
    second = run(decoder, inference, rows=4, group=2)
    assert [c.tolist() for c in first[0][0]] == [c.tolist() for c in second[0][0]]


def test_unfinished_beams_are_ended_by_force_best_first():
    logits = torch.zeros(N_VOCAB, N_VOCAB)
    logits[:, EOT] = -50.0
    logits[:, 1] = 1.0
    inference = Table(logits)
    decoder = BeamSearchDecoder(3, EOT, inference)
    candidates, scores = run(decoder, inference, rows=3, group=3, steps=2)
    assert all(candidate[-1] == EOT for candidate in candidates[0])
    assert len(candidates[0]) == 3
    assert scores[0] == sorted(scores[0], reverse=True)
    assert candidates[0][0].tolist() == [0, 1, 1, EOT]
    # The end that was not said costs nothing.
    assert scores[0][0] == pytest.approx(sequence_logprob(inference, [0, 1, 1]), abs=1e-5)


def test_ranking_divides_by_length():
    short, long = torch.arange(2), torch.arange(10)
    ranker = MaximumLikelihoodRanker(None)
    assert ranker.rank([[short, long]], [[-2.0, -8.0]]) == [1]  # -1 a token against -0.8
    assert ranker.rank([[short, long]], [[-2.0, -12.0]]) == [0]
    assert ranker.rank([[short, long], [long, short]], [[-2.0, -8.0], [-12.0, -2.0]]) == [1, 1]


def test_ranking_with_a_length_penalty():
    short, long = torch.arange(2), torch.arange(10)
    penalised = {length: ((5 + length) / 6) ** 0.6 for length in (2, 10)}
    tie = -2.0 * penalised[10] / penalised[2]
    assert MaximumLikelihoodRanker(0.6).rank([[short, long]], [[-2.0, tie + 0.01]]) == [1]
    assert MaximumLikelihoodRanker(0.6).rank([[short, long]], [[-2.0, tie - 0.01]]) == [0]
    assert MaximumLikelihoodRanker(0.0).rank([[short, long]], [[-2.0, -2.1]]) == [0]


def test_ranking_takes_the_first_of_equals_and_bears_an_empty_sequence():
    empty, some = torch.arange(0), torch.arange(2)
    assert MaximumLikelihoodRanker(None).rank([[some, some]], [[-1.0, -1.0]]) == [0]
    assert MaximumLikelihoodRanker(None).rank([[empty, some]], [[-1.0, -1.0]]) == [1]


@settings(max_examples=30)
@given(st.lists(st.floats(-50, 0, width=32, allow_subnormal=False), min_size=1, max_size=6))
def test_ranking_of_one_length_is_by_logprob(scores):
    sequences = [torch.arange(3)] * len(scores)
    best = MaximumLikelihoodRanker(None).rank([sequences], [scores])[0]
    assert scores[best] == max(scores)


def test_log_probabilities_are_of_the_filtered_logits():
    logits = torch.tensor([[1.0, 2.0, -math.inf, -math.inf, -math.inf]])
    sum_logprobs = torch.zeros(1)
    GreedyDecoder(0.0, EOT).update(torch.zeros(1, 1, dtype=torch.long), logits, sum_logprobs)
    assert sum_logprobs.item() == pytest.approx(-math.log(1 + math.exp(-1)))


def test_pytorch_inference_feeds_one_token_after_the_first_pass(monkeypatch):
    model = made_up_model()
    features = model.embed_audio(made_up_mel())
    lengths: list[int] = []
    forward = model.decoder.forward
    monkeypatch.setattr(
        model.decoder, "forward", lambda x, *args, **kwargs: lengths.append(x.shape[1]) or forward(x, *args, **kwargs)
    )
    inference = PyTorchInference(model, initial_token_length=3)
    tokens = torch.tensor([[50258, 50259, 50359]])
    inference.logits(tokens, features)
    tokens = torch.cat([tokens, torch.tensor([[50364]])], dim=1)
    step = inference.logits(tokens, features)
    assert lengths == [3, 1]
    assert inference.hooks
    inference.cleanup_caching()
    torch.testing.assert_close(step[:, -1], model.logits(tokens, features)[:, -1], rtol=1e-4, atol=1e-4)
    assert (inference.kv_cache, inference.hooks) == ({}, [])
    assert not any(module._forward_hooks for module in model.modules())


def test_pytorch_inference_rearranges_rows():
    model = made_up_model()
    features = model.embed_audio(made_up_mel())
    rows = torch.tensor([[50258, 50259, 50359, 400], [50258, 50260, 50359, 500]])
    inference = PyTorchInference(model, initial_token_length=4)
    inference.logits(rows, features)
    cross = inference.kv_cache[model.decoder.blocks[0].cross_attn.key]
    inference.rearrange_kv_cache([0, 1])  # nothing to do
    inference.rearrange_kv_cache([1, 1])
    moved = torch.cat([rows[[1, 1]], torch.tensor([[600], [700]])], dim=1)
    step = inference.logits(moved, features)
    assert inference.kv_cache[model.decoder.blocks[0].cross_attn.key] is cross
    inference.cleanup_caching()
    torch.testing.assert_close(step[:, -1], model.logits(moved, features)[:, -1], rtol=1e-4, atol=1e-4)
