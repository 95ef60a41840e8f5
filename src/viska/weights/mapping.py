"""Names of tensors in the three layouts, as tables: OpenAI's own, Hugging Face's and CTranslate2's.

Every table is keyed by OpenAI's name of a module, with `{}` for the number of a layer. OpenAI's names are the ones that
`viska.model` uses; the other two are turned into them when a checkpoint is read, and back when one is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from viska.model import ModelDimensions

Shape = tuple[int, ...]

HUGGINGFACE_MODULES = {
    "encoder.conv1": "encoder.conv1",
    "encoder.conv2": "encoder.conv2",
    "encoder.ln_post": "encoder.layer_norm",
    "encoder.blocks.{}.attn.query": "encoder.layers.{}.self_attn.q_proj",
    "encoder.blocks.{}.attn.key": "encoder.layers.{}.self_attn.k_proj",
    "encoder.blocks.{}.attn.value": "encoder.layers.{}.self_attn.v_proj",
    "encoder.blocks.{}.attn.out": "encoder.layers.{}.self_attn.out_proj",
    "encoder.blocks.{}.attn_ln": "encoder.layers.{}.self_attn_layer_norm",
    "encoder.blocks.{}.mlp.0": "encoder.layers.{}.fc1",
    "encoder.blocks.{}.mlp.2": "encoder.layers.{}.fc2",
    "encoder.blocks.{}.mlp_ln": "encoder.layers.{}.final_layer_norm",
    "decoder.token_embedding": "decoder.embed_tokens",
    "decoder.ln": "decoder.layer_norm",
    "decoder.blocks.{}.attn.query": "decoder.layers.{}.self_attn.q_proj",
    "decoder.blocks.{}.attn.key": "decoder.layers.{}.self_attn.k_proj",
    "decoder.blocks.{}.attn.value": "decoder.layers.{}.self_attn.v_proj",
    "decoder.blocks.{}.attn.out": "decoder.layers.{}.self_attn.out_proj",
    "decoder.blocks.{}.attn_ln": "decoder.layers.{}.self_attn_layer_norm",
    "decoder.blocks.{}.cross_attn.query": "decoder.layers.{}.encoder_attn.q_proj",
    "decoder.blocks.{}.cross_attn.key": "decoder.layers.{}.encoder_attn.k_proj",
    "decoder.blocks.{}.cross_attn.value": "decoder.layers.{}.encoder_attn.v_proj",
    "decoder.blocks.{}.cross_attn.out": "decoder.layers.{}.encoder_attn.out_proj",
    "decoder.blocks.{}.cross_attn_ln": "decoder.layers.{}.encoder_attn_layer_norm",
    "decoder.blocks.{}.mlp.0": "decoder.layers.{}.fc1",
    "decoder.blocks.{}.mlp.2": "decoder.layers.{}.fc2",
    "decoder.blocks.{}.mlp_ln": "decoder.layers.{}.final_layer_norm",
}

# The two tables of positions are bare parameters at OpenAI's, embeddings at Hugging Face's.
HUGGINGFACE_POSITIONS = {
    "encoder.positional_embedding": "encoder.embed_positions.weight",
    "decoder.positional_embedding": "decoder.embed_positions.weight",
}


@dataclass(frozen=True)
class Part:
    """Where a tensor lies in CTranslate2's layout: the `index`-th of `count` equal stacks of rows of `variable`."""

    variable: str
    index: int = 0
    count: int = 1


CTRANSLATE2_MODULES = {
    "encoder.conv1": Part("encoder/conv1"),
    "encoder.conv2": Part("encoder/conv2"),
    "encoder.ln_post": Part("encoder/layer_norm"),
    "encoder.blocks.{}.attn.query": Part("encoder/layer_{}/self_attention/linear_0", 0, 3),
    "encoder.blocks.{}.attn.key": Part("encoder/layer_{}/self_attention/linear_0", 1, 3),
    "encoder.blocks.{}.attn.value": Part("encoder/layer_{}/self_attention/linear_0", 2, 3),
    "encoder.blocks.{}.attn.out": Part("encoder/layer_{}/self_attention/linear_1"),
    "encoder.blocks.{}.attn_ln": Part("encoder/layer_{}/self_attention/layer_norm"),
    "encoder.blocks.{}.mlp.0": Part("encoder/layer_{}/ffn/linear_0"),
    "encoder.blocks.{}.mlp.2": Part("encoder/layer_{}/ffn/linear_1"),
    "encoder.blocks.{}.mlp_ln": Part("encoder/layer_{}/ffn/layer_norm"),
    "decoder.token_embedding": Part("decoder/embeddings"),
    "decoder.ln": Part("decoder/layer_norm"),
    "decoder.blocks.{}.attn.query": Part("decoder/layer_{}/self_attention/linear_0", 0, 3),
    "decoder.blocks.{}.attn.key": Part("decoder/layer_{}/self_attention/linear_0", 1, 3),
    "decoder.blocks.{}.attn.value": Part("decoder/layer_{}/self_attention/linear_0", 2, 3),
    "decoder.blocks.{}.attn.out": Part("decoder/layer_{}/self_attention/linear_1"),
    "decoder.blocks.{}.attn_ln": Part("decoder/layer_{}/self_attention/layer_norm"),
    "decoder.blocks.{}.cross_attn.query": Part("decoder/layer_{}/attention/linear_0"),
    "decoder.blocks.{}.cross_attn.key": Part("decoder/layer_{}/attention/linear_1", 0, 2),
    "decoder.blocks.{}.cross_attn.value": Part("decoder/layer_{}/attention/linear_1", 1, 2),
    "decoder.blocks.{}.cross_attn.out": Part("decoder/layer_{}/attention/linear_2"),
    "decoder.blocks.{}.cross_attn_ln": Part("decoder/layer_{}/attention/layer_norm"),
    "decoder.blocks.{}.mlp.0": Part("decoder/layer_{}/ffn/linear_0"),
    "decoder.blocks.{}.mlp.2": Part("decoder/layer_{}/ffn/linear_1"),
    "decoder.blocks.{}.mlp_ln": Part("decoder/layer_{}/ffn/layer_norm"),
}

CTRANSLATE2_POSITIONS = {
    "encoder.positional_embedding": Part("encoder/position_encodings/encodings"),
    "decoder.positional_embedding": Part("decoder/position_encodings/encodings"),
}

_NORM_SUFFIXES = {"weight": "gamma", "bias": "beta"}


def tensor_shapes(dims: ModelDimensions) -> dict[str, Shape]:
    """Every tensor of a model of these dimensions under OpenAI's name, with its shape."""
    shapes: dict[str, Shape] = {
        "encoder.positional_embedding": (dims.n_audio_ctx, dims.n_audio_state),
        "decoder.positional_embedding": (dims.n_text_ctx, dims.n_text_state),
    }
    for module in HUGGINGFACE_MODULES:
        weight, bias = _module_shapes(module, dims)
        for name in _numbered(module, dims):
            shapes[f"{name}.weight"] = weight
            if bias is not None:
                shapes[f"{name}.bias"] = bias
    return shapes


def _numbered(module: str, dims: ModelDimensions) -> Iterator[str]:
    if "{}" not in module:
        yield module
        return
    n_layer = dims.n_audio_layer if module.startswith("encoder") else dims.n_text_layer
    for layer in range(n_layer):
        yield module.format(layer)


def _module_shapes(module: str, dims: ModelDimensions) -> tuple[Shape, Shape | None]:
    """Shapes of weight and bias (None where a module has none)."""
    width = dims.n_audio_state if module.startswith("encoder") else dims.n_text_state
    kind = module.rpartition("}.")[2]
    special: dict[str, tuple[Shape, Shape | None]] = {
        "encoder.conv1": ((width, dims.n_mels, 3), (width,)),
        "encoder.conv2": ((width, width, 3), (width,)),
        "decoder.token_embedding": ((dims.n_vocab, width), None),
        "attn.key": ((width, width), None),
        "cross_attn.key": ((width, width), None),
        "mlp.0": ((4 * width, width), (4 * width,)),
        "mlp.2": ((width, 4 * width), (width,)),
    }
    if kind in special:
        return special[kind]
    is_norm = kind.endswith(("ln", "ln_post"))
    return ((width,) if is_norm else (width, width)), (width,)


def huggingface_names(dims: ModelDimensions) -> dict[str, str]:
    """OpenAI's name -> Hugging Face's, without the prefix `model.`, for every tensor of these dimensions."""
    names = dict(HUGGINGFACE_POSITIONS)
    for name in tensor_shapes(dims):
        if name not in names:
            module, layer, suffix = _split(name)
            names[name] = f"{HUGGINGFACE_MODULES[module].format(layer)}.{suffix}"
    return names


def ctranslate2_parts(dims: ModelDimensions) -> dict[str, Part]:
    """OpenAI's name -> place in a CTranslate2 file, for every tensor of these dimensions."""
    parts = dict(CTRANSLATE2_POSITIONS)
    for name in tensor_shapes(dims):
        if name not in parts:
            module, layer, suffix = _split(name)
            part = CTRANSLATE2_MODULES[module]
            if part.variable.endswith("layer_norm"):
                suffix = _NORM_SUFFIXES[suffix]
            parts[name] = Part(f"{part.variable.format(layer)}/{suffix}", part.index, part.count)
    return parts


def _split(name: str) -> tuple[str, str, str]:
    """`encoder.blocks.3.mlp.0.bias` -> (`encoder.blocks.{}.mlp.0`, `3`, `bias`)."""
    module, _, suffix = name.rpartition(".")
    words = module.split(".")
    if words[1] != "blocks":
        return module, "", suffix
    layer, words[2] = words[2], "{}"
    return ".".join(words), layer, suffix
