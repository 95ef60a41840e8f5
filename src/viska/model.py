"""The Whisper network, plain and readable: the reference that everything faster is checked against.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), section 2.2. A convolutional
encoder over log-mel frames, a Transformer decoder over tokens. Knows tensors only: no text, no files.

Axes: B batch, T query positions, S key positions, D width, H heads, V vocabulary. Audio positions are 20 ms apart.
"""

import base64
import gzip
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from viska.decoding import DecodingOptions, DecodingResult
    from viska.result import Transcript

KeyValueCache = dict[nn.Module, Tensor]
"""Key or value projection -> what it has put out so far, (B, S, D)."""

N_TIMESTAMPS_AND_SPECIALS = 51765  # the multilingual vocabulary without its language tokens, less one
MULTILINGUAL_VOCABULARY = 51865  # the smallest one; English-only models have 51864 tokens


@dataclass
class ModelDimensions:
    """The numbers that fix the shape of every tensor; the header of a checkpoint."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int


class LayerNorm(nn.LayerNorm):
    """Layer normalisation that computes in float32 and returns the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of `x`."""
        y = F.layer_norm(x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)
        return y.type(x.dtype)


class Linear(nn.Linear):
    """Linear map whose weights follow the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Conv1d(nn.Conv1d):
    """One-dimensional convolution whose weights follow the dtype of its input."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        bias = None if bias is None else bias.to(x.dtype)
        return super()._conv_forward(x, weight.to(x.dtype), bias)  # type: ignore[no-any-return]


def sinusoids(length: int, channels: int, max_timescale: float = 10000) -> Tensor:
    """Sinusoidal positions, (length, channels) float32: sines in the first half of the channels, cosines in the second.

    Raises ValueError for an odd number of channels.
    """
    if channels % 2:
        raise ValueError(f"sinusoids need an even number of channels, not {channels}")
    step = math.log(max_timescale) / (channels // 2 - 1)
    inverse_timescales = torch.exp(-step * torch.arange(channels // 2))  # (channels / 2,)
    angles = torch.arange(length)[:, None] * inverse_timescales[None, :]  # (length, channels / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


_sdpa_disabled: ContextVar[bool] = ContextVar("viska_sdpa_disabled", default=False)


@contextmanager
def disable_sdpa() -> Iterator[None]:
    """Within this block, in this thread or task alone, attention is spelled out and returns its scores."""
    token = _sdpa_disabled.set(True)
    try:
        yield
    finally:
        _sdpa_disabled.reset(token)


class MultiHeadAttention(nn.Module):
    """Self-attention over `x`, or cross-attention from `x` to `xa`. The key projection has no bias."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query = Linear(n_state, n_state)
        self.key = Linear(n_state, n_state, bias=False)
        self.value = Linear(n_state, n_state)
        self.out = Linear(n_state, n_state)

    def forward(
        self,
        x: Tensor,
        xa: Tensor | None = None,
        mask: Tensor | None = None,
        kv_cache: KeyValueCache | None = None,
        *,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `x` (B, T, D) to `xa` (B or 1, S, D), or to `x` itself and what the cache holds of its past.

        `mask` (>= S, >= S) is added to the scores by absolute position: the queries are the last T of S positions.
        Returns the output (B, T, D) and, with `need_weights` or within `disable_sdpa()`, the scores before the softmax
        (B, H, T, S) in float32, else None.
        """
        q = self.query(x)  # (B, T, D)
        if xa is not None and kv_cache is not None and self.key in kv_cache:
            # Keys and values of the audio do not change from step to step.
            k, v = kv_cache[self.key], kv_cache[self.value]
        else:
            # With a cache's hooks in place, the projections return the past along with the present.
            source = x if xa is None else xa
            k, v = self.key(source), self.value(source)  # (B, S, D)
        a, scores = self.qkv_attention(q, k, v, mask, need_weights=need_weights)
        return self.out(a), scores

    def qkv_attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Scaled dot-product attention of q (B, T, D) over k and v (B or 1, S, D).

        Returns (B, T, D), and the scores (B, H, T, S) or None.
        """
        n_queries, n_keys = q.shape[1], k.shape[1]
        q, k, v = self._heads(q), self._heads(k), self._heads(v)  # (B, H, T or S, D / H)
        if mask is not None:
            mask = mask[n_keys - n_queries : n_keys, :n_keys].to(q.dtype)  # (T, S)
        scores = None
        if need_weights or _sdpa_disabled.get():
            scale = q.shape[-1] ** -0.25  # on both factors, so that float16 does not overflow
            scores = (q * scale) @ (k * scale).transpose(-1, -2)  # (B, H, T, S)
            if mask is not None:
                scores = scores + mask
            scores = scores.float()
            a = F.softmax(scores, dim=-1).to(q.dtype) @ v
            scores = scores.detach()
        else:
            a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return a.permute(0, 2, 1, 3).flatten(start_dim=2), scores

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, D / H)."""
        return x.view(*x.shape[:2], self.n_head, -1).permute(0, 2, 1, 3)


class ResidualAttentionBlock(nn.Module):
    """Pre-norm self-attention, optional cross-attention, and a GELU MLP of four times the width, with residuals."""

    def __init__(self, n_state: int, n_head: int, cross_attention: bool = False) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(n_state, n_head)
        self.attn_ln = LayerNorm(n_state)
        self.cross_attn = MultiHeadAttention(n_state, n_head) if cross_attention else None
        self.cross_attn_ln = LayerNorm(n_state) if cross_attention else None
        self.mlp = nn.Sequential(Linear(n_state, 4 * n_state), nn.GELU(), Linear(4 * n_state, n_state))
        self.mlp_ln = LayerNorm(n_state)

    def forward(
        self,
        x: Tensor,
        xa: Tensor | None = None,
        mask: Tensor | None = None,
        kv_cache: KeyValueCache | None = None,
        *,
        need_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """(B, T, D) -> (B, T, D); with `need_weights` also the scores of the cross-attention (B, H, T, S)."""
        x = x + self.attn(self.attn_ln(x), mask=mask, kv_cache=kv_cache)[0]
        scores = None
        if self.cross_attn is not None and self.cross_attn_ln is not None:
            y, scores = self.cross_attn(self.cross_attn_ln(x), xa, kv_cache=kv_cache, need_weights=need_weights)
            x = x + y
        x = x + self.mlp(self.mlp_ln(x))
        return (x, scores) if need_weights else x


def _without_values() -> bool:
    """Whether tensors made now have shapes alone: torch would load its compiler, for seconds, to fill them."""
    return torch.get_default_device().type == "meta"


class AudioEncoder(nn.Module):
    """Log-mel frames to audio features: two convolutions, sinusoidal positions, Transformer blocks."""

    positional_embedding: Tensor

    def __init__(self, n_mels: int, n_ctx: int, n_state: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.conv1 = Conv1d(n_mels, n_state, kernel_size=3, padding=1)
        self.conv2 = Conv1d(n_state, n_state, kernel_size=3, stride=2, padding=1)
        positions = torch.empty(n_ctx, n_state) if _without_values() else sinusoids(n_ctx, n_state)
        self.register_buffer("positional_embedding", positions)
        self.blocks = nn.ModuleList(ResidualAttentionBlock(n_state, n_head) for _ in range(n_layer))
        self.ln_post = LayerNorm(n_state)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel (B, n_mels, 2 n_ctx) -> features (B, n_ctx, D). Raises ValueError for another length."""
        x = F.gelu(self.conv1(x))  # (B, D, 2 n_ctx)
        x = F.gelu(self.conv2(x))  # (B, D, n_ctx)
        x = x.permute(0, 2, 1)  # (B, n_ctx, D)
        n_ctx = self.positional_embedding.shape[0]
        if x.shape[1] != n_ctx:
            raise ValueError(
                f"the encoder takes {2 * n_ctx} mel frames, and got about {2 * x.shape[1]}; use pad_or_trim first"
            )
        x = (x + self.positional_embedding).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)  # type: ignore[no-any-return]  # modules are untyped callables


class TextDecoder(nn.Module):
    """Tokens and audio features to logits over the next token."""

    mask: Tensor

    def __init__(self, n_vocab: int, n_ctx: int, n_state: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        blank = torch.empty(n_vocab, n_state) if _without_values() else None
        self.token_embedding = nn.Embedding(n_vocab, n_state, _weight=blank)
        self.positional_embedding = nn.Parameter(torch.empty(n_ctx, n_state))
        self.blocks = nn.ModuleList(
            ResidualAttentionBlock(n_state, n_head, cross_attention=True) for _ in range(n_layer)
        )
        self.ln = LayerNorm(n_state)
        mask = torch.empty(n_ctx, n_ctx) if _without_values() else causal_mask(n_ctx)
        self.register_buffer("mask", mask, persistent=False)

    def forward(
        self, x: Tensor, xa: Tensor, kv_cache: KeyValueCache | None = None, *, need_weights: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Tokens (B, T) int64 and features (B or 1, S, D) -> logits (B, T, V) float32.

        With a cache, `x` holds only the tokens that the cache has not seen. With `need_weights` also the
        cross-attention scores before the softmax, (B, H, T, S) a layer.
        """
        offset = next(iter(kv_cache.values())).shape[1] if kv_cache else 0
        n_tokens = x.shape[-1]
        x = self.token_embedding(x) + self.positional_embedding[offset : offset + n_tokens]  # (B, T, D)
        x = x.to(xa.dtype)
        mask = self.mask if n_tokens > 1 else None  # the newest token sees everything
        scores: list[Tensor] = []
        for block in self.blocks:
            x = block(x, xa, mask=mask, kv_cache=kv_cache, need_weights=need_weights)
            if need_weights:
                x, layer_scores = x
                scores.append(layer_scores)
        x = self.ln(x)
        logits = (x @ self.token_embedding.weight.to(x.dtype).T).float()
        return (logits, scores) if need_weights else logits


def causal_mask(n_ctx: int) -> Tensor:
    """(n_ctx, n_ctx) float32: zero up to the diagonal, minus infinity above it."""
    return torch.full((n_ctx, n_ctx), -math.inf).triu_(1)


class Whisper(nn.Module):
    """The whole network, with the verbs that users know.

    `added_tokens` names the tokens that a fine-tune added behind Whisper's own vocabulary. `compute_type` says in which
    number format `transcribe` is to run it (`viska.load_model`); the module itself computes in that of its weights.
    """

    _alignment_heads: Tensor

    def __init__(self, dims: ModelDimensions, *, added_tokens: Sequence[str] = ()) -> None:
        super().__init__()
        self.dims = dims
        self.added_tokens = tuple(added_tokens)
        self.compute_type = "auto"
        self.encoder = AudioEncoder(
            dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
        )
        self.decoder = TextDecoder(
            dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer
        )
        self.register_buffer("_alignment_heads", self._default_alignment_heads(), persistent=False)

    @classmethod
    def from_state_dict(
        cls, dims: ModelDimensions, state: Mapping[str, Tensor], *, added_tokens: Sequence[str] = ()
    ) -> "Whisper":
        """A model around the given tensors, which are taken over and not copied; ready for inference."""
        with torch.device("meta"):  # no memory and no time for weights that are replaced at once
            model = cls(dims, added_tokens=added_tokens)
        model.load_state_dict(state, assign=True)
        model.decoder.mask = causal_mask(dims.n_text_ctx)
        model._alignment_heads = model._default_alignment_heads()
        return model.eval()

    def _default_alignment_heads(self) -> Tensor:
        """Every head of the upper half of the decoder's layers."""
        heads = torch.zeros(self.dims.n_text_layer, self.dims.n_text_head, dtype=torch.bool)
        heads[self.dims.n_text_layer // 2 :] = True
        return heads

    @property
    def alignment_heads(self) -> Tensor:
        """The heads whose attention follows the audio: (n_text_layer, n_text_head) bool, sparse as users expect it."""
        return self._alignment_heads.to_sparse()

    @property
    def alignment_pairs(self) -> list[tuple[int, int]]:
        """The same as pairs of layer and head, from zero; needs no sparse tensor, which not every device has."""
        return [(layer, head) for layer, head in self._alignment_heads.nonzero().tolist()]

    def set_alignment_heads(self, dump: bytes) -> None:
        """Take the alignment heads from base85 of gzip of one byte a head. Raises ValueError for another size."""
        flags = np.frombuffer(gzip.decompress(base64.b85decode(dump)), dtype=bool)
        shape = self._alignment_heads.shape
        if flags.size != shape.numel():
            raise ValueError(f"the dump has {flags.size} heads, but the decoder has {shape[0]} layers of {shape[1]}")
        self._alignment_heads = torch.from_numpy(flags.copy()).view(shape).to(self._alignment_heads.device)

    def use_alignment_heads(self, heads: Iterable[tuple[int, int]]) -> None:
        """Take the alignment heads from pairs of layer and head, both from zero."""
        flags = torch.zeros_like(self._alignment_heads)
        for layer, head in heads:
            flags[layer, head] = True
        self._alignment_heads = flags

    def embed_audio(self, mel: Tensor) -> Tensor:
        """Log-mel (B, n_mels, 3000) -> audio features (B, 1500, D)."""
        return self.encoder(mel)  # type: ignore[no-any-return]

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        """Tokens (B, T) and audio features (B, 1500, D) -> logits (B, T, V) float32."""
        return self.decoder(tokens, audio_features)  # type: ignore[no-any-return]

    def forward(self, mel: Tensor, tokens: Tensor) -> Tensor:
        """Log-mel (B, n_mels, 3000) and tokens (B, T) -> logits (B, T, V) float32."""
        return self.logits(tokens, self.embed_audio(mel))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def is_multilingual(self) -> bool:
        """Whether the vocabulary has language tokens."""
        return self.dims.n_vocab - len(self.added_tokens) >= MULTILINGUAL_VOCABULARY

    @property
    def num_languages(self) -> int:
        """How many language tokens the vocabulary has: 99, or 100 from large-v3 on."""
        own_vocabulary = self.dims.n_vocab - len(self.added_tokens)
        return own_vocabulary - N_TIMESTAMPS_AND_SPECIALS - int(self.is_multilingual)

    def install_kv_cache_hooks(self, cache: KeyValueCache | None = None) -> tuple[KeyValueCache, list[RemovableHandle]]:
        """Make the key and value projections of the decoder's attention remember what they put out.

        Each call of a projection then returns everything it has put out since the hooks were installed, along the
        second axis, and leaves it in the returned dict. The hooks act only in the thread that installs them, so that
        several threads may decode with one model. Returns the cache, which starts as a copy of `cache`, and the
        handles: `handle.remove()` on each ends it.
        """
        cache = dict(cache) if cache is not None else {}
        owner = threading.current_thread()
        n_text_ctx = self.dims.n_text_ctx

        def remember(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            if threading.current_thread() is not owner:
                return output
            if module not in cache or output.shape[1] > n_text_ctx:
                cache[module] = output  # the first tokens, or the audio of a cross-attention
            else:
                cache[module] = torch.cat([cache[module], output], dim=1).detach()
            return cache[module]

        with _hook_registration:
            projections = [
                projection
                for attention in self.decoder.modules()
                if isinstance(attention, MultiHeadAttention)
                for projection in (attention.key, attention.value)
            ]
            return cache, [projection.register_forward_hook(remember) for projection in projections]

    # The three verbs stand above the network; they are methods because every user of Whisper knows them so.

    def detect_language(self, mel: Tensor, tokenizer: Any = None, languages: Any = None) -> Any:
        """See `viska.decoding.detect_language`."""
        from viska.decoding import detect_language

        return detect_language(self, mel, tokenizer, languages)

    def decode(
        self, mel: Tensor, options: "DecodingOptions | None" = None, **kwargs: Any
    ) -> "DecodingResult | list[DecodingResult]":
        """See `viska.decoding.decode`."""
        from viska.decoding import decode

        return decode(self, mel, options, **kwargs)

    def transcribe(self, audio: Any, **kwargs: Any) -> "Transcript":
        """See `viska.transcribe`."""
        from viska.transcription import transcribe

        return transcribe(self, audio, **kwargs)


# Handles take their ids from an unguarded global counter: two threads that register at once could get the same one.
_hook_registration = threading.Lock()
