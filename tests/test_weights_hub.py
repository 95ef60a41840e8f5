import dataclasses
import hashlib

import pytest
import torch

from checkpoint_files import SMALL, made_up_state, write_ctranslate2, write_huggingface, write_json, write_tokenizer
from model_server import COMMIT, model_server
from viska.errors import DigestError, DownloadError, UnknownModelError
from viska.weights import download as download_module
from viska.weights import load_model
from viska.weights.hub import HubFetch, parse_hub_id
from viska.weights.load import locate
from viska.weights.registry import HubSource
from viska.weights.source import SourceError


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(download_module, "PAUSE_SECONDS", 0.0)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "VISKA_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with model_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
        yield server


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("openai/whisper-small", HubSource("openai/whisper-small")),
        ("a/b.c_d-e@refs/pr/1", HubSource("a/b.c_d-e", "refs/pr/1")),
        ("a/b@", None),
        ("base", None),
        ("a/b/c", None),
        ("../b", None),
        ("a/..", None),
        ("./models", None),
        ("/a/b", None),
        ("a/b?x=1", None),
        ("", None),
    ],
)
def test_hub_ids(text, expected):
    assert parse_hub_id(text) == expected


def test_a_fine_tune_by_its_id(hub, tmp_path):
    repo = write_huggingface(tmp_path / "repo", alignment_heads=[[2, 1]])
    (repo / "pytorch_model.bin").write_bytes(b"a pickle")
    (repo / "README.md").write_text("read me")
    hub.add_repository("me/tuned", repo)
    model = load_model("me/tuned", "cpu", tmp_path / "cache")
    assert torch.equal(model.encoder.conv1.bias, made_up_state()["encoder.conv1.bias"].float())
    assert model.alignment_heads.indices().T.tolist() == [[2, 1]]
    fetched = {path.rpartition("/")[2] for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path}
    assert fetched == {"config.json", "model.safetensors"}
    assert sorted(path.name for path in (tmp_path / "cache" / "me--tuned").iterdir()) == [
        "config.json",
        "model.safetensors",
        "viska.json",
    ]


def test_a_second_load_asks_nobody(hub, tmp_path):
    hub.add_repository("me/tuned", write_huggingface(tmp_path / "repo"))
    load_model("me/tuned", "cpu", tmp_path / "cache")
    hub.requests.clear()
    load_model("me/tuned", "cpu", tmp_path / "cache")
    assert hub.requests == []


@pytest.mark.parametrize(("options", "n_files"), [({"shards": 3}, 5), ({}, 2)])
def test_whole_and_sharded_weights(hub, tmp_path, options, n_files):
    hub.add_repository("me/tuned", write_huggingface(tmp_path / "repo", **options))
    folder = locate("me/tuned", tmp_path / "cache").path
    assert len(list(folder.iterdir())) == n_files + 1
    assert load_model(folder, "cpu").dims == SMALL


def test_ctranslate2_weights_where_there_are_no_others(hub, tmp_path):
    repo = write_ctranslate2(tmp_path / "repo")
    write_tokenizer(repo, {"<|endoftext|>": 50257})
    (repo / "vocabulary.txt").write_text("not needed")
    hub.add_repository("me/fast", repo)
    folder = locate("me/fast", tmp_path / "cache").path
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.bin", "tokenizer.json", "viska.json"]


def test_safetensors_come_before_ctranslate2(hub, tmp_path):
    repo = write_huggingface(write_ctranslate2(tmp_path / "repo"))
    hub.add_repository("me/both", repo)
    assert not (locate("me/both", tmp_path / "cache").path / "model.bin").exists()


def test_only_pickles_are_refused(hub, tmp_path):
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "pytorch_model.bin").write_bytes(b"a pickle")
    hub.add_repository("me/old", repo)
    with pytest.raises(DownloadError, match="convert them to safetensors first"):
        locate("me/old", tmp_path / "cache")


def test_a_revision(hub, tmp_path):
    hub.add_repository("me/tuned", write_huggingface(tmp_path / "repo"))
    info = hub.files.pop("/api/models/me/tuned/revision/main")
    hub.files["/api/models/me/tuned/revision/refs%2Fpr%2F1"] = info
    assert locate("me/tuned@refs/pr/1", tmp_path / "cache").path.name == "me--tuned@refs--pr--1"
    with pytest.raises(DownloadError, match="no such file or revision"):
        locate("me/tuned", tmp_path / "cache")


def test_the_token_goes_to_the_hub_and_not_along_a_redirect(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.add_repository("me/private", write_huggingface(tmp_path / "repo"))
    path = f"/me/private/resolve/{COMMIT}/model.safetensors"
    with model_server() as storage:
        storage.files["/blob"] = hub.files[path]
        hub.redirects[path] = storage.url.replace("127.0.0.1", "localhost") + "/blob"
        locate("me/private", tmp_path / "cache")
        assert [headers.get("Authorization") for headers in storage.bodies("/blob")] == [None]
    sent = [headers.get("Authorization") for method, _, headers in hub.requests if method == "GET"]
    assert set(sent) == {"Bearer secret"}
    assert [headers.get("Authorization") for method, _, headers in hub.requests if method == "HEAD"] == [None]


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_says_what_to_do(hub, tmp_path, status):
    hub.statuses["/api/models/me/gated/revision/main"] = [status]
    with pytest.raises(DownloadError, match="HF_TOKEN"):
        locate("me/gated", tmp_path / "cache")


def test_large_files_are_checked_against_the_declared_digest(hub, tmp_path):
    hub.add_repository("me/tuned", write_huggingface(tmp_path / "repo"))
    path = f"/me/tuned/resolve/{COMMIT}/model.safetensors"
    hub.files[path] = hub.files[path][:-1] + b"\x55"
    with pytest.raises(DigestError, match=r"model.safetensors: it has the SHA-256 .* expected"):
        locate("me/tuned", tmp_path / "cache")
    assert not (tmp_path / "cache" / "me--tuned").exists()


def test_small_files_are_checked_against_their_git_id(hub, tmp_path):
    hub.add_repository("me/tuned", write_huggingface(tmp_path / "repo"))
    path = f"/me/tuned/resolve/{COMMIT}/config.json"
    hub.files[path] = hub.files[path].replace(b"gelu", b"relu")
    with pytest.raises(DigestError, match=r"config.json: it has the git object id"):
        locate("me/tuned", tmp_path / "cache")


def test_pinned_digests_count_more_than_what_the_hub_says(hub, tmp_path):
    repo = write_huggingface(tmp_path / "repo")
    hub.add_repository("me/tuned", repo)
    right = hashlib.sha256((repo / "config.json").read_bytes()).hexdigest()
    pinned = HubSource("me/tuned", "main", (("config.json", right), ("model.safetensors", "0" * 64)))
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(SourceError, match="expected 0000"):
        HubFetch(pinned).fetch(folder)
    assert HubFetch(dataclasses.replace(pinned, digests=(("config.json", right),))).fetch(folder)


@pytest.mark.parametrize(
    "info",
    [[], {}, {"sha": 5}, {"sha": "../../x"}, {"sha": COMMIT}, {"sha": COMMIT, "siblings": [1, {"rfilename": 2}]}],
)
def test_answers_that_make_no_sense(hub, tmp_path, info):
    hub.declare("me/odd", info)
    with pytest.raises(DownloadError, match="me/odd"):
        locate("me/odd", tmp_path / "cache")


@pytest.mark.parametrize("name", ["../../evil.safetensors", "/evil.safetensors", "sub/x.safetensors", "x.bin", 7])
def test_shards_that_lead_out_of_the_folder(hub, tmp_path, name):
    repo = write_huggingface(tmp_path / "repo", shards=2)
    write_json(repo / "model.safetensors.index.json", {"weight_map": {"a": name}})
    hub.add_repository("me/evil", repo)
    with pytest.raises(DownloadError, match="does not name its shards"):
        locate("me/evil", tmp_path / "cache")


def test_a_shard_that_is_not_there(hub, tmp_path):
    repo = write_huggingface(tmp_path / "repo", shards=2)
    (repo / "model-00001-of-00002.safetensors").unlink()
    hub.add_repository("me/part", repo)
    with pytest.raises(DownloadError, match="lacks the shard model-00001"):
        locate("me/part", tmp_path / "cache")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "VISKA_OFFLINE"])
def test_offline(hub, tmp_path, monkeypatch, variable):
    hub.add_repository("me/tuned", write_huggingface(tmp_path / "repo"))
    monkeypatch.setenv(variable, "1")
    with pytest.raises(DownloadError, match=f"{variable} is set"):
        load_model("me/tuned", "cpu", tmp_path / "cache")
    assert hub.requests == []
    monkeypatch.delenv(variable)
    load_model("me/tuned", "cpu", tmp_path / "cache")
    monkeypatch.setenv(variable, "1")
    load_model("me/tuned", "cpu", tmp_path / "cache")


def test_a_path_comes_before_an_id(hub, tmp_path, monkeypatch):
    write_huggingface(tmp_path / "me" / "tuned")
    monkeypatch.chdir(tmp_path)
    load_model("me/tuned", "cpu")
    assert hub.requests == []


def test_neither_name_nor_path_nor_id(hub, tmp_path):
    with pytest.raises(UnknownModelError, match=r"no model or path 'bigger'; known names: tiny.en, tiny"):
        load_model("bigger", "cpu", tmp_path)
    assert hub.requests == []
