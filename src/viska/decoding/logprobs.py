"""The log-probability of every token that is said, and what could have been said in its place."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from viska.decoding.bias import PhraseBias
from viska.decoding.search import Candidates, TokenDecoder

Said = tuple[int, tuple[int, ...]]
"""The index of an audio, and tokens said of it so far."""


@dataclass(frozen=True)
class TokenFigures:
    """What a search thought of a token: its log-probability, and the likeliest tokens in its place with theirs."""

    logprob: float
    alternatives: tuple[tuple[int, float], ...]


class RecordingDecoder(TokenDecoder):
    """Any search, with a record of the log-probabilities of all it says: those of the distribution behind all filters.

    A bias steers the search behind the record. A record is kept by what was said, so that it does not matter how a
    search orders its rows; it costs a softmax a step and a few numbers a row.
    """

    def __init__(
        self,
        search: TokenDecoder,
        *,
        eot: int,
        n_group: int,
        sample_begin: int,
        n_alternatives: int = 0,
        bias: PhraseBias | None = None,
    ) -> None:
        self.search = search
        self.eot = eot
        self.n_group = n_group
        self.sample_begin = sample_begin
        self.n_alternatives = n_alternatives
        self.bias = bias
        self._figures: dict[Said, TokenFigures] = {}
        self._ends: dict[Said, float] = {}

    def reset(self) -> None:
        """Forget the last batch."""
        self.search.reset()
        self._figures.clear()
        self._ends.clear()

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, bool]:
        """See `TokenDecoder.update`."""
        logprobs = F.log_softmax(logits.float(), dim=-1)  # (B, V)
        if self.bias is not None:
            self.bias.apply(logits, tokens)
        grown, completed = self.search.update(tokens, logits, sum_logprobs)
        self._record(self._said(tokens), logprobs, self._said(grown))
        return grown, completed

    def finalize(self, tokens: Tensor, sum_logprobs: Tensor) -> tuple[Candidates, list[list[float]]]:
        """See `TokenDecoder.finalize`."""
        return self.search.finalize(tokens, sum_logprobs)

    def figures(self, audio: int, tokens: list[int]) -> list[TokenFigures]:
        """Of each of the tokens said of an audio, without the end."""
        return [self._figures[audio, tuple(tokens[: end + 1])] for end in range(len(tokens))]

    def end_logprob(self, audio: int, tokens: list[int]) -> float:
        """The log-probability of the end behind these tokens; 0 where the room was used up and the end never chosen."""
        return self._ends.get((audio, tuple(tokens)), 0.0)

    def _said(self, tokens: Tensor) -> list[Said]:
        rows = tokens[:, self.sample_begin :].tolist()
        return [(row // self.n_group, tuple(said)) for row, said in enumerate(rows)]

    def _record(self, before: list[Said], logprobs: Tensor, after: list[Said]) -> None:
        row_of = {said: row for row, said in enumerate(before)}
        sources = [row_of[audio, said[:-1]] for audio, said in after]
        last = [said[-1] for _, said in after]
        chosen = logprobs[sources, last].tolist()
        best = logprobs.topk(self.n_alternatives, dim=-1)
        ids, values = best.indices.tolist(), best.values.tolist()  # B x n_alternatives
        for said, source, logprob in zip(after, sources, chosen, strict=True):
            possible = [pair for pair in zip(ids[source], values[source], strict=True) if pair[1] > float("-inf")]
            self._figures[said] = TokenFigures(logprob, tuple(possible))
        self._ends.update(zip(before, logprobs[:, self.eot].tolist(), strict=True))
