from dataclasses import replace

import pytest

from checkpoint_files import SMALL, write_huggingface, write_json, write_pt, write_tokenizer
from viska.errors import CheckpointError
from viska.tokenizer import get_tokenizer
from viska.weights import load_model
from viska.weights.vocabulary import read_added_tokens

MULTILINGUAL = {"<|endoftext|>": 50257, "<|startoftranscript|>": 50258, "<|en|>": 50259}
V3 = MULTILINGUAL | {"<|yue|>": 50358}
ENGLISH = {"<|endoftext|>": 50256, "<|startoftranscript|>": 50257, "<|en|>": 50258}


def dims(n_vocab, **changes):
    return replace(SMALL, n_vocab=n_vocab, **changes)


@pytest.mark.parametrize(
    ("tokens", "standard"),
    [(ENGLISH, 51864), (MULTILINGUAL, 51865), (V3, 51866)],
)
def test_added_tokens_stand_behind_the_vocabulary_that_the_tokenizer_has(tmp_path, tokens, standard):
    write_tokenizer(tmp_path, tokens | {"<b>": standard + 1, "<a>": standard, "<|0.00|>": standard - 1501})
    assert read_added_tokens(tmp_path, dims(standard + 2), {}) == ("<a>", "<b>")
    assert read_added_tokens(tmp_path, dims(standard), {}) == ()


def test_rows_without_a_name_get_one(tmp_path):
    write_tokenizer(tmp_path, MULTILINGUAL | {"<x>": 51866})
    assert read_added_tokens(tmp_path, dims(51868), {}) == ("<|added_51865|>", "<x>", "<|added_51867|>")


def test_added_tokens_json_and_tokenizer_json_together(tmp_path):
    write_json(tmp_path / "added_tokens.json", {"<old>": 51865, "<a>": 51866})
    write_tokenizer(tmp_path, MULTILINGUAL)
    assert read_added_tokens(tmp_path, dims(51867), {}) == ("<old>", "<a>")


@pytest.mark.parametrize(
    ("config", "changes", "n_added"),
    [
        ({"eos_token_id": 50256}, {}, 4),
        ({"eos_token_id": 50257, "lang_to_id": {"<|en|>": 50259}}, {}, 3),
        ({"lang_to_id": {"<|en|>": 50259, "<|yue|>": 50358}}, {}, 2),
        ({}, {"n_mels": 128}, 2),
        ({}, {}, 3),
        ({"lang_to_id": 7}, {}, 3),
    ],
)
def test_without_a_tokenizer_the_config_decides(tmp_path, config, changes, n_added):
    assert len(read_added_tokens(tmp_path, dims(51868, **changes), config)) == n_added


def test_without_any_names_51866_rows_are_those_of_large_v3(tmp_path):
    assert read_added_tokens(None, dims(51866), {}) == ()
    assert read_added_tokens(tmp_path, dims(51866), {"lang_to_id": {"<|en|>": 1}}) == ("<|added_51865|>",)


@pytest.mark.parametrize("n_vocab", [20, 51864])
def test_small_vocabularies_have_none(tmp_path, n_vocab):
    write_json(tmp_path / "tokenizer.json", [])  # is not even looked at
    assert read_added_tokens(tmp_path, dims(n_vocab), {}) == ()


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"added_tokens": 5},
        {"added_tokens": [3]},
        {"added_tokens": [{"id": "x", "content": "a"}]},
        {"added_tokens": [{"id": 1}]},
        {"added_tokens": [{"id": -1, "content": "a"}]},
    ],
)
def test_damaged_tokenizer(tmp_path, tokenizer):
    write_json(tmp_path / "tokenizer.json", tokenizer)
    with pytest.raises(CheckpointError, match="added"):
        read_added_tokens(tmp_path, dims(51870), {})


def test_a_fine_tune_loads_with_its_tokens(tmp_path):
    folder = write_huggingface(tmp_path, dims(51868))
    write_tokenizer(folder, MULTILINGUAL | {"<|noise|>": 51865, "<|laugh|>": 51866})
    model = load_model(folder, device="cpu")
    assert model.added_tokens == ("<|noise|>", "<|laugh|>", "<|added_51867|>")
    assert (model.is_multilingual, model.num_languages) == (True, 99)
    tokenizer = get_tokenizer(True, num_languages=model.num_languages, added_tokens=model.added_tokens)
    assert tokenizer.special_tokens["<|laugh|>"] == 51866


def test_a_padded_pt_keeps_its_rows(tmp_path):
    model = load_model(write_pt(tmp_path / "m.pt", dims(51872)), device="cpu")
    assert model.decoder.token_embedding.weight.shape[0] == 51872
    assert model.added_tokens[0] == "<|added_51865|>"
    assert len(model.added_tokens) == 7
    assert model.num_languages == 99
