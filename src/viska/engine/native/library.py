"""The compiled code, and the threads that it computes with."""

import ctypes
import logging
from ctypes import CDLL, Structure, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from viska.engine.native.sources import digest
from viska.engine.plan import Hardware

logger = logging.getLogger(__name__)

HEAD = 64
"""Channels of a head, in every official model; others are left to torch."""


class Team(Structure):
    """The threads of a call: those of torch's own OpenMP, so that there are no more of them than processors."""

    _fields_ = (("parallel", c_void_p), ("thread", c_void_p), ("size", c_void_p), ("n_threads", c_int64))


ONE_THREAD = Team(None, None, None, 1)


@dataclass(frozen=True)
class Library:
    """The code for this processor. `unsigned` tells whether its products of int8 take activations offset by 128, and
    `bfloat16` whether it has any of bfloat16."""

    code: CDLL
    unsigned: bool
    bfloat16: bool
    openmp: tuple[int, int, int] | None

    def team(self) -> Team:
        """As many threads as torch computes with in this thread; one where torch has no OpenMP."""
        n_threads = torch.get_num_threads()
        if self.openmp is None or n_threads == 1:
            return ONE_THREAD
        return Team(*self.openmp, n_threads)


def library() -> Library | None:
    """What was built for this processor, if anything was; torch's own limit, ATEN_CPU_CAPABILITY, holds here too."""
    hardware = Hardware.here()
    if not hardware.int8 or torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        return None
    wide = "avx512bf16" if hardware.bfloat16_dot_products else "avx512"
    return _loaded(wide if hardware.int8_dot_products else "avx2")


@cache
def _loaded(instructions: str) -> Library | None:
    path = Path(__file__).with_name(f"kernels-{instructions}.so")
    try:
        code = CDLL(str(path))
    except OSError as error:
        logger.info("no compiled code (%s): computing with torch", error)
        return None
    if _sources(code) != digest():
        logger.warning("%s was built from other sources: computing with torch. Install Viska again.", path.name)
        return None
    for name in ("viska_step_room", "viska_scores_room", "viska_attend_scores"):
        getattr(code, name).restype = c_int64
    for name in ("viska_linear", "viska_hear", "viska_attend"):
        getattr(code, name).restype = None
    return Library(code, instructions != "avx2", instructions == "avx512bf16", _openmp())


def _sources(code: CDLL) -> str:
    """The digest of what code was built from. Structures of other sources may have other fields."""
    try:
        return (ctypes.c_char * 64).in_dll(code, "viska_sources").value.decode()
    except ValueError:  # no such symbol
        return ""


def _openmp() -> tuple[int, int, int] | None:
    """The addresses of what starts threads, numbers and counts them, in the OpenMP that torch itself computes with."""
    try:
        # Looked up among what torch depends on, whatever file that is in.
        torch_library = CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
        parallel, thread, size = (ctypes.cast(getattr(torch_library, name), c_void_p).value for name in names)
    except (OSError, AttributeError) as error:
        logger.info("torch computes without OpenMP (%s): one thread for the decoder", error)
        return None
    return parallel or 0, thread or 0, size or 0
