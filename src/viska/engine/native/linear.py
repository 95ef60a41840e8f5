"""Linear maps with int8 weights in compiled code."""

import ctypes
from ctypes import Structure, c_int64, c_void_p

import torch
import torch.nn.functional as F
from torch import Tensor

from viska.engine.native.library import Library, Team, library
from viska.quantization import OFFSET

LANE = 16
"""Outputs that lie side by side, so that a step of the sum is one instruction for all of them."""


class Linear(Structure):
    """Weights as decoder.c reads them."""

    _fields_ = (
        ("weight", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
        ("start", c_void_p),
        ("n_in", c_int64),
        ("n_out", c_int64),
        ("shown", c_int64),
    )


class _Product(Structure):
    _fields_ = (
        ("team", Team),
        ("map", c_void_p),
        ("x", c_void_p),
        ("y", c_void_p),
        ("bytes", c_void_p),
        ("scales", c_void_p),
        ("n_rows", c_int64),
    )


class NativeProjection:
    """int8 weights (out, in) with scales (out,), and activations with one scale a row: (..., in) -> (..., out).

    A row's result is the same, to the last bit, whatever rows are beside it.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        found = library()
        assert found is not None, "asked for without `fits`"
        self.library: Library = found
        n_out, n_in = weight.shape
        more = -n_out % LANE
        sums = F.pad(weight.sum(dim=1, dtype=torch.int32), (0, more))
        # Four inputs of sixteen outputs side by side; four inputs are moved as one number.
        lanes = F.pad(weight, (0, 0, 0, more)).view(torch.int32).view(-1, LANE, n_in // 4)
        self.weight = lanes.transpose(1, 2).contiguous()  # (out / 16, in / 4, 16)
        self.scale = F.pad(scale.detach().float(), (0, more))
        self.bias = self.scale.new_zeros(n_out + more) if bias is None else F.pad(bias.detach().float(), (0, more))
        self.start = sums * -OFFSET if found.unsigned else torch.zeros_like(sums)
        pointers = (t.data_ptr() for t in (self.weight, self.scale, self.bias, self.start))
        self.structure = Linear(*pointers, n_in, n_out + more, n_out)

    @staticmethod
    def fits(weight: Tensor) -> bool:
        """Whether there is compiled code, and it takes weights (out, in) of this shape."""
        return weight.device.type == "cpu" and weight.shape[1] % LANE == 0 and library() is not None

    def __call__(self, x: Tensor, _room: Tensor | None = None) -> Tensor:
        """(..., in) -> (..., out) float32."""
        rows = x.reshape(-1, x.shape[-1]).float().contiguous()
        y = torch.empty(len(rows), self.structure.shown)
        integers, scales = torch.empty(rows.shape, dtype=torch.int8), torch.empty(len(rows))
        pointers = (t.data_ptr() for t in (rows, y, integers, scales))
        product = _Product(self.library.team(), ctypes.addressof(self.structure), *pointers, len(rows))
        self.library.code.viska_linear(ctypes.byref(product))
        return y.view(*x.shape[:-1], -1)
