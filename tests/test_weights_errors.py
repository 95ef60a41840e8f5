"""Every way in which files can fail to be a Whisper model; the messages name what was found and what was expected."""

import json
import pickle
import struct
import warnings
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from checkpoint_files import (
    SMALL,
    ct2_file,
    ct2_string,
    ctranslate2_variables,
    huggingface_config,
    huggingface_state,
    made_up_state,
    quantised,
    write_ctranslate2,
    write_huggingface,
    write_json,
    write_pt,
)
from viska.errors import CheckpointError, ModelError
from viska.weights.checkpoint import check_dimensions
from viska.weights.load import read_checkpoint


def refused(path, *words, in_memory=False):
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, in_memory=in_memory)
    message = str(caught.value)
    assert all(word in message for word in words), message


def write_state(kind, folder, state, dims=SMALL):
    """A checkpoint of any format with just these tensors, whatever the dimensions say."""
    if kind == "pt":
        return write_pt(folder / "m.pt", dims, state)
    write_huggingface(folder, dims)
    save_file(huggingface_state(state), folder / "model.safetensors")
    return folder


# The tensors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pt", "huggingface"])
def test_missing_tensor(tmp_path, kind):
    state = made_up_state()
    del state["decoder.ln.weight"]
    name = "decoder.ln.weight" if kind == "pt" else "decoder.layer_norm.weight"
    refused(write_state(kind, tmp_path, state), f"tensor {name} is missing")


def test_many_missing_tensors_are_counted(tmp_path):
    state = {name: t for name, t in made_up_state().items() if "mlp" not in name}
    state |= {f"padding.{i}": torch.zeros(1) for i in range(40)}
    refused(
        write_pt(tmp_path / "m.pt", state=state),
        "tensors decoder.blocks.0.mlp.0.bias, decoder",
        "and 25 more are missing",
    )


@pytest.mark.parametrize("kind", ["pt", "huggingface"])
def test_unexpected_tensor(tmp_path, kind):
    state = made_up_state() | {"encoder.extra": torch.zeros(3)}
    refused(write_state(kind, tmp_path, state), "tensor encoder.extra is not part of a Whisper model")


@pytest.mark.parametrize("kind", ["pt", "huggingface"])
def test_wrong_shape_is_named_with_the_expected_one(tmp_path, kind):
    state = made_up_state()
    state["encoder.conv1.weight"] = torch.zeros(8, 9, 3, dtype=torch.float16)
    refused(write_state(kind, tmp_path, state), "encoder.conv1.weight", "(8, 9, 3)", "expected (8, 8, 3)")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("kind", ["pt", "huggingface"])
def test_wrong_dtype(tmp_path, kind, dtype):
    state = made_up_state()
    state["encoder.conv1.bias"] = torch.zeros(8, dtype=dtype)
    refused(write_state(kind, tmp_path, state), "encoder.conv1.bias", "dtype", "float16")


# Dimensions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 1.5, "8", None, True])
@pytest.mark.parametrize("field", ["n_mels", "n_text_layer", "n_vocab"])
def test_dimensions_must_be_positive_whole_numbers(field, value):
    with pytest.raises(CheckpointError, match=f"here: {field} is"):
        check_dimensions("here", replace(SMALL, **{field: value}), 1000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_text_layer": 10**12}, "layers, but only 1000 tensors"),
        ({"n_text_state": 16}, "one width for both"),
        ({"n_audio_head": 3}, "multiple of the heads"),
        ({"n_audio_state": 2, "n_text_state": 2}, "the width must be even, 4 or more"),
        ({"n_audio_state": 9, "n_text_state": 9, "n_audio_head": 3, "n_text_head": 3}, "must be even"),
        ({"n_text_ctx": 100_000}, "100000 text positions"),
    ],
)
def test_dimensions_that_cannot_be(changes, words):
    with pytest.raises(CheckpointError, match=words):
        check_dimensions("here", replace(SMALL, **changes), 1000)


# OpenAI's format ----------------------------------------------------------------------------------------------------


class Exploit:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_code_in_a_pt_file_is_never_run(tmp_path, zipped, in_memory):
    content = {"dims": asdict(SMALL), "model_state_dict": made_up_state(), "code": Exploit(tmp_path / "pwned")}
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "m.pt", "is not a plain checkpoint", "never run", in_memory=in_memory)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_bare_pickle_with_code(tmp_path):
    (tmp_path / "m.pt").write_bytes(pickle.dumps(Exploit(tmp_path / "pwned")))
    refused(tmp_path / "m.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [[1, 2], {"model_state_dict": {}}, made_up_state(), 5])
def test_pt_without_dims(tmp_path, content):
    torch.save(content, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "expected a dict with dims and model_state_dict")


@pytest.mark.parametrize("dims", [{}, {"n_mels": 8}, asdict(SMALL) | {"n_more": 1}, [1]])
def test_pt_with_wrong_fields_of_dims(tmp_path, dims):
    torch.save({"dims": dims, "model_state_dict": made_up_state()}, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "dims must have exactly the fields n_mels, ")


@pytest.mark.parametrize("state", [[], {"a": 1}, {1: torch.zeros(1)}])
def test_pt_whose_state_is_no_dict_of_tensors(tmp_path, state):
    torch.save({"dims": asdict(SMALL), "model_state_dict": state}, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "model_state_dict must map names to tensors")


def test_pt_of_other_dimensions(tmp_path):
    refused(write_pt(tmp_path / "m.pt", replace(SMALL, n_vocab=21), made_up_state()), "(20, 8)", "expected (21, 8)")


@pytest.mark.parametrize("in_memory", [False, True])
def test_truncated_pt(tmp_path, in_memory):
    data = write_pt(tmp_path / "m.pt").read_bytes()
    for part in (0, 1, 10, len(data) // 2, len(data) - 1):
        (tmp_path / "m.pt").write_bytes(data[:part])
        refused(tmp_path / "m.pt", "m.pt", in_memory=in_memory)


def test_few_bytes_repeated_to_a_large_shape(tmp_path):
    dims = replace(SMALL, n_vocab=10**6)
    state = made_up_state()
    state["decoder.token_embedding.weight"] = torch.zeros(1, dtype=torch.float16).expand(10**6, 8)
    refused(write_pt(tmp_path / "m.pt", dims, state), "the tensors claim 160", "the file has")


@pytest.mark.parametrize("in_memory", [False, True])
def test_compressed_members_are_refused_before_they_are_unpacked(tmp_path, in_memory):
    original = write_pt(tmp_path / "m.pt")
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    refused(tmp_path / "b.pt", "is compressed inside the file", in_memory=in_memory)


def test_sparse_tensor(tmp_path):
    state = made_up_state()
    state["encoder.conv1.bias"] = state["encoder.conv1.bias"].to_sparse()
    refused(write_pt(tmp_path / "m.pt", state=state), "encoder.conv1.bias is not a plain tensor")


def test_a_zip_file_in_several_parts(tmp_path):
    data = bytearray(write_pt(tmp_path / "m.pt").read_bytes())
    locator = data.rfind(b"PK\x06\x07")
    assert locator > 0  # torch writes the 64-bit locator
    data[locator + 16] = 7  # number of disks
    (tmp_path / "m.pt").write_bytes(data)
    refused(tmp_path / "m.pt", "m.pt")


def test_torchscript_archive(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "m.pt")
        refused(tmp_path / "m.pt", "m.pt")


def test_any_other_file(tmp_path):
    (tmp_path / "m.pt").write_bytes(b"RIFF....WAVEfmt ")
    refused(tmp_path / "m.pt", "m.pt")


# Folders ------------------------------------------------------------------------------------------------------------


def test_folder_without_weights(tmp_path):
    write_json(tmp_path / "config.json", huggingface_config())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    refused(tmp_path, "has no weights that can be read", "model.safetensors", "model.bin", "pytorch_model.bin")


def test_folder_with_several_pt_files(tmp_path):
    write_pt(tmp_path / "a.pt")
    write_pt(tmp_path / "b.pt")
    refused(tmp_path, "one .pt")


@pytest.mark.parametrize("writer", [write_huggingface, write_ctranslate2])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has no config.json"),
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "a JSON list, expected an object"),
        ("\xff\xfe", "not valid JSON"),
    ],
)
def test_config_that_is_no_object(tmp_path, writer, content, words):
    folder = writer(tmp_path / "model")
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content, encoding="latin-1")
    refused(folder, words)


def test_config_of_absurd_size(tmp_path, monkeypatch):
    monkeypatch.setattr("viska.weights.checkpoint.MAX_JSON_BYTES", 100)
    refused(write_huggingface(tmp_path / "hf"), "is larger than")


@pytest.mark.parametrize("heads", [5, [[1]], [[1, -1]], [["a", 0]], [[0, 0, 0]], [[True, 0]], {"0": 1}])
@pytest.mark.parametrize("writer", ["huggingface", "ctranslate2"])
def test_bad_alignment_heads(tmp_path, writer, heads):
    if writer == "huggingface":
        folder = write_huggingface(tmp_path / "m", alignment_heads=heads)
    else:
        folder = write_ctranslate2(tmp_path / "m", config={"alignment_heads": heads})
    refused(folder, "alignment_heads must be a list of pairs")


# Hugging Face -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["d_model", "vocab_size", "num_mel_bins"])
def test_config_without_a_dimension(tmp_path, field):
    refused(write_huggingface(tmp_path / "hf", **{field: None}), "config.json lacks", field)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; Whisper has 'whisper'"),
        ({"activation_function": "relu"}, "activation_function"),
        ({"scale_embedding": True}, "scale_embedding"),
        ({"encoder_ffn_dim": 8}, "encoder_ffn_dim is 8; Whisper has 32"),
        ({"d_model": "8", "encoder_ffn_dim": None, "decoder_ffn_dim": None}, "n_audio_state is '8'"),
        ({"encoder_layers": 10**10}, "layers, but only"),
        ({"vocab_size": 21}, "expected (21, 8)"),
        ({"decoder_layers": 2}, "decoder.layers.2.encoder_attn.k_proj.weight"),
        ({"encoder_attention_heads": 3}, "multiple of the heads"),
    ],
)
def test_config_that_contradicts_whisper_or_the_tensors(tmp_path, changes, words):
    refused(write_huggingface(tmp_path / "hf", **changes), words)


def test_untied_projection(tmp_path):
    folder = write_huggingface(tmp_path / "hf", proj_out=True)
    tensors = huggingface_state(made_up_state())
    tensors["proj_out.weight"] = tensors["model.decoder.embed_tokens.weight"] + 1
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "proj_out.weight differs from decoder.embed_tokens.weight")


@pytest.mark.parametrize("in_memory", [False, True])
def test_truncated_safetensors(tmp_path, in_memory):
    folder = write_huggingface(tmp_path / "hf")
    data = (folder / "model.safetensors").read_bytes()
    for part in (0, 4, 8, 100, len(data) - 1):
        (folder / "model.safetensors").write_bytes(data[:part])
        refused(folder, "is not a whole safetensors file", in_memory=in_memory)


def safetensors_bytes(header, data=b""):
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**63) + b"{}",
        safetensors_bytes({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors_bytes({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors_bytes({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4000]}}, bytes(4)),
        safetensors_bytes({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(9)),
        safetensors_bytes({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors_bytes("[]"),
    ],
)
def test_hostile_safetensors_headers(tmp_path, data):
    folder = write_huggingface(tmp_path / "hf")
    (folder / "model.safetensors").write_bytes(data)
    refused(folder, "model.safetensors")


def test_a_tensor_with_and_without_prefix(tmp_path):
    folder = write_huggingface(tmp_path / "hf")
    state = huggingface_state(made_up_state())
    save_file(state | {"decoder.layer_norm.bias": torch.zeros(8)}, folder / "model.safetensors")
    refused(folder, "decoder.layer_norm.bias is there twice")


@pytest.mark.parametrize("weight_map", [None, [], {}, "x"])
def test_shard_index_without_a_map(tmp_path, weight_map):
    folder = write_huggingface(tmp_path / "hf", shards=2)
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    refused(folder, "weight_map must name the file of every tensor")


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x.safetensors", ""])
def test_shards_outside_the_folder(tmp_path, name):
    folder = write_huggingface(tmp_path / "hf", shards=2)
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": name}})
    refused(folder, "index.json") if name else refused(folder)


def test_absent_shard(tmp_path):
    folder = write_huggingface(tmp_path / "hf", shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "lacks model-00002-of-00002.safetensors")
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "m" * 1000}})
    refused(folder, f"lacks {'m' * 255}, which")


# CTranslate2 --------------------------------------------------------------------------------------------------------


def ct2_folder(tmp_path, data):
    write_ctranslate2(tmp_path)
    (tmp_path / "model.bin").write_bytes(data)
    return tmp_path


@pytest.fixture
def variables():
    return ctranslate2_variables(SMALL, made_up_state())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"version": 5}, "version 5 is not that of a CTranslate2 model (6)"),
        ({"version": 0x04034B50}, "expected a model.bin as faster-whisper uses it"),
        ({"spec": "TransformerSpec"}, "holds TransformerSpec revision 3, expected WhisperSpec 3"),
        ({"revision": 4}, "WhisperSpec revision 4"),
    ],
)
def test_other_versions(tmp_path, variables, options, words):
    refused(ct2_folder(tmp_path, ct2_file(variables, **options)), words)


@pytest.mark.parametrize("in_memory", [False, True])
def test_truncated_model_bin(tmp_path, variables, in_memory):
    data = ct2_file(variables)
    for part in (0, 3, 4, 5, 20, 21, 25, 60, len(data) // 2, len(data) - 1):
        refused(ct2_folder(tmp_path, data[:part]), "truncated", in_memory=in_memory)


def test_trailing_bytes(tmp_path, variables):
    refused(ct2_folder(tmp_path, ct2_file(variables) + b"\0\0"), "2 bytes follow the end of the model")


def ct2_raw(*variables):
    """A file with variables given as bytes after their names."""
    header = struct.pack("<I", 6) + ct2_string("WhisperSpec") + struct.pack("<II", 3, len(variables))
    return header + b"".join(ct2_string(name) + rest for name, rest in variables) + struct.pack("<I", 0)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (struct.pack("<B4IBI", 4, *[2**32 - 1] * 4, 0, 4) + bytes(4), "cannot have 4 bytes"),
        (struct.pack("<B2IBI", 2, 65536, 16384, 0, 2**32 - 1), "cannot have 4294967295 bytes"),
        (struct.pack("<B2IBI", 2, 65536, 16383, 0, 65536 * 16383 * 4), "tensor x needs 4294705152 bytes"),
        (struct.pack("<BI", 255, 1), "has 255 axes"),
        (struct.pack("<BIBI", 1, 1, 6, 4) + bytes(4), "unknown dtype number 6"),
        (struct.pack("<BIBI", 1, 1, 0, 2) + bytes(2), "cannot have 2 bytes"),
    ],
)
def test_hostile_variables(tmp_path, rest, words):
    refused(ct2_folder(tmp_path, ct2_raw(("x", rest))), words)


def test_absurd_count_of_variables(tmp_path):
    data = struct.pack("<I", 6) + ct2_string("WhisperSpec") + struct.pack("<II", 3, 2**32 - 1)
    refused(ct2_folder(tmp_path, data), "claims 4294967295 tensors, at most 65536")


@pytest.mark.parametrize("name", [b"\x05\0abcde", b"\x03\0\xff\xff\0", b"\0\0", b"\x03\0\0\0\0"])
def test_damaged_names(tmp_path, name):
    data = struct.pack("<I", 6) + ct2_string("WhisperSpec") + struct.pack("<II", 3, 1) + name
    refused(ct2_folder(tmp_path, data), "not a text that ends with NUL")


def test_duplicate_variable(tmp_path):
    scalar = struct.pack("<BBIb", 0, 1, 1, 5)
    refused(ct2_folder(tmp_path, ct2_raw(("x", scalar), ("x", scalar))), "tensor x is there twice")


def test_aliases_to_nothing_and_twice(tmp_path, variables):
    refused(ct2_folder(tmp_path, ct2_file(variables, {"a": "b"})), "alias a points to b, which is not in the file")
    doubled = {"encoder/conv1/bias": "encoder/conv2/bias"}
    refused(ct2_folder(tmp_path, ct2_file(variables, doubled)), "encoder/conv1/bias is there twice")
    chain = {"a": "b", "b": "encoder/conv1/bias"}
    refused(ct2_folder(tmp_path, ct2_file(variables, chain)), "alias a points to b")


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("encoder/layer_0/ffn/linear_0/bias", None, "encoder/layer_0/ffn/linear_0/bias is missing"),
        ("encoder/conv1/weight", None, "encoder/conv1/weight is missing"),
        ("encoder/conv1/weight", torch.zeros(8, 8), "expected 3 axes"),
        ("encoder/more", torch.zeros(8), "encoder/more is not part of a Whisper model"),
        ("encoder/conv2/bias", torch.zeros(9), "encoder/conv2/bias has shape (9,), expected (8,)"),
        ("decoder/layer_0/self_attention/linear_0/weight", torch.zeros(16, 8), "expected (24, 8)"),
        ("encoder/conv2/bias", torch.zeros(8, dtype=torch.int32), "has dtype int32"),
        ("encoder/conv2/bias", torch.zeros(8, dtype=torch.int8), "is int8 without a scale"),
        ("encoder/conv2/bias_scale", torch.ones(8), "bias_scale is not part"),
        ("encoder/conv2/weight_scale", torch.ones(8), "is not quantised, but has a scale"),
        ("nowhere/weight_scale", torch.ones(8), "nowhere/weight_scale belongs to no weight"),
        ("encoder/num_heads", torch.tensor(3, dtype=torch.int16), "multiple of the heads"),
        ("encoder/num_heads", torch.tensor(-1, dtype=torch.int16), "n_audio_head is -1"),
        ("decoder/projection/weight", torch.zeros(20, 8), "decoder/projection/weight differs from"),
    ],
)
def test_variables_that_do_not_fit(tmp_path, variables, name, tensor, words):
    variables[name] = tensor
    kept = {key: value for key, value in variables.items() if value is not None}
    refused(ct2_folder(tmp_path, ct2_file(kept, {})), words)


def test_a_projection_equal_to_the_embedding_is_no_error(tmp_path, variables):
    variables["decoder/projection/weight"] = variables["decoder/embeddings/weight"].clone()
    read_checkpoint(ct2_folder(tmp_path, ct2_file(variables, {})))


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (torch.ones(3), "has shape (3,)"),
        (torch.ones(8, dtype=torch.int32), "dtype int32"),
        (torch.zeros(8), "not above zero"),
        (torch.full((8,), float("nan")), "not above zero"),
        (None, "is int8 without a scale"),
    ],
)
def test_scales_that_do_not_fit(tmp_path, variables, scale, words):
    variables = quantised(variables, torch.int8)
    name = "decoder/layer_0/attention/linear_2/weight_scale"
    variables[name] = scale
    kept = {key: value for key, value in variables.items() if value is not None}
    refused(ct2_folder(tmp_path, ct2_file(kept)), words)


def test_bias_of_keys_must_be_zero(tmp_path, variables):
    variables["encoder/layer_1/self_attention/linear_0/bias"][9] = 0.5
    refused(ct2_folder(tmp_path, ct2_file(variables)), "encoder/layer_1/self_attention/linear_0/bias", "for the keys")


@pytest.mark.filterwarnings("ignore")  # torch warns of pickles that are not its own
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["m.pt", "hf/model.safetensors", "ct2/model.bin"]))
def test_a_damaged_file_is_read_or_refused_but_never_anything_else(tmp_path, data, kind):
    """One changed byte anywhere: a value changes, or CheckpointError; no other exception, no crash."""
    path = tmp_path / kind
    if not path.exists():
        {"m.pt": lambda: write_pt(path), "hf/model.safetensors": lambda: write_huggingface(path.parent)}.get(
            kind, lambda: write_ctranslate2(path.parent)
        )()
    original = path.read_bytes()
    # Most of a file is values; the interesting bytes are at its ends.
    position = data.draw(st.one_of(st.integers(0, 600), st.integers(0, len(original) - 1), st.integers(1, 3000)))
    position = min(position, len(original) - 1)
    damaged = bytearray(original)
    damaged[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    try:
        read_checkpoint(path)
    except ModelError:
        pass
    finally:
        path.write_bytes(original)
