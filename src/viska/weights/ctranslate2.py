"""CTranslate2's `model.bin`, as faster-whisper uses it: little-endian, version 6, specification WhisperSpec 3.

    u32 version, string spec, u32 revision,
    u32 count, count x (string name, u8 rank, rank x u32 dims, u8 dtype, u32 bytes, data),
    u32 count, count x (string alias, string name)

A string is a u16 length that counts a final NUL, then the bytes. The file ends there.
Integer weights are w = q / scale, with a scale a row (int8) or one for all (int16) in `weight_scale`.
"""

import io
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from viska.errors import CheckpointError
from viska.model import ModelDimensions
from viska.weights.checkpoint import (
    Checkpoint,
    TensorFacts,
    check_dimensions,
    check_tensors,
    read_alignment_heads,
    read_json,
)
from viska.weights.mapping import Part, Shape, ctranslate2_parts, tensor_shapes
from viska.weights.vocabulary import read_added_tokens

VERSION, SPEC, REVISION = 6, "WhisperSpec", 3
DTYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
ACCEPTED_DTYPES = frozenset({"float32", "float16", "bfloat16", "int8", "int16"})
MAX_RANK = 4
MAX_ENTRIES = 1 << 16  # an entry takes a few bytes of the file and hundreds of memory; large-v3 has some 2,000
HEAD_WIDTH = 64  # of every Whisper model; older files do not store the number of heads
PROJECTION, EMBEDDINGS = "decoder/projection", "decoder/embeddings"


@dataclass(frozen=True)
class Variable:
    """One stored tensor: what the header says, and where its bytes begin."""

    name: str
    shape: Shape
    dtype: torch.dtype
    offset: int


class ModelFile:
    """The variables of one `model.bin`, aliases resolved; data is read on demand."""

    def __init__(self, file: BinaryIO, origin: str) -> None:
        self.origin = origin
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.variables = self._read_header()

    def facts(self) -> dict[str, TensorFacts]:
        """Shape and dtype of every tensor; scalars are settings and are left out."""
        return {name: _facts(variable) for name, variable in self.variables.items() if variable.shape}

    def scalar(self, name: str) -> int | None:
        """An integer setting, None where the file has none."""
        variable = self.variables.get(name)
        if variable is None or variable.shape or variable.dtype.is_floating_point:
            return None
        return int(self.read(variable).item())

    def read(self, variable: Variable, start: int = 0, stop: int | None = None) -> Tensor:
        """The variable in its own dtype and memory, or its rows from `start` to before `stop`."""
        shape = variable.shape
        if stop is not None:
            shape = (stop - start, *shape[1:])
        row_bytes = math.prod(variable.shape[1:]) * variable.dtype.itemsize
        data = np.empty(math.prod(shape) * variable.dtype.itemsize, np.uint8)
        self._file.seek(variable.offset + start * row_bytes)
        if self._file.readinto(data) != len(data):  # type: ignore[attr-defined]  # every binary file has it
            raise CheckpointError(f"{self.origin}: the file became shorter while it was read")
        return torch.from_numpy(data).view(variable.dtype).reshape(shape)

    def _read_header(self) -> dict[str, Variable]:
        version = self._number("I")
        if version != VERSION:
            raise CheckpointError(
                f"{self.origin}: version {version} is not that of a CTranslate2 model ({VERSION}); "
                "expected a model.bin as faster-whisper uses it"
            )
        spec, revision = self._string(), self._number("I")
        if (spec, revision) != (SPEC, REVISION):
            raise CheckpointError(f"{self.origin}: holds {spec} revision {revision}, expected {SPEC} {REVISION}")
        variables: dict[str, Variable] = {}
        for _ in range(self._count("tensors")):
            variable = self._variable()
            self._refuse_duplicate(variable.name, variables)
            variables[variable.name] = variable
        stored = dict(variables)
        for _ in range(self._count("aliases")):
            alias, target = self._string(), self._string()
            self._refuse_duplicate(alias, variables)
            if target not in stored:
                raise CheckpointError(f"{self.origin}: alias {alias} points to {target}, which is not in the file")
            variables[alias] = stored[target]
        trailing = self._size - self._file.tell()
        if trailing:
            raise CheckpointError(f"{self.origin}: {trailing} bytes follow the end of the model; the file is damaged")
        return variables

    def _variable(self) -> Variable:
        name = self._string()
        rank = self._number("B")
        if rank > MAX_RANK:
            raise CheckpointError(f"{self.origin}: tensor {name} has {rank} axes, at most {MAX_RANK} are accepted")
        shape = tuple(self._number("I") for _ in range(rank))
        type_id, n_bytes = self._number("B"), self._number("I")
        if type_id >= len(DTYPES):
            raise CheckpointError(f"{self.origin}: tensor {name} has the unknown dtype number {type_id}")
        dtype = DTYPES[type_id]
        if n_bytes != math.prod(shape) * dtype.itemsize:
            raise CheckpointError(
                f"{self.origin}: tensor {name} of shape {shape} and {_dtype_name(dtype)} cannot have {n_bytes} bytes"
            )
        offset = self._file.tell()
        self._require(n_bytes, f"tensor {name}")
        self._file.seek(n_bytes, io.SEEK_CUR)
        return Variable(name, shape, dtype, offset)

    def _number(self, code: str) -> int:
        size = struct.calcsize(f"<{code}")
        self._require(size, "a number")
        return int(struct.unpack(f"<{code}", self._file.read(size))[0])

    def _count(self, what: str) -> int:
        count = self._number("I")
        if count > MAX_ENTRIES:
            raise CheckpointError(f"{self.origin}: claims {count} {what}, at most {MAX_ENTRIES} are accepted")
        return count

    def _string(self) -> str:
        length = self._number("H")
        self._require(length, "a name")
        data = self._file.read(length)
        try:
            if data[-1:] != b"\0" or b"\0" in data[:-1]:
                raise ValueError("no final NUL")
            return data[:-1].decode()
        except ValueError as error:
            raise CheckpointError(
                f"{self.origin}: a name at byte {self._file.tell() - length} is not a text that ends with NUL; "
                "the file is damaged or not a CTranslate2 model"
            ) from error

    def _require(self, n_bytes: int, what: str) -> None:
        left = self._size - self._file.tell()
        if n_bytes > left:
            raise CheckpointError(
                f"{self.origin}: truncated: {what} needs {n_bytes} bytes and {left} are left; fetch the file again"
            )

    def _refuse_duplicate(self, name: str, variables: Mapping[str, Variable]) -> None:
        if name in variables:
            raise CheckpointError(f"{self.origin}: tensor {name} is there twice")


def read_ctranslate2(folder: Path, weights: Path | None = None, *, in_memory: bool = False) -> Checkpoint:
    """A CTranslate2 model from its folder: `model.bin`, `config.json` and, for added tokens, `tokenizer.json`."""
    weights = weights or folder / "model.bin"
    config = read_json(folder / "config.json")
    try:
        with weights.open("rb") as file:
            source: BinaryIO = io.BytesIO(file.read()) if in_memory else file
            model = ModelFile(source, str(weights))
            dims = _dimensions(model)
            state = _read_state(model, dims)
    except OSError as error:
        raise CheckpointError(f"{weights} cannot be read: {error.strerror}") from error
    heads = read_alignment_heads(config, folder / "config.json")
    return Checkpoint(dims, state, heads, read_added_tokens(folder, dims, config))


def _dimensions(model: ModelFile) -> ModelDimensions:
    variables = model.variables
    n_audio_ctx, width = _shape(model, "encoder/position_encodings/encodings", 2)
    n_text_ctx, text_width = _shape(model, "decoder/position_encodings/encodings", 2)
    n_vocab, _ = _shape(model, f"{EMBEDDINGS}/weight", 2)
    _, n_mels, _ = _shape(model, "encoder/conv1/weight", 3)
    dims = ModelDimensions(
        n_mels=n_mels,
        n_audio_ctx=n_audio_ctx,
        n_audio_state=width,
        n_audio_head=_n_heads(model, "encoder", width),
        n_audio_layer=_n_layers(variables, "encoder"),
        n_vocab=n_vocab,
        n_text_ctx=n_text_ctx,
        n_text_state=text_width,
        n_text_head=_n_heads(model, "decoder", text_width),
        n_text_layer=_n_layers(variables, "decoder"),
    )
    check_dimensions(model.origin, dims, len(variables))
    return dims


def _shape(model: ModelFile, name: str, rank: int) -> Shape:
    variable = model.variables.get(name)
    if variable is None:
        raise CheckpointError(f"{model.origin}: tensor {name} is missing; the file is not a whole Whisper model")
    if len(variable.shape) != rank:
        raise CheckpointError(f"{model.origin}: tensor {name} has shape {variable.shape}, expected {rank} axes")
    return variable.shape


def _n_heads(model: ModelFile, side: str, width: int) -> int:
    stored = model.scalar(f"{side}/num_heads")
    return max(width // HEAD_WIDTH, 1) if stored is None else stored


def _n_layers(variables: Mapping[str, Variable], side: str) -> int:
    layers = {match[1] for name in variables if (match := re.match(rf"{side}/layer_(\d+)/", name))}
    return len(layers)


def _read_state(model: ModelFile, dims: ModelDimensions) -> dict[str, Tensor]:
    shapes, parts = tensor_shapes(dims), ctranslate2_parts(dims)
    expected = {part.variable: (shapes[name][0] * part.count, *shapes[name][1:]) for name, part in parts.items()}
    found = model.facts()
    _check_projection(model, found)
    scales = {name: facts for name, facts in found.items() if name.endswith("/weight_scale")}
    check_tensors(model.origin, expected, {n: f for n, f in found.items() if n not in scales}, ACCEPTED_DTYPES)
    _check_scales(model, expected, scales)
    _check_key_biases(model, parts)
    return {name: _read_part(model, part) for name, part in parts.items()}


def _check_projection(model: ModelFile, found: dict[str, TensorFacts]) -> None:
    """The output projection must be the embedding; takes its entries out of `found`."""
    for suffix in ("weight", "weight_scale"):
        facts = found.pop(f"{PROJECTION}/{suffix}", None)
        if facts is None:
            continue
        own, tied = model.variables[f"{PROJECTION}/{suffix}"], model.variables.get(f"{EMBEDDINGS}/{suffix}")
        if own is tied:
            continue
        if tied is None or facts != _facts(tied) or not torch.equal(model.read(own), model.read(tied)):
            raise CheckpointError(
                f"{model.origin}: {PROJECTION}/{suffix} differs from {EMBEDDINGS}/{suffix}; "
                "Whisper's output projection is its token embedding"
            )


def _check_scales(model: ModelFile, expected: Mapping[str, Shape], scales: Mapping[str, TensorFacts]) -> None:
    """Integer weights need a scale, floating ones must have none; int8 scales have one value a row."""
    for name, shape in expected.items():
        variable = model.variables[name]  # its own name differs where `name` is an alias
        scale = model.variables.get(f"{variable.name}_scale")
        if variable.dtype.is_floating_point:
            if scale is not None:
                raise CheckpointError(f"{model.origin}: tensor {name} is not quantised, but has a scale")
            continue
        if scale is None:
            raise CheckpointError(f"{model.origin}: tensor {name} is {_dtype_name(variable.dtype)} without a scale")
        if scale.shape not in ((), shape[:1]) or not scale.dtype.is_floating_point:
            raise CheckpointError(
                f"{model.origin}: scale {scale.name} has shape {scale.shape} and dtype {_dtype_name(scale.dtype)}, "
                f"expected floating numbers of shape {shape[:1]}, or one for all"
            )
        if not bool((model.read(scale).float() > 0).all()):
            raise CheckpointError(f"{model.origin}: scale {scale.name} holds values that are not above zero")
    orphans = sorted(name for name in scales if name.removesuffix("_scale") not in expected)
    if orphans:
        raise CheckpointError(f"{model.origin}: scale {orphans[0]} belongs to no weight")


def _check_key_biases(model: ModelFile, parts: Mapping[str, Part]) -> None:
    """Keys have no bias in Whisper: where one is stacked with those of query and value, it must be zero."""
    for name, part in parts.items():
        if not name.endswith(".key.weight"):
            continue
        bias = model.variables[part.variable.removesuffix("weight") + "bias"]
        rows = bias.shape[0] // part.count
        if model.read(bias, part.index * rows, (part.index + 1) * rows).any():
            raise CheckpointError(f"{model.origin}: {bias.name} has a bias for the keys, which Whisper has not")


def _read_part(model: ModelFile, part: Part) -> Tensor:
    variable = model.variables[part.variable]
    rows = variable.shape[0] // part.count
    start, stop = part.index * rows, (part.index + 1) * rows
    values = model.read(variable, start, stop)
    if variable.dtype.is_floating_point:
        return values
    scale = model.variables[f"{variable.name}_scale"]
    factors = model.read(scale, start, stop) if scale.shape else model.read(scale)
    return values.float() / factors.float().reshape(-1, *[1] * (values.ndim - 1))


def _facts(variable: Variable) -> TensorFacts:
    return TensorFacts(variable.shape, _dtype_name(variable.dtype))


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
