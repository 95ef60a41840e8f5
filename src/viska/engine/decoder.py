"""The text decoder for speed: the arithmetic of `viska.model` over explicit caches, a step for many rows at once.

Axes: L layers, W windows, G rows of each, R = W G, H heads, T token positions, S audio positions, d = D / H,
V vocabulary.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from viska.engine.cache import CrossMemory, SelfCache, past_mask
from viska.engine.encoder import Norm, fused_qkv, mlp_layers
from viska.engine.kernels import Projection, projection
from viska.engine.native.step import NativeStep
from viska.engine.plan import ComputePlan, dtype_of
from viska.model import MultiHeadAttention, ResidualAttentionBlock, TextDecoder

SHOWN = 64
"""The past is read in multiples of so many positions: sums then do not depend on how far the other rows are."""


@dataclass(frozen=True)
class DecoderBlock:
    """The parts of one block. Query projections carry the scale of the scores."""

    attn_norm: Norm
    qkv: Projection
    out: Projection
    cross_norm: Norm
    cross_query: Projection
    cross_out: Projection
    mlp_norm: Norm
    up: Projection
    down: Projection

    @classmethod
    def of(cls, block: ResidualAttentionBlock, number_format: str) -> "DecoderBlock":
        """The same as a module's, in a number format."""
        cross = block.cross_attn
        assert cross is not None
        assert block.cross_attn_ln is not None
        assert cross.query.bias is not None
        up, down = mlp_layers(block)
        weight, bias = fused_qkv(block.attn)
        n_state, scale = weight.shape[1], score_scale(block.attn)
        weight[:n_state] *= scale
        bias[:n_state] *= scale
        return cls(
            Norm.of(block.attn_ln),
            projection(weight, bias, number_format),
            projection(block.attn.out.weight, block.attn.out.bias, number_format),
            Norm.of(block.cross_attn_ln),
            projection(cross.query.weight * scale, cross.query.bias * scale, number_format),
            projection(cross.out.weight, cross.out.bias, number_format),
            Norm.of(block.mlp_ln),
            projection(up.weight, up.bias, number_format),
            projection(down.weight, down.bias, number_format),
        )


class Passed(NamedTuple):
    """What a layer made of tokens: keys and values (H, T, d), and the queries (T, D) that it asked the audio."""

    keys: Tensor
    values: Tensor
    cross_query: Tensor


class Decoder:
    """Tokens to logits."""

    def __init__(self, module: TextDecoder, plan: ComputePlan) -> None:
        blocks = [block for block in module.blocks if isinstance(block, ResidualAttentionBlock)]
        self.n_head = blocks[0].attn.n_head
        self.dtype = dtype_of(plan.decoder)
        self.norm = Norm.of(module.ln)
        self.embedding = module.token_embedding.weight.detach()
        self.positions = module.positional_embedding.detach()
        # Half of all weights, and one core packs them.
        vocabulary = _beside(lambda: projection(self.embedding, None, plan.decoder))
        self.blocks = [DecoderBlock.of(block, plan.decoder) for block in blocks]
        self.cross = projection(*_fused_cross(blocks), plan.encoder, many_rows=True)  # one product for all layers
        self.vocabulary = vocabulary.result()
        self.native = NativeStep.of(self.blocks, self.norm, self.vocabulary, self.n_head)
        self.attention_dtype = torch.bfloat16 if self.native else plan.attention

    @property
    def n_ctx(self) -> int:
        """The most tokens in a row."""
        return len(self.positions)

    def hear(self, features: Tensor) -> CrossMemory:
        """Audio features (S, D) -> the keys and values of every layer."""
        both = self.cross(features).to(self.attention_dtype)  # (S, L 2 D)
        keys, values = both.view(len(features), len(self.blocks), 2, self.n_head, -1).permute(2, 1, 3, 0, 4)
        if self.attention_dtype == torch.float32:
            # Channel by channel: scores are then products along contiguous memory.
            keys = keys.transpose(-1, -2).contiguous().transpose(-1, -2)
        else:
            keys = keys.contiguous()
        return CrossMemory(keys, values.contiguous())

    def self_cache(self, n_rows: int) -> SelfCache:
        """An empty cache for so many rows."""
        width = self.positions.shape[1] // self.n_head
        like = torch.empty(0, dtype=self.dtype, device=self.positions.device)
        return SelfCache(len(self.blocks), n_rows, self.n_head, width, like=like)

    def prefill(self, tokens: Sequence[int], memory: CrossMemory) -> tuple[Tensor, Tensor, Tensor]:
        """One window's first tokens (T) -> hidden states (T, D), and their keys and values (L, H, T, d)."""
        x, passed = self._pass(tokens, memory)
        return x, torch.stack([layer.keys for layer in passed]), torch.stack([layer.values for layer in passed])

    def read(
        self, tokens: Sequence[int], memory: CrossMemory, heads: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Known tokens (T) -> scores of the cross-attention's heads (layer, head), (heads, T, S), and logits (T, V).

        Both are float32, the scores as they are before the softmax.
        """
        x, passed = self._pass(tokens, memory)
        queries = torch.stack([self._heads(layer.cross_query, 1)[0] for layer in passed])  # (L, H, T, d)
        layers, numbers = (list(part) for part in zip(*heads, strict=True))
        scores = queries[layers, numbers].float() @ memory.keys[layers, numbers].float().transpose(-1, -2)
        return scores, self.logits(x)

    def _pass(self, tokens: Sequence[int], memory: CrossMemory) -> tuple[Tensor, list[Passed]]:
        """Tokens (T), from the first on, through all layers -> hidden states (T, D), and what each layer made."""
        n = len(tokens)
        x = self._embed(torch.tensor(tokens, device=self.positions.device), slice(0, n))  # (T, D)
        mask = torch.full((n, n), -torch.inf, dtype=self.dtype, device=x.device).triu_(1) if n > 1 else None
        passed = []
        for layer, block in enumerate(self.blocks):
            q, k, v = self._heads(block.qkv(block.attn_norm(x)), 3)  # (H, T, d) each
            x = x + block.out(_joined(attend(q[None], k[None], v[None], mask)))
            cross_query = block.cross_query(block.cross_norm(x))
            passed.append(Passed(k, v, cross_query))
            x = x + block.cross_out(self._hear(cross_query, layer, memory))
            x = x + block.down(F.gelu(block.up(block.mlp_norm(x))))
        return x, passed

    def logits(self, x: Tensor) -> Tensor:
        """Hidden states (..., D) -> logits (..., V) float32."""
        return self.vocabulary(self.norm(x)).float()

    def step(
        self, tokens: Sequence[int], positions: Sequence[int], cache: SelfCache, memories: Sequence[CrossMemory]
    ) -> Tensor:
        """One more token for each row (R), at its own position -> logits (R, V) float32.

        The rows are those of the windows whose memories are given, as many for each.
        """
        n_rows, device = len(tokens), self.positions.device
        where = torch.tensor(positions, device=device)
        x = self._embed(torch.tensor(tokens, device=device), where)  # (R, D)
        n_shown = -(-(max(positions) + 1) // SHOWN) * SHOWN
        cache.reserve(n_shown)
        if self.native is not None:
            return self.native(x, positions, cache, memories)
        rows, mask = torch.arange(n_rows, device=device), past_mask(positions, n_shown, like=cache.keys)
        for layer, block in enumerate(self.blocks):
            qkv = block.qkv(block.attn_norm(x)).view(n_rows, 3, self.n_head, -1)  # (R, 3, H, d)
            cache.write(layer, rows, where, qkv[:, 1:])
            keys, values = cache.pairs[:, layer, :n_rows, :, :n_shown]  # (R, H, T, d) each
            a = attend(qkv[:, 0, :, None], keys, values, mask)  # (R, H, 1, d)
            x = x + block.out(a.flatten(start_dim=1))
            x = x + block.cross_out(self._hear_all(block.cross_query(block.cross_norm(x)), layer, memories))
            x = x + block.down(F.gelu(block.up(block.mlp_norm(x))))
        return self.logits(x)

    def _hear_all(self, q: Tensor, layer: int, memories: Sequence[CrossMemory]) -> Tensor:
        """Queries (R, D) over the memories of their windows -> (R, D); the rows of a window read its memory once."""
        shared = torch.split(q, len(q) // len(memories))  # (G, D) each
        heard = [self._hear(own, layer, memory) for own, memory in zip(shared, memories, strict=True)]
        return torch.cat(heard) if len(heard) > 1 else heard[0]

    def _hear(self, q: Tensor, layer: int, memory: CrossMemory) -> Tensor:
        """Queries (G, D) over one window's memory -> (G, D)."""
        if self.native is not None:
            return self.native.hear(q, layer, memory)
        heads = self._heads(q, 1)  # (1, H, G, d)
        return _joined(attend(heads, memory.keys[layer, None], memory.values[layer, None]))

    def _embed(self, tokens: Tensor, where: Tensor | slice) -> Tensor:
        return (self.embedding[tokens] + self.positions[where]).float()

    def _heads(self, x: Tensor, n: int) -> Tensor:
        """(T, n D) -> (n, H, T, d)."""
        return x.view(len(x), n, self.n_head, -1).permute(1, 2, 0, 3)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of queries (B, H, T, d), scaled already, over keys and values (B, H, S, d) -> (B, H, T, d)."""
    q = q.to(k.dtype)
    if k.dtype != torch.float32:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    scores = q @ k.transpose(-1, -2)  # (B, H, T, S)
    if mask is not None:
        scores += mask
    return scores.softmax(dim=-1) @ v


def score_scale(attention: MultiHeadAttention) -> float:
    """What scores are multiplied by: a power of two for every official model, so that weights may carry it exactly."""
    return float((attention.query.out_features // attention.n_head) ** -0.5)


def _joined(a: Tensor) -> Tensor:
    """(1, H, T, d) -> (T, D)."""
    return a[0].transpose(0, 1).flatten(start_dim=1)


def _beside(work: Callable[[], Projection]) -> Future[Projection]:
    """What comes of work that another thread does, or this one where none can be begun.

    Executors begin nothing once the main thread is through; Python 3.12 begins no thread at all then.
    """
    made: Future[Projection] = Future()

    def run() -> None:
        try:
            made.set_result(work())
        except BaseException as error:  # raised where the result is asked for
            made.set_exception(error)

    try:
        Thread(target=run, name="viska-packing").start()
    except RuntimeError:
        run()
    return made


def _fused_cross(blocks: Sequence[ResidualAttentionBlock]) -> tuple[Tensor, Tensor]:
    """Weights (L 2 D, D) and bias (L 2 D,) of the cross-attention's key and value projections of all layers."""
    weights, biases = [], []
    for block in blocks:
        cross = block.cross_attn
        assert cross is not None
        assert cross.value.bias is not None
        weights += [cross.key.weight, cross.value.weight]
        biases += [torch.zeros_like(cross.value.bias), cross.value.bias]
    return torch.cat(weights).detach(), torch.cat(biases).detach()
