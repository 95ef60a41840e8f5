"""Weights as whole numbers of one byte, with one scale for each row: what an output channel of a linear map is."""

import torch
from torch import Tensor

STEPS = 127  # of a signed byte, to either side of zero
OFFSET = STEPS + 1  # of the same as an unsigned byte, which instructions for products of int8 take
TINY = 1e-12  # a row of zeros is no division by zero
_ROUNDING = 1.5 * 2**23  # float32 has no digits behind the point there
_BLOCK_VALUES = (1 << 15) - 1  # so many at a time stay in a core's cache, and are not worth a second thread to torch


def row_peaks(rows: Tensor) -> Tensor:
    """The largest magnitude in each row of (rows, in), (rows, 1)."""
    # Twice over the rows is faster than a new tensor of magnitudes.
    return torch.maximum(rows.amax(dim=-1, keepdim=True), -rows.amin(dim=-1, keepdim=True)).clamp_min_(TINY)


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (out, in) -> int8 (out, in) and scales (out,) float32, with int8 * scale close to the weights."""
    integers = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scales = torch.empty(len(weight), device=weight.device)
    n_rows = max(_BLOCK_VALUES // max(weight.shape[1], 1), 1)
    for start in range(0, len(weight), n_rows):
        rows = weight[start : start + n_rows].detach().float()
        scale = row_peaks(rows) / STEPS  # (rows, 1)
        scales[start : start + n_rows] = scale[:, 0]
        # To the nearest, halves to even: as `round_`, which has every two thousand values done by another thread.
        integers[start : start + n_rows] = (rows / scale).add_(_ROUNDING).sub_(_ROUNDING)
    return integers, scales


def dequantize_rows(weight: Tensor, scale: Tensor) -> Tensor:
    """int8 (out, in) and scales (out,) -> weights (out, in) float32; quantising these gives the same int8 again."""
    return weight.float() * scale.float()[:, None]
