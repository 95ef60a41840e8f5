"""The tokens that a fine-tune added behind Whisper's own vocabulary.

Whisper has three vocabularies: 51,864 tokens (English-only), 51,865 (99 languages) and 51,866 (100 languages, from
large-v3 on). Which one a fine-tune started from is told by its special tokens, not by the size of its embedding.
"""

from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

from viska.errors import CheckpointError
from viska.model import ModelDimensions
from viska.weights.checkpoint import read_json
from viska.weights.registry import ENGLISH_VOCAB, MULTILINGUAL_VOCAB, V3_VOCAB

ENGLISH_EOT = 50256
END_OF_TEXT, CANTONESE = "<|endoftext|>", "<|yue|>"
V3_MELS = 128


def read_added_tokens(folder: Path | None, dims: ModelDimensions, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the ids from the end of Whisper's own vocabulary to `dims.n_vocab`, in order.

    They come from `tokenizer.json` or `added_tokens.json`; an id without a name there (rows are often padded to a round
    number) is called `<|added_N|>`. `config` decides the vocabulary where there is no tokenizer. A `.pt` file has no
    folder of its own, and no tokenizer.
    """
    if dims.n_vocab <= ENGLISH_VOCAB:
        return ()
    names = _token_names(folder) if folder is not None else {}
    standard = _standard_size(names, dims, config)
    by_id = {token: name for name, token in names.items() if token >= standard}
    return tuple(by_id.get(token, f"<|added_{token}|>") for token in range(standard, dims.n_vocab))


def _standard_size(names: Mapping[str, int], dims: ModelDimensions, config: Mapping[str, Any]) -> int:
    if names.get(END_OF_TEXT, config.get("eos_token_id")) == ENGLISH_EOT:
        return ENGLISH_VOCAB
    languages = names or config.get("lang_to_id")
    if languages and isinstance(languages, Mapping):
        return V3_VOCAB if CANTONESE in languages else MULTILINGUAL_VOCAB
    # Without any names, 51,866 rows are read as upstream reads them.
    is_v3 = dims.n_mels == V3_MELS or dims.n_vocab == V3_VOCAB
    return V3_VOCAB if is_v3 else MULTILINGUAL_VOCAB


def _token_names(folder: Path) -> dict[str, int]:
    """Special and added tokens of the folder's tokenizer with their ids; empty where there is none."""
    names: dict[str, int] = {}
    if (folder / "added_tokens.json").is_file():
        names.update(_checked(read_json(folder / "added_tokens.json"), folder / "added_tokens.json"))
    path = folder / "tokenizer.json"
    if path.is_file():
        entries = read_json(path).get("added_tokens", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise CheckpointError(f"{path}: added_tokens must be a list of objects")
        names.update(_checked({entry.get("content"): entry.get("id") for entry in entries}, path))
    return names


def _checked(names: Mapping[Any, Any], path: Path) -> dict[str, int]:
    for name, token in names.items():
        if not isinstance(name, str) or type(token) is not int or token < 0:
            raise CheckpointError(
                f"{path}: added token {short_repr(name)} has the id {short_repr(token)}; expected a text and a number"
            )
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise CheckpointError(
                f"{path}: added token {short_repr(name)} holds half a character; fetch the file again"
            )
    return dict(names)
