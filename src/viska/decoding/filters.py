"""Rules on what may come next: each filter bans tokens by setting their logits to minus infinity, in place."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from viska.tokenizer import Tokenizer


class LogitFilter(ABC):
    """One rule."""

    @abstractmethod
    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        """Ban, in `logits` (B, V) of the next token, what may not follow `tokens` (B, T)."""


class SuppressBlank(LogitFilter):
    """No blank and no end as the first token."""

    def __init__(self, tokenizer: Tokenizer, sample_begin: int) -> None:
        self.sample_begin = sample_begin
        self.banned = [*tokenizer.encode(" "), tokenizer.eot]

    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        """See `LogitFilter.apply`."""
        if tokens.shape[1] == self.sample_begin:
            logits[:, self.banned] = -math.inf


class SuppressTokens(LogitFilter):
    """None of these tokens, ever."""

    def __init__(self, suppress_tokens: Sequence[int]) -> None:
        self.suppress_tokens = list(suppress_tokens)

    def apply(self, logits: Tensor, tokens: Tensor) -> None:  # noqa: ARG002  # whatever came before
        """See `LogitFilter.apply`."""
        logits[:, self.suppress_tokens] = -math.inf


class ApplyTimestampRules(LogitFilter):
    """Timestamps come in pairs around text, never go back, and win where together they outweigh every other token."""

    def __init__(self, tokenizer: Tokenizer, sample_begin: int, max_initial_timestamp_index: int | None) -> None:
        self.tokenizer = tokenizer
        self.sample_begin = sample_begin
        self.max_initial_timestamp_index = max_initial_timestamp_index

    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        """See `LogitFilter.apply`."""
        logits[:, self.tokenizer.no_timestamps] = -math.inf
        for row, sampled in enumerate(tokens[:, self.sample_begin :].tolist()):
            self._pair(logits[row], sampled)
            self._never_back(logits[row], sampled)
        if tokens.shape[1] == self.sample_begin:
            self._begin(logits)
        self._prefer_timestamps(logits)

    def _is_timestamp(self, token: int) -> bool:
        return self.tokenizer.timestamp_begin <= token < self.tokenizer.timestamp_end

    def _pair(self, logits: Tensor, sampled: list[int]) -> None:
        """After a pair of timestamps text must follow, after a single one that closes a segment its twin or the end."""
        if not sampled or not self._is_timestamp(sampled[-1]):
            return
        begin, end = self.tokenizer.timestamp_begin, self.tokenizer.timestamp_end
        opens_segment = len(sampled) < 2 or self._is_timestamp(sampled[-2])
        if opens_segment:
            logits[begin:end] = -math.inf
        else:
            logits[: self.tokenizer.eot] = -math.inf
            logits[end:] = -math.inf  # the words of a fine-tune

    def _never_back(self, logits: Tensor, sampled: list[int]) -> None:
        """No timestamp before the last one; not the same again either, unless it opens what the last one closed."""
        last = next((token for token in reversed(sampled) if self._is_timestamp(token)), None)
        if last is None:
            return
        closes_segment = self._is_timestamp(sampled[-1]) and not (len(sampled) < 2 or self._is_timestamp(sampled[-2]))
        logits[self.tokenizer.timestamp_begin : last + (not closes_segment)] = -math.inf

    def _begin(self, logits: Tensor) -> None:
        """The first token is a timestamp, and not a late one."""
        begin, end = self.tokenizer.timestamp_begin, self.tokenizer.timestamp_end
        logits[:, :begin] = -math.inf
        logits[:, end:] = -math.inf
        if self.max_initial_timestamp_index is not None:
            logits[:, begin + self.max_initial_timestamp_index + 1 : end] = -math.inf

    def _prefer_timestamps(self, logits: Tensor) -> None:
        """Where the timestamps together are likelier than any single other token, one of them it must be."""
        begin, end = self.tokenizer.timestamp_begin, self.tokenizer.timestamp_end
        logprobs = F.log_softmax(logits.float(), dim=-1)
        timestamps = logprobs[:, begin:end].logsumexp(dim=-1)  # (B,)
        likeliest_other = torch.cat([logprobs[:, :begin], logprobs[:, end:]], dim=-1).amax(dim=-1)  # (B,)
        rows = timestamps > likeliest_other
        logits[:, :begin].masked_fill_(rows[:, None], -math.inf)
        logits[:, end:].masked_fill_(rows[:, None], -math.inf)
