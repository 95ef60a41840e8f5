"""Linear maps in each number format, behind one call: (..., in) -> (..., out).

int8 here is weights with one scale an output channel, and activations with one scale a row, set by the row's own
largest value: what a row becomes does not depend on the rows beside it.
"""

import warnings
from enum import Enum, auto
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from viska.engine.native.linear import NativeProjection
from viska.engine.plan import Hardware, dtype_of
from viska.quantization import OFFSET, STEPS, TINY, dequantize_rows, quantize_rows, row_peaks


class Rounding(Enum):
    """How activations (rows, in) become int8 where weights are."""

    NONE = auto()  # they stay float32
    PLAIN = auto()  # to steps of each row's largest value
    CENTRED = auto()  # to steps of each row's range, around its middle; they are written over


class Projection(Protocol):
    """A linear map: (..., in) -> (..., out)."""

    def __call__(self, x: Tensor, room: Tensor | None = None, /) -> Tensor:
        """(..., in) -> (..., out), written to `room`, of that shape, where the kind knows how to."""


class PlainProjection:
    """Weights (out, in) and bias in a floating dtype, which the input is brought to."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight = weight.detach().to(dtype)
        self.bias = None if bias is None else bias.detach().to(dtype)

    def __call__(self, x: Tensor, room: Tensor | None = None) -> Tensor:
        """(..., in) -> (..., out)."""
        x = x.to(self.weight.dtype)
        if room is None or self.bias is None:
            return F.linear(x, self.weight, self.bias)
        return torch.addmm(self.bias, x, self.weight.T, out=room)  # new memory for the result costs a tenth more


class OneDnnProjection:
    """Weights (out, in) and bias in float32 through oneDNN, for processors on which MKL is slow.

    The weights are not packed for it: that would be a third faster for a few rows, and hold them twice.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.detach().float()
        self.bias = None if bias is None else bias.detach().float()

    def __call__(self, x: Tensor, _room: Tensor | None = None) -> Tensor:
        """(..., in) -> (..., out)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x.float(), self.weight, self.bias, "none", [], "")
        return y


class OneDnnInt8Projection:
    """int8 through oneDNN, which is fastest where the processor has instructions for int8 dot products.

    Activations go there as unsigned bytes, as weights are packed for those: signed ones oneDNN multiplies two thousand
    times more slowly on every processor without AMX (docs/log.md).
    """

    _offset = torch.tensor(float(OFFSET))

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        self.packed = torch.ops.onednn.qlinear_prepack(weight, None)
        self.scale = scale
        self.zero_points = torch.zeros(len(scale), dtype=torch.int32)
        self.bias = None if bias is None else bias.detach().float()

    def __call__(self, x: Tensor, _room: Tensor | None = None) -> Tensor:
        """(..., in) -> (..., out)."""
        rows = x.reshape(-1, x.shape[-1]).float()
        return self.rounded(rows, row_peaks(rows)).view(*x.shape[:-1], -1)

    def rounded(self, rows: Tensor, peaks: Tensor) -> Tensor:
        """Rows (rows, in), rounded to steps of what none of their values is above (rows, 1) -> (rows, out)."""
        quantized = torch.addcmul(self._offset, rows, STEPS / peaks).round_().to(torch.uint8)
        y = torch.ops.onednn.qlinear_pointwise(
            quantized,
            1 / STEPS,
            OFFSET,
            self.packed,
            self.scale,
            self.zero_points,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return _scaled(y, peaks, self.bias)


class FbgemmInt8Projection:
    """int8 through FBGEMM, for few rows: compiled code's stand-in.

    Right only where there are instructions for int8 dot products. Elsewhere FBGEMM adds two products in 16 bits, which
    overflows where activations and weights are both large (docs/log.md).
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        zero_points = torch.zeros(len(scale), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the Python package around quantized tensors is retired, the kernels stay
            quantized = torch._make_per_channel_quantized_tensor(weight, scale.double(), zero_points, 0)
            self.packed = torch.ops.quantized.linear_prepack(quantized, None)
        self.bias = None if bias is None else bias.detach().float()

    def __call__(self, x: Tensor, _room: Tensor | None = None) -> Tensor:
        """(..., in) -> (..., out)."""
        rows = x.reshape(-1, x.shape[-1]).float()
        return self.rounded(rows, row_peaks(rows)).view(*x.shape[:-1], -1)

    def rounded(self, rows: Tensor, peaks: Tensor) -> Tensor:
        """Rows (rows, in), rounded to steps of what none of their values is above (rows, 1) -> (rows, out)."""
        y = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / peaks, 1 / STEPS, OFFSET, self.packed
        )
        return _scaled(y, peaks, self.bias)


class CentredProjection:
    """An int8 projection of rows (rows, in) float32 whose middle is taken off, in place, before they are rounded.

    Rows that lie to one side of zero, as behind GELU, are rounded to steps half as wide so. Zero stays a whole number
    of steps: most values are near it, and would all be off to the same side.
    """

    def __init__(self, linear: OneDnnInt8Projection | FbgemmInt8Projection, weight: Tensor, scale: Tensor) -> None:
        self.linear = linear
        self.sums = dequantize_rows(weight, scale).sum(dim=1)  # (out,)

    def __call__(self, x: Tensor, _room: Tensor | None = None) -> Tensor:
        """(rows, in) -> (rows, out)."""
        least, most = x.amin(dim=-1, keepdim=True), x.amax(dim=-1, keepdim=True)  # (rows, 1)
        step = ((most - least) / (2 * STEPS - 1)).clamp_min_(TINY)
        middle = ((most + least) / (2 * step)).round_() * step
        y = self.linear.rounded(x.sub_(middle), step * STEPS)
        return torch.addcmul(y, middle, self.sums, out=y)


def _scaled(y: Tensor, peaks: Tensor, bias: Tensor | None) -> Tensor:
    """Products (rows, out) of rows that were divided by their peaks (rows, 1), as they are, with the bias; in place."""
    return y.mul_(peaks) if bias is None else torch.addcmul(bias, y, peaks, out=y)


def _unrounded(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Projection:
    """The linear map in a floating dtype."""
    if Hardware.here().slow_mkl and (weight.device.type, dtype) == ("cpu", torch.float32):
        return OneDnnProjection(weight, bias)
    return PlainProjection(weight, bias, dtype)


def projection(
    weight: Tensor,
    bias: Tensor | None,
    number_format: str,
    *,
    many_rows: bool = False,
    rounding: Rounding = Rounding.PLAIN,
) -> Projection:
    """The linear map with these weights in this format; the bias may be None.

    `many_rows` is for maps that get hundreds of rows at a time: oneDNN is slow to start and fast to go on.
    """
    if number_format != "int8":
        return _unrounded(weight, bias, dtype_of(number_format))
    quantized, scale = quantize_rows(weight)
    if rounding is Rounding.NONE:
        return _unrounded(dequantize_rows(quantized, scale), bias, torch.float32)
    if not many_rows and rounding is Rounding.PLAIN and NativeProjection.fits(quantized):
        return NativeProjection(quantized, scale, bias)
    if not Hardware.here().int8_dot_products:
        return _unrounded(dequantize_rows(quantized, scale), bias, torch.float32)
    linear = (OneDnnInt8Projection if many_rows else FbgemmInt8Projection)(quantized, scale, bias)
    return CentredProjection(linear, quantized, scale) if rounding is Rounding.CENTRED else linear
