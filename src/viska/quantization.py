"""Weights as whole numbers of one byte, with one scale for each row: what an output channel of a linear map is."""

import torch
from torch import Tensor

STEPS = 127  # of a signed byte, to either side of zero
_TINY = 1e-12  # a row of zeros is no division by zero


def row_peaks(rows: Tensor) -> Tensor:
    """The largest magnitude in each row of (rows, in), (rows, 1)."""
    return rows.abs().amax(dim=-1, keepdim=True).clamp_min_(_TINY)


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (out, in) -> int8 (out, in) and scales (out,) float32, with int8 * scale close to the weights."""
    weight = weight.detach().float()
    scale = row_peaks(weight) / STEPS  # (out, 1)
    return (weight / scale).round_().to(torch.int8), scale[:, 0].contiguous()


def dequantize_rows(weight: Tensor, scale: Tensor) -> Tensor:
    """int8 (out, in) and scales (out,) -> weights (out, in) float32; quantising these gives the same int8 again."""
    return weight.float() * scale.float()[:, None]
