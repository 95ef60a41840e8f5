"""Viska's own int8 form of Hugging Face's layout, a quarter of the size: see docs/models.md.

The weights of linear maps and the token embeddings are int8, (out, in), with one scale a row beside them; everything
else is as it was. `config.json` says so. Read, they are float32 again, and quantise to the same integers.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from viska.errors import CheckpointError
from viska.quantization import dequantize_rows
from viska.weights.mapping import Shape

METHOD = "viska_int8"
QUANTIZATION = {"quant_method": METHOD, "bits": 8}
"""What config.json has as `quantization_config`; other programs refuse a method that they do not know."""


def is_int8(config: Mapping[str, Any]) -> bool:
    """Whether a config.json says that the weights beside it are in this form."""
    quantization = config.get("quantization_config")
    return isinstance(quantization, dict) and quantization.get("quant_method") == METHOD


def is_quantised(name: str, shape: Shape) -> bool:
    """Whether the tensor of this name, in OpenAI's names, is stored as int8."""
    return len(shape) == 2 and name.endswith(".weight")


def scale_name(name: str) -> str:
    """Where the scales of a tensor are."""
    return f"{name}_scale"


def dequantised(origin: str, name: str, weight: Tensor, scale: Tensor) -> Tensor:
    """The weights (out, in) float32. Raises CheckpointError for scales that are no positive numbers."""
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise CheckpointError(f"{origin}: {scale_name(name)} holds values that are not above zero; fetch it again")
    return dequantize_rows(weight, scale)
