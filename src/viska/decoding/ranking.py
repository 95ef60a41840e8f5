"""Which of several finished sequences is the answer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence, Sized

import numpy as np


class SequenceRanker(ABC):
    """Chooses one sequence in each group."""

    @abstractmethod
    def rank(self, tokens: Sequence[Sequence[Sized]], sum_logprobs: Sequence[Sequence[float]]) -> list[int]:
        """Per group the candidates' tokens (without prompt and end) and log-probabilities -> per group an index."""


class MaximumLikelihoodRanker(SequenceRanker):
    """The highest log-probability for its length: by plain division, or by the penalty of arXiv:1609.08144."""

    def __init__(self, length_penalty: float | None) -> None:
        self.length_penalty = length_penalty

    def rank(self, tokens: Sequence[Sequence[Sized]], sum_logprobs: Sequence[Sequence[float]]) -> list[int]:
        """The index of the best candidate of each group; the first of equals."""
        return [
            int(
                np.argmax(
                    [self._score(logprob, len(sequence)) for logprob, sequence in zip(group, sequences, strict=True)]
                )
            )
            for group, sequences in zip(sum_logprobs, tokens, strict=True)
        ]

    def _score(self, logprob: float, length: int) -> float:
        if self.length_penalty is None:
            return logprob / max(length, 1)  # an empty sequence is no division by zero
        return logprob / ((5 + length) / 6) ** self.length_penalty  # type: ignore[no-any-return]
