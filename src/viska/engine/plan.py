"""Which number format each part of the network runs in, on this machine."""

import logging
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from viska.compute import check_compute_type

logger = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


SHALLOW = 4
"""Blocks of an encoder (`tiny`) that stays in float32 where others become int8, as it loses too many words by that
(docs/log.md)."""


@dataclass(frozen=True)
class ComputePlan:
    """The formats of an engine: "float32", "float16", "bfloat16", or "int8" for the weights of a part.

    `attention` is the dtype of the keys and values of the audio, which decoding reads at every step.
    """

    encoder: str
    decoder: str
    attention: torch.dtype


@dataclass(frozen=True)
class Hardware:
    """What a processor computes fast: products in bfloat16 and in int8, by instructions for them or in tiles (AMX).

    `slow_mkl`: those of MKL in float32, which are torch's, are slow on it.
    """

    bfloat16: bool
    int8: bool
    bfloat16_dot_products: bool = False
    int8_dot_products: bool = False
    tiles: bool = False
    slow_mkl: bool = False

    @classmethod
    def here(cls) -> "Hardware":
        """This machine's. Asked of the capabilities, not timed, so that the same machine always answers the same."""
        # torch's own limit, which ATEN_CPU_CAPABILITY sets, holds here too.
        wide = "512" in torch.backends.cpu.get_cpu_capability() or "AMX" in torch.backends.cpu.get_cpu_capability()
        tiles = wide and torch.cpu._is_amx_tile_supported()
        bfloat16 = wide and torch.cpu._is_avx512_bf16_supported()
        return cls(
            bfloat16=tiles or bfloat16,
            int8="x86" in torch.backends.quantized.supported_engines,
            bfloat16_dot_products=bfloat16,
            int8_dot_products=wide and torch.cpu._is_vnni_supported(),
            tiles=tiles,
            slow_mkl=_made_by_amd(),
        )


@cache
def _made_by_amd() -> bool:
    """MKL uses half of what such a processor has, or less (docs/log.md)."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return "AuthenticAMD" in platform.processor()


def resolve(
    compute_type: str, device: torch.device, n_audio_layer: int, hardware: Hardware | None = None
) -> ComputePlan:
    """The plan for a compute type on a device; float32, with a log line, where the hardware is not made for it.

    "auto" takes the fastest whose word error rate stays within 0.3 points of float32's (docs/performance.md).
    Raises OptionError for an unknown compute type.
    """
    check_compute_type(compute_type)
    if device.type != "cpu":
        return _on_accelerator(compute_type, device)
    hardware = hardware or Hardware.here()
    fastest = _fastest(hardware, n_audio_layer)
    plans = {
        "float32": ComputePlan("float32", "float32", torch.float32),
        "int8": fastest,  # an encoder in bfloat16, where there is one, is as fast as one in int8 or faster
        "bfloat16": ComputePlan("bfloat16", "bfloat16", torch.bfloat16),
        "auto": fastest,
    }
    possible = {"float32": True, "auto": True, "int8": hardware.int8, "bfloat16": hardware.bfloat16}
    if not possible.get(compute_type, False):
        logger.warning("this processor is not made for %s: computing in float32", compute_type)
        return plans["float32"]
    return plans[compute_type]


def _fastest(hardware: Hardware, n_audio_layer: int) -> ComputePlan:
    """Half the bits for the encoder, bound by arithmetic; a quarter for the decoder, bound by reading."""
    decoder = "int8" if hardware.int8 else "float32"
    if hardware.bfloat16:
        return ComputePlan("bfloat16", decoder, torch.bfloat16)
    deep = n_audio_layer > SHALLOW
    return ComputePlan("int8" if hardware.int8_dot_products and deep else "float32", decoder, torch.float32)


def _on_accelerator(compute_type: str, device: torch.device) -> ComputePlan:
    name = compute_type
    if compute_type == "auto":
        name = "float16" if device.type == "cuda" else "float32"
    elif compute_type == "int8":
        logger.warning("int8 is for CPUs: computing in float16 on %s", device)
        name = "float16"
    return ComputePlan(name, name, _DTYPES[name])


def dtype_of(number_format: str) -> torch.dtype:
    """The dtype of the activations between the projections of this format."""
    return _DTYPES.get(number_format, torch.float32)
