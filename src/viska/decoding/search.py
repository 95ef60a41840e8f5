"""How the next tokens are chosen: greedily, by sampling, or by beam search. Token ids only, no text."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from viska.decoding.inference import Inference

Finished = dict[tuple[int, ...], float]
"""A finished sequence -> its log-probability, in the order in which they were found."""

Candidates = Tensor | Sequence[Sequence[Tensor]]
"""Per audio its candidate sequences: a tensor (n_audio, n_group, T) where they have one length, else lists of (T,)."""


class TokenDecoder(ABC):
    """A search: state for one batch of sequences that grow a token at a time. B rows are n_audio groups of one size."""

    def reset(self) -> None:  # noqa: B027  # greedy decoding has no state
        """Forget the last batch."""

    @abstractmethod
    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, bool]:
        """Append one token to each row.

        Takes tokens (B, T), logits (B, V) of the next one after all filters, and log-probabilities so far (B,), which
        are updated in place. Returns tokens (B, T + 1) and whether every row is finished.
        """

    @abstractmethod
    def finalize(self, tokens: Tensor, sum_logprobs: Tensor) -> tuple[Candidates, list[list[float]]]:
        """Tokens (n_audio, n_group, T) and log-probabilities (n_audio, n_group) -> the candidates of each audio.

        Each candidate ends with at least one end-of-text.
        """


class GreedyDecoder(TokenDecoder):
    """The likeliest token at temperature 0, else one drawn from the distribution at that temperature."""

    def __init__(self, temperature: float, eot: int, generator: torch.Generator | None = None) -> None:
        self.temperature = temperature
        self.eot = eot
        self.generator = generator

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, bool]:
        """See `TokenDecoder.update`; a finished row gets end-of-text again and keeps its log-probability."""
        if self.temperature == 0:
            next_tokens = logits.argmax(dim=-1)  # (B,)
        else:
            probs = F.softmax(logits.float() / self.temperature, dim=-1)
            next_tokens = torch.multinomial(probs, 1, generator=self.generator)[:, 0]  # (B,)

        # The score is that of the model itself, whatever the temperature.
        logprobs = F.log_softmax(logits.float(), dim=-1)
        chosen = logprobs[torch.arange(logprobs.shape[0], device=logprobs.device), next_tokens]  # (B,)
        finished = tokens[:, -1] == self.eot
        sum_logprobs += chosen * ~finished
        next_tokens = torch.where(finished, self.eot, next_tokens)
        tokens = torch.cat([tokens, next_tokens[:, None]], dim=-1)
        return tokens, bool((tokens[:, -1] == self.eot).all())

    def finalize(self, tokens: Tensor, sum_logprobs: Tensor) -> tuple[Candidates, list[list[float]]]:
        """See `TokenDecoder.finalize`."""
        return F.pad(tokens, (0, 1), value=self.eot), sum_logprobs.tolist()


class BeamSearchDecoder(TokenDecoder):
    """Beam search that ends, per audio, after round(beam_size * patience) finished sequences (arXiv:2204.05424)."""

    def __init__(self, beam_size: int, eot: int, inference: Inference, patience: float | None = None) -> None:
        self.beam_size = beam_size
        self.eot = eot
        self.inference = inference
        self.patience = patience or 1.0
        self.max_candidates = round(beam_size * self.patience)
        if self.max_candidates < 1:
            raise ValueError(f"beam_size {beam_size} with patience {patience} leaves no candidate")
        self.finished_sequences: list[Finished] | None = None

    def reset(self) -> None:
        """Forget the finished sequences of the last batch."""
        self.finished_sequences = None

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, bool]:
        """See `TokenDecoder.update`; the rows of a group are replaced by its best unfinished continuations."""
        if tokens.shape[0] % self.beam_size:
            raise ValueError(f"{tokens.shape[0]} rows are no multiple of the beam size {self.beam_size}")
        n_audio = tokens.shape[0] // self.beam_size
        if self.finished_sequences is None:
            self.finished_sequences = [{} for _ in range(n_audio)]

        # A beam can lose at most one continuation to end-of-text, so one more than the beam size is enough.
        best = F.log_softmax(logits.float(), dim=-1).topk(self.beam_size + 1, dim=-1)
        totals = (sum_logprobs[:, None] + best.values).tolist()  # B x (beam + 1)
        candidates = best.indices.tolist()
        prefixes = tokens.tolist()

        next_tokens: list[tuple[int, ...]] = []
        next_logprobs: list[float] = []
        source_indices: list[int] = []
        for audio in range(n_audio):
            scores: Finished = {}
            sources: dict[tuple[int, ...], int] = {}
            for row in range(audio * self.beam_size, (audio + 1) * self.beam_size):
                for total, token in zip(totals[row], candidates[row], strict=True):
                    # Beams that are still the same, as at the start, fall together here.
                    sequence = (*prefixes[row], token)
                    scores[sequence], sources[sequence] = total, row
            kept, finished = self._select(scores)
            next_tokens += kept
            next_logprobs += [scores[sequence] for sequence in kept]
            source_indices += [sources[sequence] for sequence in kept]
            self._keep_finished(self.finished_sequences[audio], finished)

        sum_logprobs.copy_(torch.tensor(next_logprobs))
        self.inference.rearrange_kv_cache(source_indices)
        completed = all(len(found) >= self.max_candidates for found in self.finished_sequences)
        return torch.tensor(next_tokens, device=tokens.device), completed

    def _select(self, scores: Finished) -> tuple[list[tuple[int, ...]], Finished]:
        """The best `beam_size` continuations, and the finished sequences that are better than the last of them."""
        kept: list[tuple[int, ...]] = []
        finished: Finished = {}
        for sequence in sorted(scores, key=lambda candidate: scores[candidate], reverse=True):
            if sequence[-1] == self.eot:
                finished[sequence] = scores[sequence]
                continue
            kept.append(sequence)
            if len(kept) == self.beam_size:
                break
        return kept, finished

    def _keep_finished(self, found: Finished, newly: Finished) -> None:
        """Add the newly finished, which come best first, as long as there is room."""
        for sequence, score in newly.items():
            if len(found) >= self.max_candidates:
                break
            found[sequence] = score

    def finalize(self, tokens: Tensor, sum_logprobs: Tensor) -> tuple[Candidates, list[list[float]]]:
        """See `TokenDecoder.finalize`; where too few have finished, the best unfinished are ended by force."""
        finished_sequences = self.finished_sequences or [{} for _ in range(tokens.shape[0])]
        logprobs = sum_logprobs.cpu().numpy()  # (n_audio, beam)
        for audio, found in enumerate(finished_sequences):
            for row in np.argsort(logprobs[audio])[::-1]:
                if len(found) >= self.beam_size:
                    break
                sequence = (*tokens[audio, row].tolist(), self.eot)
                found[sequence] = float(logprobs[audio, row])
        candidates = [[torch.tensor(sequence) for sequence in found] for found in finished_sequences]
        return candidates, [list(found.values()) for found in finished_sequences]
