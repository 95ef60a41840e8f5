"""Rules against saying the same again: a penalty on words said before, and a ban on runs of words said before.

Both look at the text of the window alone, not at its prompt, and look through the timestamps: a loop that goes on from
segment to segment is one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from viska.decoding.filters import LogitFilter
from viska.tokenizer import Tokenizer


class RepetitionPenalty(LogitFilter):
    """Text tokens said before lose by a factor: Keskar et al., CTRL (arXiv:1909.05858), section 4.1.

    Above 0 their logits are divided by `penalty`, below 0 multiplied; a penalty under 1 favours repetition.
    """

    def __init__(self, penalty: float, tokenizer: Tokenizer, sample_begin: int) -> None:
        self.penalty = penalty
        self.tokenizer = tokenizer
        self.sample_begin = sample_begin

    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        """See `LogitFilter.apply`."""
        said = tokens[:, self.sample_begin :]  # (B, T)
        is_text = (said < self.tokenizer.eot) | (said >= self.tokenizer.timestamp_end)
        scores = logits.gather(1, said)  # (B, T)
        penalised = torch.where(scores > 0, scores / self.penalty, scores * self.penalty)
        logits.scatter_(1, said, torch.where(is_text, penalised, scores))


class NoRepeatNgram(LogitFilter):
    """No run of `size` text tokens is said twice."""

    def __init__(self, size: int, tokenizer: Tokenizer, sample_begin: int) -> None:
        self.size = size
        self.tokenizer = tokenizer
        self.sample_begin = sample_begin

    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        """See `LogitFilter.apply`."""
        eot, timestamp_end = self.tokenizer.eot, self.tokenizer.timestamp_end
        for row, said in enumerate(tokens[:, self.sample_begin :].tolist()):
            text = [token for token in said if token < eot or token >= timestamp_end]
            logits[row, followers(text, self.size)] = -math.inf


def followers(text: Sequence[int], size: int) -> list[int]:
    """The tokens that would end a run of `size` that `text` has already."""
    if len(text) < size:
        return []
    begun = list(text[len(text) - size + 1 :])
    starts = range(len(text) - size + 1)
    return [text[start + size - 1] for start in starts if list(text[start : start + size - 1]) == begun]
