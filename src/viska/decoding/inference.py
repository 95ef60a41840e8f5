"""The seam between search and network: tokens and audio in, logits out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from viska.model import KeyValueCache, ResidualAttentionBlock, Whisper


class Inference(ABC):
    """What a search needs of a network."""

    @abstractmethod
    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        """Tokens so far (B, T) and audio features (B or 1, S, D) -> logits (B, T or 1, V) of the newest positions."""

    @abstractmethod
    def rearrange_kv_cache(self, source_indices: Sequence[int]) -> None:
        """Let row i go on from what row `source_indices[i]` has seen."""

    def cleanup_caching(self) -> None:  # noqa: B027  # an inference without a cache has nothing to do
        """Forget everything; the next call starts a new sequence."""


class PyTorchInference(Inference):
    """The plain module with the hook-based cache: simple, exact, and the oracle of every faster one."""

    def __init__(self, model: Whisper, initial_token_length: int) -> None:
        self.model = model
        self.initial_token_length = initial_token_length
        self.kv_cache: KeyValueCache = {}
        self.hooks: list[RemovableHandle] = []
        # Cross-attention depends on the audio alone, which all rows of a group share: only these are reordered.
        attentions = [block.attn for block in model.decoder.blocks if isinstance(block, ResidualAttentionBlock)]
        self.kv_modules = [attention.key for attention in attentions] + [attention.value for attention in attentions]

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        """All positions on the first call, the newest token alone later."""
        if not self.kv_cache:
            self.kv_cache, self.hooks = self.model.install_kv_cache_hooks()
        if tokens.shape[-1] > self.initial_token_length:
            tokens = tokens[:, -1:]
        return self.model.decoder(tokens, audio_features, kv_cache=self.kv_cache)  # type: ignore[no-any-return]

    def cleanup_caching(self) -> None:
        """Remove the hooks and drop the cache."""
        for hook in self.hooks:
            hook.remove()
        self.kv_cache = {}
        self.hooks = []

    def rearrange_kv_cache(self, source_indices: Sequence[int]) -> None:
        """Reorder the rows of the self-attention's keys and values."""
        source_indices = list(source_indices)
        if source_indices == list(range(len(source_indices))):
            return
        for module in self.kv_modules:
            self.kv_cache[module] = self.kv_cache[module][source_indices].detach()
