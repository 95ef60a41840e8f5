"""Attention of the encoder in compiled code (encoder.c)."""

from ctypes import Structure, byref, c_double, c_int64, c_void_p

import torch
from torch import Tensor

from viska.engine.native.library import HEAD, Library, Team

_STEP = 32  # positions are laid out in multiples of


class _Attention(Structure):
    _fields_ = (
        ("team", Team),
        *((name, c_void_p) for name in ("qkv", "heard", "keys", "values", "scores")),
        *((name, c_int64) for name in ("n_positions", "n_state", "room", "n_cell")),
        ("scale", c_double),
    )


class NativeAttention:
    """Every position of one window over all of them. Each layer uses its room again, so that it is one thread's own.

    bfloat16 is computed in as it is where the code can, else in float32.
    """

    def __init__(self, library: Library, n_positions: int, n_state: int, dtype: torch.dtype = torch.float32) -> None:
        self.library, self.n_positions, self.n_state = library, n_positions, n_state
        self.team = library.team()
        self.room = -(-n_positions // _STEP) * _STEP
        n_scores = library.code.viska_attend_scores(c_int64(self.room), c_int64(self.team.n_threads))
        self.keys, self.values = torch.empty(2, self.room * n_state)
        self.scores, self.heard = torch.empty(n_scores), torch.empty(n_positions, n_state)
        self.dtype = dtype if library.bfloat16 else torch.float32
        self.qkv = torch.empty(n_positions, 3 * n_state, dtype=self.dtype)

    def __call__(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values (S, 3 D) -> (S, D) float32, which the next call writes over."""
        if qkv.dtype != self.dtype or not qkv.is_contiguous():
            qkv = self.qkv.copy_(qkv)
        pointers = (tensor.data_ptr() for tensor in (qkv, self.heard, self.keys, self.values, self.scores))
        sizes = (self.n_positions, self.n_state, self.room, 4 // qkv.itemsize)
        attention = _Attention(self.team, *pointers, *sizes, HEAD**-0.5)
        self.library.code.viska_attend(byref(attention))
        return self.heard
