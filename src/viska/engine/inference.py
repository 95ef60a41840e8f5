"""The engine's network behind the seam of `viska.decoding`, for searches that have not been written for lanes."""

from collections.abc import Sequence

from torch import Tensor

from viska.decoding.inference import Inference
from viska.engine.cache import CrossMemory
from viska.engine.decoder import Decoder


class EngineInference(Inference):
    """One window, whose rows all start from the same tokens."""

    def __init__(self, decoder: Decoder, memory: CrossMemory, initial_token_length: int) -> None:
        self.decoder = decoder
        self.initial_token_length = initial_token_length
        self.memory = memory
        self.cache = decoder.self_cache(0)

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:  # noqa: ARG002  # the memory stands for them
        """See `Inference.logits`."""
        n_rows, n_tokens = tokens.shape
        if n_tokens == self.initial_token_length:
            self.cache = self.decoder.self_cache(n_rows)
            hidden, keys, values = self.decoder.prefill(tokens[0].tolist(), self.memory)
            self.cache.fill(0, n_rows, keys, values)
            return self.decoder.logits(hidden).repeat(n_rows, 1, 1)
        newest = tokens[:, -1].tolist()
        return self.decoder.step(newest, [n_tokens - 1] * n_rows, self.cache, [self.memory])[:, None]

    def rearrange_kv_cache(self, source_indices: Sequence[int]) -> None:
        """See `Inference.rearrange_kv_cache`."""
        self.cache.reorder(0, list(source_indices), self.initial_token_length, self.decoder.n_ctx)

    def cleanup_caching(self) -> None:
        """See `Inference.cleanup_caching`."""
        self.cache = self.decoder.self_cache(0)
