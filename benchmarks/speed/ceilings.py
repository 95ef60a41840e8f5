"""What the machine can do at best, as far as torch reaches it: matrix products and reading memory."""

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from viska.engine.plan import Hardware

SIZE = 2048
PRODUCT = 2 * SIZE**3
REPEATS = 7
ROWS = 512
MIB = 2**20
READ_BYTES = {"32 MiB": 32 * MIB, "64 MiB": 64 * MIB, "128 MiB": 128 * MIB, "1 GiB": 1024 * MIB}
"""A step of the decoder reads tens of megabytes, which may stay in a large cache; the last is memory."""


@dataclass(frozen=True)
class Ceilings:
    """Operations a second of the largest products, and bytes a second by the size of what is read."""

    float32: float
    bfloat16: float
    int8: float
    read: dict[str, float]

    def rate(self, number_format: str) -> float:
        """Operations a second in a number format."""
        return {"float32": self.float32, "int8": self.int8}.get(number_format, self.bfloat16)

    def read_rate(self, n_bytes: float) -> float:
        """Bytes a second, when so many are read again and again."""
        name = next((name for name, size in READ_BYTES.items() if n_bytes <= size), "1 GiB")
        return self.read[name]

    @property
    def memory(self) -> float:
        """Bytes a second of what is too much for any cache."""
        return self.read["1 GiB"]

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median time of some work that was done twice before."""
    work(), work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def fastest(work: Callable[[], object]) -> float:
    """The shortest time of some work: of a ceiling, the slower times are the neighbours'."""
    work(), work()
    return min(seconds(work, repeats=1) for _ in range(REPEATS))


def measure() -> Ceilings:
    """This machine's, with the threads that torch is set to."""
    rates = {dtype: PRODUCT / fastest(product(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    read = {name: size / fastest(_read(size)) for name, size in READ_BYTES.items()}
    return Ceilings(rates[torch.float32], rates[torch.bfloat16], PRODUCT / _int8_seconds(), read)


def product(dtype: torch.dtype) -> Callable[[], Tensor]:
    """The largest product of all, of `PRODUCT` operations, by torch or by oneDNN, as the engine has it."""
    a, b = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    if dtype == torch.float32 and Hardware.here().slow_mkl:
        return lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return lambda: a @ b


def _read(size: int) -> Callable[[], Tensor]:
    """A matrix times a vector reads the matrix once; with few long rows this is faster than any sum."""
    matrix = torch.randn(ROWS, size // 4 // ROWS)
    vector = torch.randn(matrix.shape[1])
    return lambda: matrix @ vector


def _int8_seconds() -> float:
    """The faster of oneDNN and FBGEMM, from bytes to float32."""
    weight = torch.randint(-127, 128, (SIZE, SIZE), dtype=torch.int8)
    scale, zero_points = torch.ones(SIZE), torch.zeros(SIZE, dtype=torch.int32)
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    x = torch.randint(1, 256, (SIZE, SIZE), dtype=torch.uint8)  # of signed ones only AMX knows fast products

    def onednn() -> Any:
        more: tuple[Any, ...] = (scale, zero_points, None, 1.0, 0, torch.float32, "none", [], "")
        return torch.ops.onednn.qlinear_pointwise(x, 1.0, 128, packed, *more)

    warnings.filterwarnings("ignore", message="torch.quantize_per")
    quantized = torch._make_per_channel_quantized_tensor(weight, scale.double(), zero_points.long(), 0)
    fbgemm_packed = torch.ops.quantized.linear_prepack(quantized, None)
    rows = (x.float() - 128) / 127

    def fbgemm() -> Any:
        return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(rows, 1 / 127, 128, fbgemm_packed)

    return min(fastest(onednn), fastest(fbgemm))
