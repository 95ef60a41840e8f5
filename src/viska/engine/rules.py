"""The usual rules on what may come next, for many rows at once; those of `viska.decoding.filters` are the oracle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from viska.decoding import DecodingOptions
from viska.decoding.prompt import suppressed_tokens
from viska.tokenizer import Tokenizer

Sampled = Sequence[int]
"""What a row has said so far, without the initial tokens."""


@dataclass(frozen=True)
class Allowed:
    """What the timestamp rules leave of a row: timestamps by index from `first` to `last`, and of the text what is
    from the token `text_from` on (None: nothing but timestamps)."""

    first: int
    last: int
    text_from: int | None = 0


class Rules:
    """Blank and token suppression and the timestamp rules of one set of options."""

    def __init__(
        self, options: DecodingOptions, tokenizer: Tokenizer, *, n_audio_ctx: int, device: torch.device
    ) -> None:
        self.begin, self.end, self.eot = tokenizer.timestamp_begin, tokenizer.timestamp_end, tokenizer.eot
        self.with_timestamps = not options.without_timestamps
        banned = set(suppressed_tokens(options.suppress_tokens, tokenizer))
        if self.with_timestamps:
            banned.add(tokenizer.no_timestamps)
        self.banned = torch.tensor(sorted(banned), dtype=torch.long, device=device)
        first_banned = [*tokenizer.encode(" "), tokenizer.eot] if options.suppress_blank else []
        self.first_banned = torch.tensor(first_banned, dtype=torch.long, device=device)
        self.indices = torch.arange(self.end - self.begin, device=device)  # of the timestamps
        self.latest_first = self.end - self.begin - 1
        if options.max_initial_timestamp:
            self.latest_first = round(options.max_initial_timestamp / (30 / n_audio_ctx))

    def suppress(self, logits: Tensor, rows: Sequence[Sampled]) -> None:
        """Ban, in `logits` (R, V), the tokens that may never come, and blanks at the start."""
        logits[:, self.banned] = -math.inf
        for row, sampled in enumerate(rows):
            if not sampled:
                logits[row, self.first_banned] = -math.inf

    def keep_time(self, logits: Tensor, rows: Sequence[Sampled]) -> None:
        """Ban, in `logits` (R, V), what the timestamp rules forbid; see `viska.decoding.ApplyTimestampRules`."""
        if not self.with_timestamps:
            return
        allowed = [self.allowed(sampled) for sampled in rows]
        limits = torch.tensor([(row.first, row.last) for row in allowed], device=logits.device)  # (R, 2)
        timestamps = logits[:, self.begin : self.end]  # (R, n)
        outside = (self.indices < limits[:, :1]) | (self.indices > limits[:, 1:])
        timestamps.masked_fill_(outside, -math.inf)
        for row, limit in enumerate(allowed):
            if limit.text_from != 0:
                logits[row, : self.begin if limit.text_from is None else limit.text_from] = -math.inf
                logits[row, self.end :] = -math.inf  # the words of a fine-tune
        likeliest_other = logits[:, : self.begin].amax(dim=-1)  # (R,)
        if self.end < logits.shape[1]:
            likeliest_other = likeliest_other.maximum(logits[:, self.end :].amax(dim=-1))
        for row in (timestamps.logsumexp(dim=-1) > likeliest_other).nonzero()[:, 0].tolist():
            logits[row, : self.begin] = -math.inf
            logits[row, self.end :] = -math.inf

    def allowed(self, sampled: Sampled) -> Allowed:
        """What may follow."""
        last_index = self.end - self.begin - 1
        if not sampled:
            return Allowed(0, min(self.latest_first, last_index), text_from=None)
        previous = next((token - self.begin for token in reversed(sampled) if self._is_timestamp(token)), None)
        if not self._is_timestamp(sampled[-1]):
            return Allowed(0 if previous is None else previous + 1, last_index)
        assert previous is not None
        if len(sampled) < 2 or self._is_timestamp(sampled[-2]):  # it opens a segment: text must follow
            return Allowed(last_index + 1, last_index)
        return Allowed(previous, last_index, text_from=self.eot)  # it closes one: its twin, a later one, or the end

    def _is_timestamp(self, token: int) -> bool:
        return self.begin <= token < self.end
