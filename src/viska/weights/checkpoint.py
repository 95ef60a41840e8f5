"""What every reader of checkpoints returns, and the checks that all of them share.

A reader first learns names, shapes and dtypes from a header and has them checked here; only then are weights read, so
that no header decides how much memory is taken.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

from torch import Tensor

from viska.errors import CheckpointError
from viska.model import ModelDimensions
from viska.weights.mapping import Shape
from viska.weights.registry import Heads

FLOAT_DTYPES = frozenset({"float32", "float16", "bfloat16"})
MAX_TEXT_POSITIONS = 8192  # the decoder holds a square mask of them; Whisper has 448
MAX_VOCABULARY = 1 << 20  # each token is given a name, and Whisper has 51,866
MAX_JSON_BYTES = 64 << 20  # a tokenizer.json has 2 to 4 MB
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """Weights in OpenAI's names, ready for `Whisper.from_state_dict`.

    `state` may be views of a mapped file. `alignment_heads` is None where the files name none. `added_tokens` are the
    names of a fine-tune's ids behind Whisper's own vocabulary. `int8` tells whether the files hold Viska's int8 form.
    """

    dims: ModelDimensions
    state: dict[str, Tensor]
    alignment_heads: Heads | None = None
    added_tokens: tuple[str, ...] = ()
    int8: bool = False


@dataclass(frozen=True)
class TensorFacts:
    """What a header says of one tensor."""

    shape: Shape
    dtype: str


def check_dimensions(origin: str, dims: ModelDimensions, n_tensors: int) -> None:
    """Refuse dimensions that no Whisper model can have; `origin` is the file that gave them."""
    for field, value in vars(dims).items():  # asdict would copy values that are endless, though small in the file
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"{origin}: {field} is {short_repr(value)}, and must be a whole number of 1 or more")
    if dims.n_audio_layer + dims.n_text_layer > n_tensors:
        raise CheckpointError(
            f"{origin}: {dims.n_audio_layer} + {dims.n_text_layer} layers, but only {n_tensors} tensors"
        )
    if dims.n_audio_state != dims.n_text_state:
        raise CheckpointError(
            f"{origin}: the encoder has width {dims.n_audio_state} and the decoder {dims.n_text_state}; "
            "Whisper has one width for both"
        )
    for side, width, heads in (
        ("encoder", dims.n_audio_state, dims.n_audio_head),
        ("decoder", dims.n_text_state, dims.n_text_head),
    ):
        if width < 4 or width % 2 or width % heads:
            raise CheckpointError(
                f"{origin}: {side} of width {width} with {heads} heads; the width must be even, 4 or more, and a "
                "multiple of the heads"
            )
    if dims.n_text_ctx > MAX_TEXT_POSITIONS:
        raise CheckpointError(f"{origin}: {dims.n_text_ctx} text positions; at most {MAX_TEXT_POSITIONS} are accepted")
    if dims.n_vocab > MAX_VOCABULARY:
        raise CheckpointError(f"{origin}: {dims.n_vocab} tokens; at most {MAX_VOCABULARY} are accepted")


def check_tensors(
    origin: str,
    expected: Mapping[str, Shape],
    found: Mapping[str, TensorFacts],
    dtypes: frozenset[str] = FLOAT_DTYPES,
) -> None:
    """Names, shapes and dtypes must be the expected ones exactly; raises CheckpointError that names the first few."""
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise CheckpointError(f"{origin}: {_several(missing)} missing; the file is not a whole Whisper model")
    unexpected = sorted(found.keys() - expected.keys())
    if unexpected:
        raise CheckpointError(f"{origin}: {_several(unexpected)} not part of a Whisper model of these dimensions")
    for name, shape in expected.items():
        facts = found[name]
        if facts.shape != shape:
            raise CheckpointError(f"{origin}: tensor {name} has shape {facts.shape}, expected {shape}")
        if facts.dtype not in dtypes:
            raise CheckpointError(
                f"{origin}: tensor {name} has dtype {facts.dtype}, expected one of {', '.join(sorted(dtypes))}"
            )


def _several(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    if len(names) == 1:
        return f"tensor {shown} is"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"tensors {shown}{more} are"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of the model's folder. Raises CheckpointError for anything else."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}; a model folder needs it beside the weights") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_JSON_BYTES:
        raise CheckpointError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB, and cannot be a model's {path.name}")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); fetch it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a JSON {type(value).__name__}, expected an object")
    return value


def read_alignment_heads(config: Mapping[str, Any], origin: Path) -> Heads | None:
    """`alignment_heads` of a config, a list of pairs of layer and head; None where it has none."""
    heads = config.get("alignment_heads")
    if not heads:
        return None
    if not isinstance(heads, list) or not all(_is_pair(pair) for pair in heads):
        raise CheckpointError(f"{origin}: alignment_heads must be a list of pairs [layer, head] of numbers from 0")
    return tuple((pair[0], pair[1]) for pair in heads)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(item) is int and item >= 0 for item in value)
