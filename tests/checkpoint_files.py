"""Made-up checkpoints in the three formats, written by their own rules and not by the tables of `viska.weights`."""

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from viska.model import ModelDimensions, Whisper

SMALL = ModelDimensions(
    n_mels=8,
    n_audio_ctx=12,
    n_audio_state=8,
    n_audio_head=2,
    n_audio_layer=2,
    n_vocab=20,
    n_text_ctx=10,
    n_text_state=8,
    n_text_head=2,
    n_text_layer=3,
)

CT2_DTYPES = {
    torch.float32: 0,
    torch.int8: 1,
    torch.int16: 2,
    torch.int32: 3,
    torch.float16: 4,
    torch.bfloat16: 5,
}


def made_up_state(
    dims: ModelDimensions = SMALL, seed: int = 0, dtype: torch.dtype = torch.float16
) -> dict[str, Tensor]:
    """Random weights in OpenAI's names, small enough for the activations of a deep model to stay in range."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Whisper(dims).state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    return {name: (torch.randn(shape, generator=generator) * 0.05).to(dtype) for name, shape in shapes.items()}


def write_pt(path: Path, dims: ModelDimensions = SMALL, state: dict[str, Tensor] | None = None) -> Path:
    state = made_up_state(dims) if state is None else state
    torch.save({"dims": asdict(dims), "model_state_dict": state}, path)
    return path


# Hugging Face -------------------------------------------------------------------------------------------------------

HF_RENAMES = (
    ("positional_embedding", "embed_positions.weight"),
    ("token_embedding", "embed_tokens"),
    ("blocks", "layers"),
    ("cross_attn_ln", "encoder_attn_layer_norm"),
    (".attn_ln", ".self_attn_layer_norm"),
    ("mlp_ln", "final_layer_norm"),
    ("mlp.0", "fc1"),
    ("mlp.2", "fc2"),
    ("cross_attn.", "encoder_attn."),
    (".attn.", ".self_attn."),
    (".query", ".q_proj"),
    (".key", ".k_proj"),
    (".value", ".v_proj"),
    ("_attn.out", "_attn.out_proj"),
    ("ln_post", "layer_norm"),
    ("decoder.ln.", "decoder.layer_norm."),
)


def huggingface_state(state: dict[str, Tensor], prefix: str = "model.") -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        for old, new in HF_RENAMES:
            name = name.replace(old, new)
        renamed[prefix + name] = tensor
    return renamed


def huggingface_config(dims: ModelDimensions = SMALL, **changes: Any) -> dict[str, Any]:
    config = {
        "model_type": "whisper",
        "d_model": dims.n_audio_state,
        "encoder_layers": dims.n_audio_layer,
        "encoder_attention_heads": dims.n_audio_head,
        "encoder_ffn_dim": 4 * dims.n_audio_state,
        "decoder_layers": dims.n_text_layer,
        "decoder_attention_heads": dims.n_text_head,
        "decoder_ffn_dim": 4 * dims.n_text_state,
        "num_mel_bins": dims.n_mels,
        "vocab_size": dims.n_vocab,
        "max_source_positions": dims.n_audio_ctx,
        "max_target_positions": dims.n_text_ctx,
        "activation_function": "gelu",
        "scale_embedding": False,
    } | changes
    return {name: value for name, value in config.items() if value is not None}


def write_huggingface(
    folder: Path,
    dims: ModelDimensions = SMALL,
    state: dict[str, Tensor] | None = None,
    *,
    prefix: str = "model.",
    proj_out: bool = False,
    shards: int = 1,
    **config_changes: Any,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = huggingface_state(made_up_state(dims) if state is None else state, prefix)
    if proj_out:
        tensors["proj_out.weight"] = tensors[f"{prefix}decoder.embed_tokens.weight"].clone()
    write_json(folder / "config.json", huggingface_config(dims, **config_changes))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    weight_map = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(tensors)}
    for file in set(weight_map.values()):
        save_file({name: tensors[name] for name in tensors if weight_map[name] == file}, folder / file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    return folder


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


# CTranslate2 --------------------------------------------------------------------------------------------------------


def ctranslate2_variables(dims: ModelDimensions, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The variables of a WhisperSpec, projections stacked, key biases zero, with the settings that real files have."""
    variables: dict[str, Tensor] = {}

    def norm(target: str, source: str) -> None:
        variables[f"{target}/gamma"], variables[f"{target}/beta"] = state[f"{source}.weight"], state[f"{source}.bias"]

    def linear(target: str, *sources: str) -> None:
        weights = [state[f"{source}.weight"] for source in sources]
        biases = [state.get(f"{source}.bias", torch.zeros_like(weights[0][:, 0])) for source in sources]
        variables[f"{target}/weight"], variables[f"{target}/bias"] = torch.cat(weights), torch.cat(biases)

    for conv in ("conv1", "conv2"):
        variables[f"encoder/{conv}/weight"] = state[f"encoder.{conv}.weight"]
        variables[f"encoder/{conv}/bias"] = state[f"encoder.{conv}.bias"]
    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    variables["decoder/embeddings/weight"] = state["decoder.token_embedding.weight"]
    for side, n_layer, n_head in (
        ("encoder", dims.n_audio_layer, dims.n_audio_head),
        ("decoder", dims.n_text_layer, dims.n_text_head),
    ):
        variables[f"{side}/position_encodings/encodings"] = state[f"{side}.positional_embedding"]
        variables[f"{side}/num_heads"] = torch.tensor(n_head, dtype=torch.int16)
        for i in range(n_layer):
            block, layer = f"{side}.blocks.{i}", f"{side}/layer_{i}"
            norm(f"{layer}/self_attention/layer_norm", f"{block}.attn_ln")
            linear(f"{layer}/self_attention/linear_0", *(f"{block}.attn.{x}" for x in ("query", "key", "value")))
            linear(f"{layer}/self_attention/linear_1", f"{block}.attn.out")
            norm(f"{layer}/ffn/layer_norm", f"{block}.mlp_ln")
            linear(f"{layer}/ffn/linear_0", f"{block}.mlp.0")
            linear(f"{layer}/ffn/linear_1", f"{block}.mlp.2")
            if side == "decoder":
                norm(f"{layer}/attention/layer_norm", f"{block}.cross_attn_ln")
                linear(f"{layer}/attention/linear_0", f"{block}.cross_attn.query")
                linear(f"{layer}/attention/linear_1", f"{block}.cross_attn.key", f"{block}.cross_attn.value")
                linear(f"{layer}/attention/linear_2", f"{block}.cross_attn.out")
    settings = {"activation": 3, "alibi": 0, "pre_norm": 1, "scale_embeddings": 0, "start_from_zero_embedding": 0}
    for name, value in settings.items():
        variables[f"decoder/{name}"] = torch.tensor(value, dtype=torch.int8)
    return variables


def quantised(variables: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The matrices as int8 with a scale a row, or as int16 with one scale for all of a matrix."""
    result = {}
    for name, tensor in variables.items():
        if tensor.ndim != 2 or not name.endswith("/weight"):
            result[name] = tensor
            continue
        values = tensor.float()
        if dtype == torch.int8:
            peak = values.abs().amax(dim=1)
            peak[peak == 0] = 127.0
            scale = 127.0 / peak
            result[name] = (values * scale[:, None]).round().to(torch.int8)
        else:
            scale = 1024.0 / values.abs().max()
            result[name] = (values * scale).round().to(torch.int16)
        result[f"{name}_scale"] = scale
    return result


def ct2_string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def ct2_variable(name: str, tensor: Tensor) -> bytes:
    data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    header = struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
    return ct2_string(name) + header + struct.pack("<BI", CT2_DTYPES[tensor.dtype], len(data)) + data


def ct2_pieces(
    variables: dict[str, Tensor],
    aliases: dict[str, str] | None = None,
    *,
    version: int = 6,
    spec: str = "WhisperSpec",
    revision: int = 3,
) -> Iterator[bytes]:
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"} if aliases is None else aliases
    yield struct.pack("<I", version)
    yield ct2_string(spec)
    yield struct.pack("<II", revision, len(variables))
    for name, tensor in sorted(variables.items()):
        yield ct2_variable(name, tensor)
    yield struct.pack("<I", len(aliases))
    for alias, target in aliases.items():
        yield ct2_string(alias) + ct2_string(target)


def ct2_file(variables: dict[str, Tensor], aliases: dict[str, str] | None = None, **header: Any) -> bytes:
    return b"".join(ct2_pieces(variables, aliases, **header))


def write_ctranslate2(
    folder: Path,
    dims: ModelDimensions = SMALL,
    state: dict[str, Tensor] | None = None,
    *,
    quantise: torch.dtype | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    variables = ctranslate2_variables(dims, made_up_state(dims) if state is None else state)
    if quantise is not None:
        variables = quantised(variables, quantise)
    with (folder / "model.bin").open("wb") as file:
        file.writelines(ct2_pieces(variables))
    write_json(folder / "config.json", {"lang_ids": []} if config is None else config)
    return folder


def write_tokenizer(folder: Path, added: dict[str, int]) -> Path:
    """A tokenizer.json with no vocabulary but the given added tokens."""
    entries = [{"id": token, "content": name, "special": True} for name, token in added.items()]
    return write_json(folder / "tokenizer.json", {"added_tokens": entries, "model": {"vocab": {}, "merges": []}})
