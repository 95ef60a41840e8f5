"""A whole step of the decoder, and attention over the audio, in compiled code."""

from collections.abc import Sequence
from ctypes import Array, Structure, addressof, byref, c_double, c_int64, c_void_p
from typing import TYPE_CHECKING, Optional

import torch
from torch import Tensor

from viska.engine.cache import CrossMemory, SelfCache
from viska.engine.encoder import Norm
from viska.engine.native.library import HEAD, ONE_THREAD, Library, Team
from viska.engine.native.linear import Linear, NativeProjection

if TYPE_CHECKING:
    from viska.engine.decoder import DecoderBlock
    from viska.engine.kernels import Projection

_NORMS = ("attn_norm", "cross_norm", "mlp_norm")
_MAPS = ("qkv", "out", "cross_query", "cross_out", "up", "down")


class _Norm(Structure):
    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("eps", c_double))

    @classmethod
    def of(cls, norm: Norm) -> "_Norm":
        return cls(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)


class _Block(Structure):
    _fields_ = (*((name, _Norm) for name in _NORMS), *((name, Linear) for name in _MAPS))

    @classmethod
    def of(cls, block: "DecoderBlock") -> "_Block":
        norms = (_Norm.of(getattr(block, name)) for name in _NORMS)
        return cls(*norms, *(getattr(block, name).structure for name in _MAPS))


class _Memory(Structure):
    _fields_ = (("keys", c_void_p), ("values", c_void_p), ("n_positions", c_int64))

    @classmethod
    def of(cls, memory: CrossMemory) -> "_Memory":
        return cls(memory.keys.data_ptr(), memory.values.data_ptr(), memory.keys.shape[2])


class _Step(Structure):
    _fields_ = (
        ("team", Team),
        *((name, c_void_p) for name in ("blocks", "norm", "vocabulary", "memories", "positions")),
        *((name, c_void_p) for name in ("past", "x", "logits", "room")),
        *((name, c_int64) for name in ("n_layer", "n_state", "n_head", "n_windows", "n_rows")),
        *((name, c_int64) for name in ("held_rows", "held", "room_of_scores")),
    )


class _Hearing(Structure):
    _fields_ = (
        ("team", Team),
        *((name, c_void_p) for name in ("memory", "q", "heard", "room")),
        *((name, c_int64) for name in ("n_rows", "n_head", "layer", "room_of_scores")),
    )


class Waits:
    """Whether a step is better made by one thread alone, as others were long waited for: other programs are at work.

    Once is an accident, after which few steps are made alone; each further time there are twice as many, and each time
    that nobody was late, half as many. Threads that share it may miscount, which costs no more than time.
    """

    SHORTEST, LONGEST = 4, 64

    def __init__(self) -> None:
        self.left, self.next = 0, self.SHORTEST  # steps to be made alone: now, and when somebody is late again

    def alone(self) -> bool:
        """Whether one thread makes the step that now comes."""
        if self.left <= 0:
            return False
        self.left -= 1
        return True

    def saw(self, late: bool) -> None:
        """What became of a step that threads made together."""
        if late:
            self.left = self.next
        self.next = min(2 * self.next, self.LONGEST) if late else max(self.next // 2, self.SHORTEST)


class NativeStep:
    """The weights of a decoder as decoder.c reads them. Holds no state of any decoding: threads may share it.

    The audio's keys and values are read as bfloat16: half of what a step reads besides weights. How many threads make a
    step changes nothing of what comes out.
    """

    def __init__(self, blocks: Sequence["DecoderBlock"], norm: Norm, vocabulary: NativeProjection, n_head: int) -> None:
        self.library: Library = vocabulary.library
        self.kept = (blocks, norm, vocabulary)  # whose memory the structures point into
        self.blocks: Array[_Block] = (_Block * len(blocks))(*map(_Block.of, blocks))
        self.norm = _Norm.of(norm)
        self.vocabulary = vocabulary.structure
        self.n_head = n_head
        self.waits = Waits()

    @classmethod
    def of(
        cls, blocks: Sequence["DecoderBlock"], norm: Norm, vocabulary: "Projection", n_head: int
    ) -> Optional["NativeStep"]:
        """The same, or None for a decoder that compiled code does not take."""
        if not isinstance(vocabulary, NativeProjection) or len(norm.weight) != n_head * HEAD:
            return None
        maps = [getattr(block, name) for block in blocks for name in _MAPS]
        return cls(blocks, norm, vocabulary, n_head) if all(isinstance(m, NativeProjection) for m in maps) else None

    def __call__(
        self, x: Tensor, positions: Sequence[int], cache: SelfCache, memories: Sequence[CrossMemory]
    ) -> Tensor:
        """The newest tokens (R, D), embedded, at their positions in the cache -> logits (R, V) float32."""
        n_rows, n_state = x.shape
        team = ONE_THREAD if self.waits.alone() else self.library.team()
        n_longest = max(max(positions) + 1, *(memory.keys.shape[2] for memory in memories))
        room_of_scores = self.library.code.viska_scores_room(c_int64(n_longest))
        sizes = (c_int64(size) for size in (n_rows, n_state, room_of_scores, team.n_threads))
        room = _room(self.library.code.viska_step_room(*sizes))
        logits = torch.empty(n_rows, self.vocabulary.shown)
        x = x.contiguous()
        heard, places = (_Memory * len(memories))(*map(_Memory.of, memories)), (c_int64 * n_rows)(*positions)
        step = _Step(
            team,
            addressof(self.blocks),
            addressof(self.norm),
            addressof(self.vocabulary),
            addressof(heard),
            addressof(places),
            *(tensor.data_ptr() for tensor in (cache.pairs, x, logits, room)),
            *(len(self.blocks), n_state, self.n_head, len(memories), n_rows),
            *(cache.pairs.shape[2], cache.pairs.shape[4], room_of_scores),
        )
        waited = self.library.code.viska_step(byref(step))
        if team.n_threads > 1:
            self.waits.saw(bool(waited))
        return logits

    def hear(self, q: Tensor, layer: int, memory: CrossMemory) -> Tensor:
        """Queries of one window's rows (R, D), scaled already, over a layer of its audio -> (R, D)."""
        q = q.contiguous()
        heard, team = torch.empty_like(q), self.library.team()
        room_of_scores = self.library.code.viska_scores_room(c_int64(memory.keys.shape[2]))
        room = _room(team.n_threads * room_of_scores)
        own = _Memory.of(memory)
        pointers = (tensor.data_ptr() for tensor in (q, heard, room))
        hearing = _Hearing(team, addressof(own), *pointers, len(q), self.n_head, layer, room_of_scores)
        self.library.code.viska_hear(byref(hearing))
        return heard


def _room(n_bytes: int) -> Tensor:
    # Tensors begin at multiples of 64 bytes.
    return torch.empty(n_bytes, dtype=torch.uint8)
