import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from checkpoint_files import (
    SMALL,
    made_up_state,
    write_ctranslate2,
    write_huggingface,
    write_json,
    write_pt,
    write_tokenizer,
)
from viska.errors import CheckpointError, OptionError, OutputError, UnknownModelError
from viska.tokenizer import get_tokenizer
from viska.weights import convert_model, load_model
from viska.weights.convert import _token_ids
from viska.weights.load import read_checkpoint

WRITERS = {
    "pt": lambda folder, **options: write_pt(folder / "m.pt", **options),
    "huggingface": lambda folder, **options: write_huggingface(folder / "m", **options),
    "ctranslate2": lambda folder, **options: write_ctranslate2(folder / "m", **options),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_converted_model_is_the_same(tmp_path, kind, dtype):
    state = made_up_state(dtype=dtype)
    folder = convert_model(WRITERS[kind](tmp_path, state=state), tmp_path / "out")
    checkpoint = read_checkpoint(folder)
    assert checkpoint.dims == SMALL
    assert all(torch.equal(checkpoint.state[name], state[name]) for name in state)
    assert checkpoint.state["encoder.conv1.bias"].dtype == dtype
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_dtype(tmp_path, dtype):
    folder = convert_model(write_pt(tmp_path / "m.pt"), tmp_path / "out", dtype=dtype)
    assert {str(tensor.dtype) for tensor in read_checkpoint(folder).state.values()} == {f"torch.{dtype}"}
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == dtype


def test_quantised_weights_become_floating(tmp_path):
    source = write_ctranslate2(tmp_path / "m", quantise=torch.int8)
    converted = read_checkpoint(convert_model(source, tmp_path / "out"))
    for name, tensor in read_checkpoint(source).state.items():
        assert torch.equal(converted.state[name], tensor)


def test_names_are_those_that_hugging_face_reads(tmp_path):
    folder = convert_model(write_pt(tmp_path / "m.pt"), tmp_path / "out")
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        assert file.metadata() == {"format": "pt"}
    assert "model.encoder.layers.1.self_attn_layer_norm.weight" in names
    assert "model.decoder.layers.2.encoder_attn.k_proj.weight" in names
    assert "proj_out.weight" not in names
    assert all(name.startswith("model.") for name in names)


def test_alignment_heads_and_tokenizer_come_along(tmp_path):
    source = write_huggingface(tmp_path / "m", replace(SMALL, n_vocab=51867), alignment_heads=[[1, 1]])
    write_tokenizer(source, {"<|endoftext|>": 50257, "<|new|>": 51865})
    folder = convert_model(source, tmp_path / "out")
    before, after = load_model(source, "cpu"), load_model(folder, "cpu")
    assert after.added_tokens == before.added_tokens == ("<|new|>", "<|added_51866|>")
    assert after.alignment_heads.indices().T.tolist() == [[1, 1]]


@pytest.mark.parametrize(("n_vocab", "languages"), [(51864, 99), (51865, 99), (51866, 100)])
def test_special_tokens_are_those_of_the_tokenizer(tmp_path, n_vocab, languages):
    multilingual = n_vocab > 51864
    tokenizer = get_tokenizer(multilingual, num_languages=languages)
    ids = _token_ids(n_vocab)
    assert ids == {
        "eot": tokenizer.eot,
        "sot": tokenizer.sot,
        "translate": tokenizer.translate,
        "transcribe": tokenizer.transcribe,
        "startoflm": tokenizer.sot_lm,
        "startofprev": tokenizer.sot_prev,
        "nospeech": tokenizer.no_speech,
        "notimestamps": tokenizer.no_timestamps,
    }
    folder = convert_model(write_pt(tmp_path / "m.pt", replace(SMALL, n_vocab=n_vocab)), tmp_path / "out")
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["is_multilingual"] is multilingual
    if multilingual:
        codes = tokenizer.all_language_codes
        assert generation["lang_to_id"] == {f"<|{code}|>": tokenizer.to_language_token(code) for code in codes}
    else:
        assert "lang_to_id" not in generation


def test_an_existing_target_is_left_alone(tmp_path):
    source = write_pt(tmp_path / "m.pt")
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="out exists, and is not overwritten"):
        convert_model(source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_target_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        convert_model(write_pt(tmp_path / "m.pt"), tmp_path / "file" / "out")


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    source = write_pt(tmp_path / "m.pt")
    monkeypatch.setattr("viska.weights.convert.save_file", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OutputError, match="full"):
        convert_model(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_bad_sources_and_dtypes(tmp_path):
    with pytest.raises(OptionError, match="'int4' is not known; accepted are float32, float16, bfloat16, int8"):
        convert_model(tmp_path, tmp_path / "out", dtype="int4")
    with pytest.raises(CheckpointError):
        convert_model(tmp_path, tmp_path / "out")
    with pytest.raises(UnknownModelError):
        convert_model("nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_beside_a_pt_are_not_its_own(tmp_path):
    write_json(tmp_path / "tokenizer.json", {})
    folder = convert_model(write_pt(tmp_path / "m.pt"), tmp_path / "out")
    assert not (folder / "tokenizer.json").exists()
