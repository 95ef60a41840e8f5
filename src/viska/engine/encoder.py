"""The encoder for speed: the same arithmetic as `viska.model`, with fused projections and chosen number formats.

Radford et al. (2022), section 2.2. The stream between the blocks stays in float32 on a CPU, whatever the projections.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from viska.engine.kernels import Projection, Rounding, projection
from viska.engine.native.attention import NativeAttention
from viska.engine.native.library import HEAD, library
from viska.engine.plan import Hardware, dtype_of
from viska.model import AudioEncoder, LayerNorm, Linear, MultiHeadAttention, ResidualAttentionBlock


@dataclass(frozen=True)
class Norm:
    """Layer normalisation in float32."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, module: LayerNorm) -> "Norm":
        """The same as a module's."""
        assert module.bias is not None
        return cls(module.weight.detach().float(), module.bias.detach().float(), module.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the last axis of `x`."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class EncoderBlock:
    """The parts of one block; queries, keys and values are one projection."""

    attn_norm: Norm
    qkv: Projection
    out: Projection
    mlp_norm: Norm
    up: Projection
    down: Projection

    @classmethod
    def of(cls, block: ResidualAttentionBlock, number_format: str, *, first: bool = False) -> "EncoderBlock":
        """The same as a module's, in a number format.

        What goes into the first block has channels far larger than the others; in int8, it alone makes more errors than
        all blocks behind it (docs/log.md).
        """

        def many(weight: Tensor, bias: Tensor | None, rounding: Rounding = Rounding.PLAIN) -> Projection:
            rounding = Rounding.NONE if first else rounding
            return projection(weight, bias, number_format, many_rows=True, rounding=rounding)

        up, down = mlp_layers(block)
        return cls(
            Norm.of(block.attn_ln),
            many(*fused_qkv(block.attn)),
            many(block.attn.out.weight, block.attn.out.bias),
            Norm.of(block.mlp_ln),
            many(up.weight, up.bias),
            many(down.weight, down.bias, Rounding.CENTRED),
        )


class Encoder:
    """Log-mel to audio features, a window at a time; shorter windows give shorter features."""

    def __init__(self, module: AudioEncoder, number_format: str) -> None:
        self.dtype = dtype_of(number_format)
        blocks = [block for block in module.blocks if isinstance(block, ResidualAttentionBlock)]
        self.n_head = blocks[0].attn.n_head
        self.conv1, self.conv2 = module.conv1, module.conv2
        self.positions = module.positional_embedding.detach().float()
        self.blocks = [EncoderBlock.of(block, number_format, first=not number) for number, block in enumerate(blocks)]
        self.norm = Norm.of(module.ln_post)

    def __call__(self, mel: Tensor) -> Tensor:
        """Log-mel (n_mels, F) with F even -> features (F / 2, D) float32."""
        x = self._convolve(mel[None])[0].T  # (S, D)
        # Sums along contiguous memory from here on, and in place: a new tensor a sum costs as much as the sum.
        x = torch.add(x, self.positions[: len(x)], out=torch.empty_like(self.positions[: len(x)]))
        attend = self._attention(x)
        n_positions, n_state = x.shape
        wide = x.new_empty(n_positions, 4 * n_state, dtype=self.dtype)
        qkv, narrow = (wide.view(-1)[: width * x.numel()].view(n_positions, -1) for width in (3, 1))
        for block in self.blocks:
            x += block.out(attend(block.qkv(block.attn_norm(x), qkv)), narrow)
            x += block.down(torch.ops.aten.gelu_(block.up(block.mlp_norm(x), wide)))
        return self.norm(x)

    def _convolve(self, mel: Tensor) -> Tensor:
        x = F.gelu(self.conv1(mel.to(self.conv1.weight.dtype)))  # (1, D, F)
        return F.gelu(self.conv2(x))  # (1, D, F / 2)

    def _attention(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """What every layer of a window (S, D) does with its queries, keys and values: (S, 3 D) -> (S, D)."""
        n_positions, n_state = x.shape
        code = library() if x.device.type == "cpu" and self._plain_is_slow() else None
        if code is not None and n_state == self.n_head * HEAD:
            return NativeAttention(code, n_positions, n_state, self.dtype)
        return PlainAttention(x.new_empty(3, self.n_head, n_positions, n_state // self.n_head, dtype=self.dtype))

    def _plain_is_slow(self) -> bool:
        # torch's attention in bfloat16 without AMX is slower than its own in float32 (docs/log.md).
        return self.dtype == torch.float32 or (self.dtype == torch.bfloat16 and not Hardware.here().tiles)


class PlainAttention:
    """Scaled dot-product attention through `heads` (3, H, S, D / H), where what is one head's lies side by side."""

    def __init__(self, heads: Tensor) -> None:
        self.heads = heads

    def __call__(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values (S, 3 D) -> (S, D)."""
        _, n_head, n_positions, _ = self.heads.shape
        self.heads.copy_(qkv.view(n_positions, 3, n_head, -1).permute(1, 2, 0, 3))
        q, k, v = self.heads[:, None]  # (1, H, S, D / H) each
        return F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(start_dim=1)


def mlp_layers(block: ResidualAttentionBlock) -> tuple[Linear, Linear]:
    """The two linear maps of a block's MLP."""
    up, down = block.mlp[0], block.mlp[2]
    assert isinstance(up, Linear)
    assert isinstance(down, Linear)
    return up, down


def fused_qkv(attention: MultiHeadAttention) -> tuple[Tensor, Tensor]:
    """Weights (3 D, D) and bias (3 D,) of the three projections as one."""
    query, key, value = attention.query, attention.key, attention.value
    assert query.bias is not None
    assert value.bias is not None
    bias = torch.cat([query.bias, torch.zeros_like(query.bias), value.bias])
    return torch.cat([query.weight, key.weight, value.weight]).detach(), bias.detach()
