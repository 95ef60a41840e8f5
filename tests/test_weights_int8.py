"""Viska's own int8 form: what is written, what is read, and what is not believed."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoint_files import SMALL, made_up_state, write_huggingface, write_pt
from viska.cli import main
from viska.errors import CheckpointError
from viska.quantization import quantize_rows
from viska.weights import convert_model, load_model
from viska.weights.load import read_checkpoint

WIDE = replace(SMALL, n_audio_state=64, n_text_state=64, n_vocab=2000)
EMBEDDINGS = "model.decoder.embed_tokens.weight"


@pytest.fixture
def folder(tmp_path):
    return convert_model(write_pt(tmp_path / "m.pt"), tmp_path / "int8", dtype="int8")


def changed(folder, **tensors):
    """Other tensors in the file; None takes one out."""
    stored = load_file(folder / "model.safetensors")
    stored |= {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file({name: value for name, value in stored.items() if tensors.get(name, value) is not None}, folder / "new")
    (folder / "new").rename(folder / "model.safetensors")
    return folder


def test_matrices_are_bytes_with_a_scale_a_row_and_the_rest_is_as_it_was(folder):
    stored, state = load_file(folder / "model.safetensors"), made_up_state()
    dtypes = {name: tensor.dtype for name, tensor in stored.items()}
    quantised = {name for name, dtype in dtypes.items() if dtype == torch.int8}
    assert EMBEDDINGS in quantised
    assert "model.encoder.layers.0.fc1.weight" in quantised
    assert "model.decoder.layers.2.encoder_attn.k_proj.weight" in quantised
    assert len(quantised) == 6 * 2 + 10 * 3 + 1  # the linear maps of each layer of encoder and decoder, the embeddings
    for name in quantised:
        assert dtypes[f"{name}_scale"] == torch.float32
        assert stored[f"{name}_scale"].shape == stored[name].shape[:1]
    whole = set(stored) - quantised - {f"{name}_scale" for name in quantised}
    assert {dtypes[name] for name in whole} == {torch.float16}
    assert torch.equal(stored["model.encoder.conv1.weight"], state["encoder.conv1.weight"])
    assert torch.equal(stored["model.decoder.embed_positions.weight"], state["decoder.positional_embedding"])


def test_the_config_says_so(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"] == {"quant_method": "viska_int8", "bits": 8}
    assert config["torch_dtype"] == "float16"  # of the rest


def test_read_it_is_close_to_its_source_and_quantises_to_the_same_bytes(folder, tmp_path):
    state, found = made_up_state(), read_checkpoint(folder).state
    for name, weight in state.items():
        peak = weight.float().abs().amax(dim=-1, keepdim=True) if weight.ndim == 2 else 0.0
        assert bool(((found[name].float() - weight.float()).abs() <= peak / 127 * 0.5001).all()), name
    again = convert_model(folder, tmp_path / "again", dtype="int8")
    first, second = (load_file(one / "model.safetensors") for one in (folder, again))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        if tensor.dtype == torch.int8:
            assert torch.equal(second[name], tensor)
        else:
            torch.testing.assert_close(second[name], tensor, rtol=1e-6, atol=0)


def test_a_loaded_module_has_float32_weights_that_the_engine_quantises_to_what_was_stored(folder):
    model = load_model(folder, "cpu", compute_type="int8")
    assert model.compute_type == "int8"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = load_file(folder / "model.safetensors")
    assert torch.equal(quantize_rows(model.decoder.token_embedding.weight)[0], stored[EMBEDDINGS])
    block = model.encoder.blocks[1]
    assert torch.equal(quantize_rows(block.mlp[2].weight)[0], stored["model.encoder.layers.1.fc2.weight"])


def test_in_memory_is_the_same(folder):
    mapped, read = (load_model(folder, "cpu", in_memory=flag).state_dict() for flag in (False, True))
    assert all(torch.equal(mapped[name], read[name]) for name in mapped)


def test_it_is_about_a_quarter_of_the_size(tmp_path):
    source = write_huggingface(tmp_path / "m", WIDE, made_up_state(WIDE, dtype=torch.float32))
    folder = convert_model(source, tmp_path / "int8", dtype="int8")
    before, after = ((one / "model.safetensors").stat().st_size for one in (source, folder))
    assert after < 0.31 * before


def test_a_copy_is_int8_too(folder, tmp_path):
    again = convert_model(folder, tmp_path / "again")
    assert (again / "config.json").read_text() == (folder / "config.json").read_text()
    assert load_file(again / "model.safetensors")[EMBEDDINGS].dtype == torch.int8


def test_everybody_may_read_it_who_may_read_a_new_file(folder):
    weights, config = ((folder / name).stat().st_mode for name in ("model.safetensors", "config.json"))
    assert weights == config


def test_it_becomes_floating_again(folder, tmp_path):
    whole = convert_model(folder, tmp_path / "whole", dtype="float16")
    assert "quantization_config" not in json.loads((whole / "config.json").read_text())
    assert {tensor.dtype for tensor in load_file(whole / "model.safetensors").values()} == {torch.float16}


@pytest.mark.parametrize("flag", ["--compute_type", "--dtype"])
def test_the_command_line(tmp_path, capsys, flag):
    source = write_pt(tmp_path / "m.pt")
    assert main(["models", "convert", str(source), str(tmp_path / "out"), flag, "int8"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert load_file(tmp_path / "out" / "model.safetensors")[EMBEDDINGS].dtype == torch.int8
    with pytest.raises(SystemExit):
        main(["models", "convert", str(source), str(tmp_path / "other"), flag, "int4"])
    assert "invalid choice: 'int4'" in capsys.readouterr().err


SCALE = f"{EMBEDDINGS}_scale"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({SCALE: None}, "tensor decoder.embed_tokens.weight_scale is missing"),
        ({EMBEDDINGS: None}, "tensor decoder.embed_tokens.weight is missing"),
        ({"model.encoder.conv1.weight_scale": torch.ones(8)}, "encoder.conv1.weight_scale is not part of"),
        ({SCALE: torch.ones(19)}, r"weight_scale has shape \(19,\), expected \(20,\)"),
        ({SCALE: torch.ones(20, 1)}, r"weight_scale has shape \(20, 1\), expected \(20,\)"),
        ({SCALE: torch.ones(20, dtype=torch.int8)}, "weight_scale has dtype int8, expected one of bfloat16, float16"),
        ({SCALE: torch.zeros(20)}, "weight_scale holds values that are not above zero"),
        ({SCALE: torch.full((20,), torch.nan)}, "weight_scale holds values that are not above zero"),
        ({EMBEDDINGS: torch.ones(20, 8)}, "embed_tokens.weight has dtype float32, expected one of int8"),
        ({EMBEDDINGS: torch.ones(20, 9, dtype=torch.int8)}, r"has shape \(20, 9\), expected \(20, 8\)"),
        ({"model.encoder.conv1.weight": torch.ones(8, 8, 3, dtype=torch.int8)}, "conv1.weight has dtype int8"),
    ],
)
def test_what_does_not_fit_is_named(folder, tensors, message):
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(changed(folder, **tensors))


def test_a_file_that_is_cut_off_is_no_model(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_checkpoint(folder)


@pytest.mark.parametrize("quantization", [None, "int8", {}, {"quant_method": "bitsandbytes"}])
def test_bytes_without_the_word_of_the_config_are_no_weights(folder, quantization):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": quantization}))
    with pytest.raises(CheckpointError, match=r"not part of a Whisper model"):
        read_checkpoint(folder)
