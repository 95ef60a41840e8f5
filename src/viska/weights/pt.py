"""OpenAI's `.pt` files: a dict of `dims` and `model_state_dict`, read without running any code in them."""

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from viska.errors import CheckpointError
from viska.model import ModelDimensions
from viska.weights.checkpoint import Checkpoint, TensorFacts, check_dimensions, check_tensors
from viska.weights.mapping import tensor_shapes
from viska.weights.vocabulary import read_added_tokens

DIMENSIONS = tuple(field.name for field in fields(ModelDimensions))


def read_pt(path: Path, *, in_memory: bool = False) -> Checkpoint:
    """A checkpoint in OpenAI's format; mapped from the disk unless `in_memory`, or in torch's oldest file format."""
    try:
        size = path.stat().st_size
        if in_memory:
            content = _load(io.BytesIO(path.read_bytes()), path, mapped=False)
        else:
            with path.open("rb") as file:
                mapped = _is_plain_zip(file, path)
            content = _load(path, path, mapped=mapped)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    dims, state = _parts(content, path)
    _check(str(path), dims, state, size)
    return Checkpoint(dims, state, added_tokens=read_added_tokens(None, dims, {}))


def _is_plain_zip(file: BinaryIO, path: Path) -> bool:
    """Whether this is torch's zip format; its members must be stored as they are, never compressed."""
    try:
        if not zipfile.is_zipfile(file):
            return False
        with zipfile.ZipFile(file) as archive:
            packed = [info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:  # OSError: an impossible offset
        raise CheckpointError(f"{path} is damaged: {error}; fetch it again") from error
    if packed:
        raise CheckpointError(f"{path}: {packed[0]} is compressed inside the file, which torch never does; refused")
    return True


def _load(source: Path | BinaryIO, path: Path, *, mapped: bool) -> Any:
    if isinstance(source, io.BytesIO):
        _is_plain_zip(source, path)
        source.seek(0)
    try:
        # Only an absent `mmap` is right for the oldest format and for memory.
        return torch.load(source, map_location="cpu", weights_only=True, **({"mmap": True} if mapped else {}))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a plain checkpoint: {_first_line(error)}; it may hold code, which is never run. Convert it "
            "where it was made, to safetensors or to a dict of dims and model_state_dict"
        ) from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # to hostile bytes torch's unpickler answers with whatever Python happens to raise
        raise CheckpointError(
            f"{path} is no checkpoint that torch wrote, or a damaged one: give a model's file, or fetch it again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _parts(content: Any, path: Path) -> tuple[ModelDimensions, dict[str, Tensor]]:
    if not isinstance(content, Mapping) or not {"dims", "model_state_dict"} <= content.keys():
        # Names alone: a hostile key may be small in the file and endless as text.
        names = sorted(key for key in content if isinstance(key, str)) if isinstance(content, Mapping) else []
        found = names[:5] or type(content).__name__
        raise CheckpointError(f"{path} holds {found}, expected a dict with dims and model_state_dict")
    raw, state = content["dims"], content["model_state_dict"]
    if not isinstance(raw, Mapping) or set(raw) != set(DIMENSIONS):
        raise CheckpointError(f"{path}: dims must have exactly the fields {', '.join(DIMENSIONS)}")
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise CheckpointError(f"{path}: model_state_dict must map names to tensors")
    return ModelDimensions(**raw), dict(state)


def _check(origin: str, dims: ModelDimensions, state: Mapping[str, Tensor], size: int) -> None:
    check_dimensions(origin, dims, len(state))
    found = {
        name: TensorFacts(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in state.items()
    }
    check_tensors(origin, tensor_shapes(dims), found)
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise CheckpointError(f"{origin}: tensor {name} is not a plain tensor")
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > size:  # a few bytes repeated to fill a large shape
        raise CheckpointError(f"{origin}: the tensors claim {claimed} bytes, the file has {size}")
