"""The searches of `viska.decoding` for batches whose windows come and go: candidates of all rows from tensors in one
pass, the choice among them per window in plain numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from viska.decoding import DecodingOptions


class WindowSearch(ABC):
    """The sequences of one window, and how the next tokens are chosen among candidates.

    `rows` are the G sequences so far without the initial tokens, `sums` their log-probabilities.
    """

    def __init__(self, n_rows: int, eot: int) -> None:
        self.eot = eot
        self.rows: list[list[int]] = [[] for _ in range(n_rows)]
        self.sums = [0.0] * n_rows
        self.done = False

    @abstractmethod
    def advance(self, tokens: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]) -> list[int] | None:
        """Take candidates (G, k), best first: each row grows by one.

        Returns for each row the one it goes on from, or None where each goes on from itself.
        """

    @abstractmethod
    def candidates(self) -> tuple[list[list[int]], list[float]]:
        """The sequences to choose the answer among, without the end, and their log-probabilities."""


class IndependentRows(WindowSearch):
    """Each row takes its only candidate: greedy decoding, or samples drawn."""

    def advance(self, tokens: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]) -> list[int] | None:
        """See `WindowSearch.advance`; a finished row stays so."""
        for row, sequence in enumerate(self.rows):
            if sequence and sequence[-1] == self.eot:
                sequence.append(self.eot)
                continue
            sequence.append(tokens[row][0])
            self.sums[row] += logprobs[row][0]
        self.done = all(sequence[-1] == self.eot for sequence in self.rows)
        return None

    def candidates(self) -> tuple[list[list[int]], list[float]]:
        """See `WindowSearch.candidates`."""
        ends = [sequence.index(self.eot) if self.eot in sequence else len(sequence) for sequence in self.rows]
        return [sequence[:end] for sequence, end in zip(self.rows, ends, strict=True)], list(self.sums)


class Beams(WindowSearch):
    """Beam search that ends after round(beam_size * patience) finished sequences (arXiv:2204.05424)."""

    def __init__(self, beam_size: int, eot: int, patience: float | None = None) -> None:
        super().__init__(beam_size, eot)
        self.most_finished = round(beam_size * (patience or 1.0))
        self.finished: list[tuple[list[int], float]] = []
        self.shared = 0  # so many first tokens all beams have in common

    def advance(self, tokens: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]) -> list[int] | None:
        """See `WindowSearch.advance`."""
        # At the start all beams are the same: one of them speaks for all.
        live = range(len(self.rows)) if self.rows[0] else range(1)
        options = [
            (self.sums[row] + logprob, row, token)
            for row in live
            for token, logprob in zip(tokens[row], logprobs[row], strict=True)
        ]
        options.sort(key=lambda option: -option[0])
        kept: list[tuple[float, int, int]] = []
        for total, row, token in options:
            if token != self.eot:
                kept.append((total, row, token))
            elif len(self.finished) < self.most_finished:
                self.finished.append((self.rows[row], total))
            if len(kept) == len(self.rows):
                break
        self.rows = [[*self.rows[row], token] for _, row, token in kept]
        self.sums = [total for total, _, _ in kept]
        self.done = len(self.finished) >= self.most_finished
        while self.shared < len(self.rows[0]) and len({row[self.shared] for row in self.rows}) == 1:
            self.shared += 1
        return [row for _, row, _ in kept]

    def candidates(self) -> tuple[list[list[int]], list[float]]:
        """See `WindowSearch.candidates`; where too few have finished, the best unfinished are ended by force."""
        found = list(self.finished)
        unfinished = sorted(zip(self.rows, self.sums, strict=True), key=lambda row: -row[1])
        found += unfinished[: max(len(self.rows) - len(found), 0)]
        return [sequence for sequence, _ in found], [total for _, total in found]


def window_search(options: DecodingOptions, eot: int) -> WindowSearch:
    """The search that the options ask for."""
    if options.beam_size is not None:
        return Beams(options.beam_size, eot, options.patience)
    return IndependentRows(options.best_of or 1, eot)


def best_candidates(logits: Tensor, n: int) -> tuple[list[list[int]], list[list[float]]]:
    """The `n` likeliest tokens of each row of logits (R, V), best first, and their log-probabilities."""
    totals = logits.logsumexp(dim=-1, keepdim=True)  # (R, 1)
    if n == 1:
        values, tokens = logits.max(dim=-1, keepdim=True)  # (R, 1)
    else:
        values, tokens = logits.topk(n, dim=-1)  # (R, n)
    return tokens.tolist(), (values - totals).tolist()


def drawn_candidates(
    logits: Tensor, temperature: float, generators: Sequence[torch.Generator]
) -> tuple[list[list[int]], list[list[float]]]:
    """A token drawn for each row of logits (R, V), by its window's generator; the score is the model's own."""
    n_rows = len(logits) // len(generators)
    groups = torch.split((logits / temperature).softmax(dim=-1), n_rows)
    tokens = torch.cat([torch.multinomial(group, 1, generator=g) for group, g in zip(groups, generators, strict=True)])
    logprobs = logits.gather(1, tokens) - logits.logsumexp(dim=-1, keepdim=True)  # (R, 1)
    return tokens.tolist(), logprobs.tolist()
