from pathlib import Path

import pytest
import torch

from checkpoint_files import SMALL, made_up_state, write_ctranslate2, write_huggingface, write_pt
from viska.errors import CheckpointError, OptionError, UnknownModelError
from viska.weights import load_model
from viska.weights.load import resolve_device, resolve_dtype


@pytest.fixture
def path(tmp_path):
    return write_pt(tmp_path / "model.pt")


def test_a_loaded_model_is_ready_for_inference(path):
    model = load_model(path, "cpu")
    assert not model.training
    assert model.dims == SMALL
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert not any(tensor.is_meta for tensor in [*model.state_dict().values(), *model.buffers()])
    assert all(parameter.is_contiguous() for parameter in model.parameters())


@pytest.mark.parametrize("compute_type", ["auto", "float32", "int8", "float16", "bfloat16"])
def test_compute_types_on_a_cpu_steer_the_engine_and_leave_the_module_whole(path, compute_type):
    model = load_model(path, "cpu", compute_type=compute_type)
    assert model.compute_type == compute_type
    assert {tensor.dtype for tensor in [*model.parameters(), model.decoder.mask]} == {torch.float32}
    assert torch.equal(model.encoder.conv1.bias, made_up_state()["encoder.conv1.bias"].float())


@pytest.mark.parametrize(
    ("compute_type", "on_cuda"),
    [
        ("auto", torch.float16),
        ("float16", torch.float16),
        ("int8", torch.float16),
        ("bfloat16", torch.bfloat16),
        ("float32", torch.float32),
    ],
)
def test_weights_follow_the_device(compute_type, on_cuda):
    assert resolve_dtype(compute_type, torch.device("cuda:1")) == on_cuda
    assert resolve_dtype(compute_type, torch.device("mps")) == torch.float32
    assert resolve_dtype(compute_type, torch.device("cpu")) == torch.float32


@pytest.mark.parametrize("compute_type", ["int4", "fp16", "", "Float32"])
def test_unknown_compute_types(path, compute_type):
    with pytest.raises(OptionError, match=f"'{compute_type}' is not known; accepted are auto, float32, int8,"):
        load_model(path, "cpu", compute_type=compute_type)


@pytest.mark.parametrize("device", ["gpu", "cpu:0", "cuda:", "cuda:x", "meta", "", "CPU", "tpu"])
def test_unknown_devices(path, device):
    with pytest.raises(OptionError, match="accepted are cpu, cuda, cuda:N and mps"):
        load_model(path, device)


def pretend_gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_devices_that_are_not_there(monkeypatch):
    pretend_gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(OptionError, match="use device='cpu'"):
            resolve_device(device)
    pretend_gpus(monkeypatch, 2)
    with pytest.raises(OptionError, match="there are 2 CUDA GPUs"):
        resolve_device("cuda:2")


def test_devices_that_are_there(monkeypatch):
    pretend_gpus(monkeypatch, 2)
    assert resolve_device(None) == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device(torch.device("cuda", 1)) == torch.device("cuda:1")
    pretend_gpus(monkeypatch, 0)
    assert resolve_device(None) == torch.device("cpu")


def test_options_are_checked_before_anything_is_fetched(tmp_path):
    with pytest.raises(OptionError):
        load_model("no/such", "cpu", tmp_path, compute_type="int4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("as_path", [str, Path])
def test_strings_and_paths(path, as_path):
    assert load_model(as_path(path), "cpu").dims == SMALL


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(UnknownModelError, match="there is no file or folder"):
        load_model(tmp_path / "nothing.pt", "cpu")
    with pytest.raises(UnknownModelError, match="no model or path"):
        load_model(str(tmp_path / "nothing.pt"), "cpu")
    with pytest.raises(UnknownModelError):
        load_model(Path("base"), "cpu", tmp_path)  # a Path is never a name


def test_home_in_a_path(path, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parent))
    assert load_model("~/model.pt", "cpu").dims == SMALL
    assert load_model(Path("~/model.pt"), "cpu").dims == SMALL


def heads(model):
    return [tuple(pair) for pair in model.alignment_heads.indices().T.tolist()]


UPPER_HALF = [(layer, head) for layer in (1, 2) for head in (0, 1)]


def test_a_pt_has_the_default_heads(path):
    assert heads(load_model(path, "cpu")) == UPPER_HALF


@pytest.mark.parametrize("writer", [write_huggingface, write_ctranslate2])
def test_a_folder_without_heads_has_the_default_ones(tmp_path, writer):
    assert heads(load_model(writer(tmp_path / "model"), "cpu")) == UPPER_HALF


def test_heads_of_the_config(tmp_path):
    folder = write_huggingface(tmp_path / "model", alignment_heads=[[2, 1], [0, 0]])
    assert heads(load_model(folder, "cpu")) == [(0, 0), (2, 1)]


@pytest.mark.parametrize("pair", [[3, 0], [0, 2]])
def test_heads_that_the_model_does_not_have_are_named_and_left(tmp_path, caplog, pair):
    folder = write_huggingface(tmp_path / "model", alignment_heads=[[2, 1], pair])
    assert heads(load_model(folder, "cpu")) == UPPER_HALF
    assert "names alignment heads that it does not have" in caplog.text


@pytest.mark.parametrize("in_memory", [False, True])
def test_unreadable_files(tmp_path, in_memory):
    for folder in (write_huggingface(tmp_path / "hf"), write_ctranslate2(tmp_path / "ct2")):
        name = "model.safetensors" if folder.name == "hf" else "model.bin"
        (folder / name).unlink()
        (folder / name).mkdir()
        with pytest.raises(CheckpointError):
            load_model(folder, "cpu", in_memory=in_memory)


def test_two_loads_share_nothing(path):
    first, second = load_model(path, "cpu"), load_model(path, "cpu")
    with torch.no_grad():
        first.encoder.conv1.bias.zero_()
    assert torch.equal(second.encoder.conv1.bias, made_up_state()["encoder.conv1.bias"].float())
