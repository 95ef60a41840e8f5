"""The decoder's memory: explicit tensors, allocated once.

Axes: L layers, R rows, H heads, T token positions, S audio positions, d = D / H.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class CrossMemory:
    """Keys and values of one window's audio, (L, H, S, d) each; they do not change from step to step.

    The windows of a batch keep their own: stacked, they would be read no faster, and a window's result would depend on
    those beside it.
    """

    keys: Tensor
    values: Tensor


class SelfCache:
    """Keys and values of the tokens so far: `pairs` is (2, L, R, H, T, d), where T grows as it is needed."""

    def __init__(self, n_layer: int, n_rows: int, n_head: int, width: int, *, like: Tensor) -> None:
        self.pairs = like.new_zeros(2, n_layer, n_rows, n_head, 0, width)

    @property
    def keys(self) -> Tensor:
        """(L, R, H, T, d)."""
        return self.pairs[0]

    @property
    def values(self) -> Tensor:
        """(L, R, H, T, d)."""
        return self.pairs[1]

    def reserve(self, length: int) -> None:
        """Make room for so many positions, or more; what is not yet written is zero."""
        held = self.pairs.shape[4]
        if length > held:
            self.pairs = F.pad(self.pairs, (0, 0, 0, max(length, 2 * held) - held))

    def fill(self, first: int, n_rows: int, keys: Tensor, values: Tensor) -> None:
        """Let rows start from one row's prompt, (L, H, T, d)."""
        length = keys.shape[2]
        self.reserve(length)
        self.pairs[:, :, first : first + n_rows, :, :length] = torch.stack([keys, values])[:, :, None]

    def write(self, layer: int, rows: Tensor, positions: Tensor, pairs: Tensor) -> None:
        """Let rows (R,) have seen one more token of theirs, (R, 2, H, d), at their positions (R,)."""
        self.pairs[:, layer][:, rows, :, positions] = pairs

    def reorder(self, first: int, sources: Sequence[int], begin: int, end: int) -> None:
        """Let row `first + i` go on from what row `first + sources[i]` has seen at positions `begin` to `end`."""
        moved = [i for i, source in enumerate(sources) if i != source]
        if moved and begin < end:
            targets, origins = [first + i for i in moved], [first + sources[i] for i in moved]
            self.pairs[:, :, targets, :, begin:end] = self.pairs[:, :, origins, :, begin:end]

    def move(self, source: int, target: int, n_rows: int, end: int) -> None:
        """Let rows, up to position `end`, go over to other places."""
        moved = self.pairs[:, :, source : source + n_rows, :, :end]
        self.pairs[:, :, target : target + n_rows, :, :end] = moved


def past_mask(positions: Sequence[int], n_shown: int, *, like: Tensor) -> Tensor:
    """(R, 1, 1, n_shown): zero up to each row's newest position, minus infinity behind it."""
    newest = torch.tensor(positions, device=like.device)[:, None]  # (R, 1)
    ahead = torch.arange(n_shown, device=like.device) > newest
    return torch.zeros(ahead.shape, device=like.device, dtype=like.dtype).masked_fill_(ahead, -torch.inf)[:, None, None]
