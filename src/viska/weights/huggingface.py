"""Hugging Face's folders: `model.safetensors`, or shards with an index, beside `config.json`."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
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
from viska.weights.int8 import dequantised, is_int8, is_quantised, scale_name
from viska.weights.mapping import huggingface_names, tensor_shapes
from viska.weights.vocabulary import read_added_tokens

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
LONGEST_NAME = 255  # bytes, on the file systems that there are
PREFIX = "model."
PROJECTION, EMBEDDINGS = "proj_out.weight", "decoder.embed_tokens.weight"

CONFIG_FIELDS = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
"""Field of ModelDimensions -> field of config.json."""

_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "I8": "int8"}


def read_huggingface(folder: Path, weights: Path | None = None, *, in_memory: bool = False) -> Checkpoint:
    """A model in Hugging Face's layout; `weights` names one safetensors file where it has an unusual name."""
    config_path = folder / "config.json"
    config = read_json(config_path)
    dims = _dimensions(config, config_path)
    generation_path = folder / "generation_config.json"
    generation = read_json(generation_path) if generation_path.is_file() else {}
    files = [weights] if weights is not None else _weight_files(folder)
    origin = str(files[0] if len(files) == 1 else folder)
    with ExitStack() as stack:
        tensors = _Tensors(files, stack, in_memory=in_memory)
        check_dimensions(str(config_path), dims, len(tensors.facts))
        state = _read_int8(tensors, dims, origin) if is_int8(config) else _read_state(tensors, dims, origin)
    heads = read_alignment_heads(generation, generation_path) or read_alignment_heads(config, config_path)
    added_tokens = read_added_tokens(folder, dims, generation | config)
    return Checkpoint(dims, state, heads, added_tokens, int8=is_int8(config))


class _Tensors:
    """The tensors of one or more safetensors files; views of the mapped files, read on demand."""

    def __init__(self, files: list[Path], stack: ExitStack, *, in_memory: bool) -> None:
        self.facts: dict[str, TensorFacts] = {}
        self._readers: dict[str, Any] = {}
        self._loaded: dict[str, Tensor] = {}
        for file in files:
            try:
                reader = stack.enter_context(safe_open(file, framework="pt"))
                if in_memory:
                    self._loaded.update(load_bytes(file.read_bytes()))
            except SafetensorError as error:
                raise CheckpointError(f"{file} is not a whole safetensors file ({error}); fetch it again") from error
            except OSError as error:
                raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from error
            for name in reader.keys():  # noqa: SIM118  # not a dict
                self._add(name, reader, file)

    def _add(self, name: str, reader: Any, file: Path) -> None:
        bare = name.removeprefix(PREFIX)
        if bare in self.facts:
            raise CheckpointError(f"{file}: tensor {bare} is there twice")
        view = reader.get_slice(name)
        dtype = view.get_dtype()
        self.facts[bare] = TensorFacts(tuple(view.get_shape()), _DTYPES.get(dtype, dtype))
        self._readers[bare] = (reader, name)

    def read(self, name: str) -> Tensor:
        reader, stored = self._readers[name]
        tensor: Tensor = self._loaded[stored] if stored in self._loaded else reader.get_tensor(stored)
        return tensor


def _read_state(tensors: _Tensors, dims: ModelDimensions, origin: str) -> dict[str, Tensor]:
    shapes, names = tensor_shapes(dims), huggingface_names(dims)
    found = dict(tensors.facts)
    projection = found.pop(PROJECTION, None)
    check_tensors(origin, {names[name]: shape for name, shape in shapes.items()}, found)
    if projection is not None and (
        projection != found[EMBEDDINGS] or not torch.equal(tensors.read(PROJECTION), tensors.read(EMBEDDINGS))
    ):
        raise CheckpointError(
            f"{origin}: {PROJECTION} differs from {EMBEDDINGS}; Whisper's output projection is its token embedding"
        )
    return {name: tensors.read(stored) for name, stored in names.items()}


def _read_int8(tensors: _Tensors, dims: ModelDimensions, origin: str) -> dict[str, Tensor]:
    shapes, names = tensor_shapes(dims), huggingface_names(dims)
    quantised = {name: shape for name, shape in shapes.items() if is_quantised(name, shape)}
    integers = {names[name]: shape for name, shape in quantised.items()}
    others = {names[name]: shape for name, shape in shapes.items() if name not in quantised}
    others |= {scale_name(names[name]): shape[:1] for name, shape in quantised.items()}
    found = tensors.facts
    check_tensors(origin, others, {name: facts for name, facts in found.items() if name not in integers})
    check_tensors(
        origin, integers, {name: facts for name, facts in found.items() if name in integers}, frozenset({"int8"})
    )
    return {
        name: dequantised(origin, stored, tensors.read(stored), tensors.read(scale_name(stored)))
        if name in quantised
        else tensors.read(stored)
        for name, stored in names.items()
    }


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(f"{index}: weight_map must name the file of every tensor")
    names = sorted({str(name) for name in shards.values()})
    present = {path.name for path in folder.iterdir() if path.is_file()}  # to ask for a name that is too long fails
    for name in names:
        if Path(name).name != name or "\\" in name:
            raise CheckpointError(f"{index}: {short_repr(name)} must be the name of a file in the same folder")
        if name not in present:
            raise CheckpointError(f"{folder} lacks {name[:LONGEST_NAME]}, which {INDEX} names; fetch the model again")
    return [folder / name for name in names]


def _dimensions(config: Mapping[str, Any], path: Path) -> ModelDimensions:
    missing = sorted(set(CONFIG_FIELDS.values()) - config.keys())
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; it is not the config of a Whisper model")
    dims = ModelDimensions(**{field: config[name] for field, name in CONFIG_FIELDS.items()})
    required = {
        "model_type": "whisper",
        "activation_function": "gelu",
        "scale_embedding": False,
    }
    if isinstance(dims.n_audio_state, int):
        required |= {"encoder_ffn_dim": 4 * dims.n_audio_state, "decoder_ffn_dim": 4 * dims.n_audio_state}
    for name, value in required.items():
        if config.get(name, value) != value:
            raise CheckpointError(f"{path}: {name} is {short_repr(config[name])}; Whisper has {value!r}")
    return dims
