import json

import pytest
import torch

from checkpoint_files import (
    SMALL,
    ct2_file,
    ctranslate2_variables,
    made_up_state,
    quantised,
    write_ctranslate2,
    write_huggingface,
    write_json,
    write_pt,
)
from viska.weights import load_model
from viska.weights.load import read_checkpoint


def write(kind, path, state):
    if kind == "pt":
        return write_pt(path / "model.pt", state=state)
    if kind == "huggingface":
        return write_huggingface(path / "hf", state=state)
    return write_ctranslate2(path / "ct2", state=state)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["pt", "huggingface", "ctranslate2"])
def test_every_format_gives_back_the_same_values(tmp_path, kind, dtype, in_memory):
    state = made_up_state(dtype=dtype)
    checkpoint = read_checkpoint(write(kind, tmp_path, state), in_memory=in_memory)
    assert checkpoint.dims == SMALL
    assert_same(checkpoint.state, state)


@pytest.mark.parametrize("kind", ["pt", "huggingface", "ctranslate2"])
def test_every_format_gives_the_same_logits(tmp_path, kind):
    state = made_up_state()
    model = load_model(write(kind, tmp_path, state), device="cpu")
    reference = load_model(write_pt(tmp_path / "reference.pt", state=state), device="cpu")
    mel, tokens = torch.randn(1, SMALL.n_mels, 2 * SMALL.n_audio_ctx), torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert torch.equal(model(mel, tokens), reference(mel, tokens))


@pytest.mark.parametrize("options", [{"prefix": ""}, {"proj_out": True}, {"shards": 3}, {"shards": 2, "prefix": ""}])
@pytest.mark.parametrize("in_memory", [False, True])
def test_huggingface_variants(tmp_path, options, in_memory):
    state = made_up_state()
    folder = write_huggingface(tmp_path / "hf", state=state, **options)
    assert_same(read_checkpoint(folder, in_memory=in_memory).state, state)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.int8, 1 / 127), (torch.int16, 1 / 1024)])
@pytest.mark.parametrize("other", [torch.float32, torch.float16, torch.bfloat16])
def test_quantised_ctranslate2(tmp_path, dtype, tolerance, other):
    state = made_up_state(dtype=other)
    found = read_checkpoint(write_ctranslate2(tmp_path, state=state, quantise=dtype)).state
    peak = max(tensor.abs().max().float() for tensor in state.values())  # at least that of any row or matrix
    for name, tensor in state.items():
        if tensor.ndim == 2 and "positional" not in name:
            assert found[name].dtype == torch.float32
            assert (found[name] - tensor.float()).abs().max() <= 0.51 * tolerance * peak, name
        else:
            assert torch.equal(found[name], tensor), name


def test_quantised_values_are_exactly_q_over_scale(tmp_path):
    variables = quantised(ctranslate2_variables(SMALL, made_up_state()), torch.int8)
    folder = write_ctranslate2(tmp_path, quantise=torch.int8)
    stacked = variables["decoder/layer_1/attention/linear_1/weight"].float()
    stacked = stacked / variables["decoder/layer_1/attention/linear_1/weight_scale"][:, None]
    state = read_checkpoint(folder).state
    assert torch.equal(state["decoder.blocks.1.cross_attn.key.weight"], stacked[: SMALL.n_text_state])
    assert torch.equal(state["decoder.blocks.1.cross_attn.value.weight"], stacked[SMALL.n_text_state :])


def test_convolutions_may_be_quantised_with_a_scale_a_row(tmp_path):
    state = made_up_state(dtype=torch.float32)
    variables = ctranslate2_variables(SMALL, state)
    weight = variables["encoder/conv1/weight"]
    scale = 127 / weight.flatten(1).abs().amax(dim=1)
    variables["encoder/conv1/weight"] = (weight * scale[:, None, None]).round().to(torch.int8)
    variables["encoder/conv1/weight_scale"] = scale
    write_ctranslate2(tmp_path)
    (tmp_path / "model.bin").write_bytes(ct2_file(variables))
    found = read_checkpoint(tmp_path).state["encoder.conv1.weight"]
    assert (found - weight).abs().max() <= weight.abs().max() / 127


def test_ctranslate2_aliases_may_stand_for_any_tensor(tmp_path):
    state = made_up_state()
    state["encoder.blocks.1.mlp_ln.weight"] = state["encoder.blocks.0.mlp_ln.weight"]
    state["decoder.blocks.2.mlp.0.weight"] = state["decoder.blocks.0.mlp.0.weight"]
    variables = quantised(ctranslate2_variables(SMALL, state), torch.int8)
    del variables["encoder/layer_1/ffn/layer_norm/gamma"]
    del variables["decoder/layer_2/ffn/linear_0/weight"], variables["decoder/layer_2/ffn/linear_0/weight_scale"]
    aliases = {
        "encoder/layer_1/ffn/layer_norm/gamma": "encoder/layer_0/ffn/layer_norm/gamma",
        "decoder/layer_2/ffn/linear_0/weight": "decoder/layer_0/ffn/linear_0/weight",
    }
    write_ctranslate2(tmp_path)
    (tmp_path / "model.bin").write_bytes(ct2_file(variables, aliases))
    found = read_checkpoint(tmp_path).state
    assert torch.equal(found["encoder.blocks.1.mlp_ln.weight"], state["encoder.blocks.0.mlp_ln.weight"])
    assert torch.equal(found["decoder.blocks.2.mlp.0.weight"], found["decoder.blocks.0.mlp.0.weight"])


def test_ctranslate2_without_stored_heads_has_one_for_64_values(tmp_path):
    variables = ctranslate2_variables(SMALL, made_up_state())
    del variables["encoder/num_heads"], variables["decoder/num_heads"]
    write_ctranslate2(tmp_path)
    (tmp_path / "model.bin").write_bytes(ct2_file(variables))
    dims = read_checkpoint(tmp_path).dims
    assert (dims.n_audio_head, dims.n_text_head) == (1, 1)


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
def test_the_weights_file_itself_may_be_named(tmp_path, name):
    state = made_up_state()
    writer = write_huggingface if name.endswith("safetensors") else write_ctranslate2
    folder = writer(tmp_path / "model", state=state)
    assert_same(read_checkpoint(folder / name).state, state)


def test_a_safetensors_file_of_another_name(tmp_path):
    folder = write_huggingface(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "best.safetensors")
    assert read_checkpoint(folder / "best.safetensors").dims == SMALL


def test_a_folder_with_one_pt_file(tmp_path):
    write_pt(tmp_path / "mine.pt")
    assert read_checkpoint(tmp_path).dims == SMALL


def test_oldest_torch_format(tmp_path):
    state = made_up_state()
    torch.save(
        {"dims": SMALL.__dict__, "model_state_dict": state}, tmp_path / "old.pt", _use_new_zipfile_serialization=False
    )
    for in_memory in (False, True):
        assert_same(read_checkpoint(tmp_path / "old.pt", in_memory=in_memory).state, state)


@pytest.mark.parametrize("kind", ["pt", "huggingface", "ctranslate2"])
def test_loaded_weights_do_not_follow_the_file(tmp_path, kind):
    state = made_up_state()
    path = write(kind, tmp_path, state)
    model = load_model(path, device="cpu")
    for file in [path] if path.is_file() else path.iterdir():
        data = bytearray(file.read_bytes())
        with file.open("r+b") as opened:
            opened.write(bytes(len(data)))
    assert_same(model.state_dict(), {name: tensor.float() for name, tensor in state.items()})


def test_parameters_of_a_training_run_become_plain_weights(tmp_path):
    state = {name: torch.nn.Parameter(tensor) for name, tensor in made_up_state().items()}
    model = load_model(write_pt(tmp_path / "trained.pt", state=state), device="cpu")
    assert all(parameter.is_leaf for parameter in model.parameters())


def test_alignment_heads_of_generation_config_come_before_those_of_config(tmp_path):
    folder = write_huggingface(tmp_path / "hf", alignment_heads=[[0, 0]])
    assert read_checkpoint(folder).alignment_heads == ((0, 0),)
    write_json(folder / "generation_config.json", {"alignment_heads": [[2, 1], [1, 0]]})
    assert read_checkpoint(folder).alignment_heads == ((2, 1), (1, 0))


def test_empty_and_absent_alignment_heads_are_none(tmp_path):
    assert read_checkpoint(write_huggingface(tmp_path / "a", alignment_heads=[])).alignment_heads is None
    assert read_checkpoint(write_ctranslate2(tmp_path / "b")).alignment_heads is None
    assert read_checkpoint(write_pt(tmp_path / "c.pt")).alignment_heads is None


def test_ctranslate2_alignment_heads(tmp_path):
    folder = write_ctranslate2(tmp_path, config={"alignment_heads": [[1, 1]]})
    assert json.loads((folder / "config.json").read_text())["alignment_heads"] == [[1, 1]]
    assert read_checkpoint(folder).alignment_heads == ((1, 1),)
