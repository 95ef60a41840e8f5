"""Any readable model to a folder in Hugging Face's layout, which its tools read too, unless it is in int8."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from viska.errors import OptionError, OutputError
from viska.languages import LANGUAGES
from viska.model import ModelDimensions
from viska.quantization import quantize_rows
from viska.weights.checkpoint import Checkpoint
from viska.weights.huggingface import CONFIG_FIELDS, PREFIX, WEIGHTS
from viska.weights.int8 import QUANTIZATION, is_quantised, scale_name
from viska.weights.load import Located, alignment_heads, locate, read_checkpoint
from viska.weights.mapping import huggingface_names
from viska.weights.registry import ENGLISH_VOCAB, V3_VOCAB, Heads

TOKENIZER_FILES = (
    *("tokenizer.json", "added_tokens.json", "vocab.json", "merges.txt", "normalizer.json"),
    *("special_tokens_map.json", "tokenizer_config.json", "preprocessor_config.json"),
)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STORED = (*DTYPES, "int8")
"""What weights may be stored as."""


def convert_model(
    src: str | Path,
    dst: str | Path,
    *,
    dtype: str | None = None,
    download_root: str | Path | None = None,
    offline: bool | None = None,
) -> Path:
    """Write the model `src` (a name or path, as for `load_model`) as a new folder `dst`, and return its path.

    The folder gets model.safetensors, config.json, generation_config.json with the alignment heads, and the tokenizer's
    files of the source where it has them. `dtype` is "float32", "float16" or "bfloat16"; None keeps that of the source.
    "int8" stores the weights of linear maps in a byte each (docs/models.md), a form that only Viska reads. `offline` is
    that of `load_model`.

    Raises OutputError when `dst` exists or cannot be written, OptionError for an unknown dtype, and what `load_model`
    raises.
    """
    if dtype is not None and dtype not in STORED:
        raise OptionError(f"dtype {dtype!r} is not known; accepted are {', '.join(STORED)}")
    target = Path(dst).expanduser()
    if target.exists():
        raise OutputError(f"{target} exists, and is not overwritten; give a new folder")
    located = locate(src, download_root, offline=offline)
    checkpoint = read_checkpoint(located.path)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        _write(checkpoint, located, partial, dtype or ("int8" if checkpoint.int8 else None))
        partial.rename(target)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _write(checkpoint: Checkpoint, located: Located, folder: Path, dtype: str | None) -> None:
    names, dims = huggingface_names(checkpoint.dims), checkpoint.dims
    tensors: dict[str, Tensor] = {}
    for name in list(checkpoint.state):
        tensor, stored = checkpoint.state.pop(name).detach(), PREFIX + names[name]
        if dtype == "int8" and is_quantised(name, tuple(tensor.shape)):
            tensors[stored], tensors[scale_name(stored)] = quantize_rows(tensor)
        else:
            tensors[stored] = tensor.to(DTYPES.get(dtype or "", tensor.dtype)).contiguous()
    floating = str(tensors[f"{PREFIX}decoder.embed_positions.weight"].dtype).removeprefix("torch.")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    standard_vocabulary = dims.n_vocab - len(checkpoint.added_tokens)
    ids = _token_ids(standard_vocabulary)
    config = _config(dims, ids, floating)
    _write_json(folder / "config.json", config | ({"quantization_config": QUANTIZATION} if dtype == "int8" else {}))
    # safetensors makes files for their owner alone; a service runs as somebody else than who converts a model.
    (folder / WEIGHTS).chmod((folder / "config.json").stat().st_mode)
    heads = alignment_heads(located, checkpoint)
    _write_json(folder / "generation_config.json", _generation_config(standard_vocabulary, ids, heads))
    source = located.path if located.path.is_dir() else located.path.parent
    for name in TOKENIZER_FILES:
        if (source / name).is_file() and located.path.suffix != ".pt":
            shutil.copyfile(source / name, folder / name)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _token_ids(n_vocab: int) -> dict[str, int]:
    """Ids of the special tokens of the vocabulary of that size."""
    eot = 50256 if n_vocab <= ENGLISH_VOCAB else 50257
    translate = eot + 2 + (100 if n_vocab == V3_VOCAB else 99)
    names = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    return {"eot": eot, "sot": eot + 1} | {name: translate + i for i, name in enumerate(names)}


def _config(dims: ModelDimensions, ids: dict[str, int], dtype: str) -> dict[str, Any]:
    width = dims.n_audio_state
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "is_encoder_decoder": True,
        **{name: getattr(dims, field) for field, name in CONFIG_FIELDS.items()},
        "num_hidden_layers": dims.n_audio_layer,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
        "activation_function": "gelu",
        "scale_embedding": False,
        "decoder_start_token_id": ids["sot"],
        "bos_token_id": ids["eot"],
        "eos_token_id": ids["eot"],
        "pad_token_id": ids["eot"],
        "torch_dtype": dtype,
    }


def _generation_config(n_vocab: int, ids: dict[str, int], heads: Heads | None) -> dict[str, Any]:
    config: dict[str, Any] = {
        "decoder_start_token_id": ids["sot"],
        "bos_token_id": ids["eot"],
        "eos_token_id": ids["eot"],
        "pad_token_id": ids["eot"],
        "prev_sot_token_id": ids["startofprev"],
        "no_timestamps_token_id": ids["notimestamps"],
        "begin_suppress_tokens": [220, ids["eot"]],
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "is_multilingual": n_vocab > ENGLISH_VOCAB,
        "return_timestamps": False,
    }
    if n_vocab > ENGLISH_VOCAB:
        codes = list(LANGUAGES)[: 100 if n_vocab == V3_VOCAB else 99]
        config["lang_to_id"] = {f"<|{code}|>": ids["sot"] + 1 + i for i, code in enumerate(codes)}
        config["task_to_id"] = {"transcribe": ids["transcribe"], "translate": ids["translate"]}
    if heads:
        config["alignment_heads"] = [list(pair) for pair in heads]
    return config
