import json

import pytest

from checkpoint_files import SMALL, write_huggingface, write_pt
from model_server import model_server
from viska.cli import main
from viska.weights import available_models
from viska.weights.load import read_checkpoint


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "VISKA_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VISKA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with model_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add_repository("me/tuned", write_huggingface(tmp_path / "repo"))
        yield server


def run(*words):
    return main(["models", *words])


def test_the_list_without_any_model(root, capsys):
    assert run() == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split()[0] for line in lines] == available_models()
    assert all(line.endswith(" MB  -") for line in lines)
    assert captured.err == ""


def test_sizes_are_those_of_float16_weights(root, capsys):
    run("--json")
    sizes = {row["name"]: round(row["bytes"] / 1e6) for row in json.loads(capsys.readouterr().out)}
    assert (sizes["tiny.en"], sizes["base"], sizes["large-v3"]) == (76, 145, 3087)


def test_fetch_list_and_remove(root, hub, capsys):
    assert run("fetch", "me/tuned") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{root / 'me--tuned'}\n"
    assert captured.err == "fetching me/tuned\n"
    run("--json")
    row = json.loads(capsys.readouterr().out)[-1]
    assert row["name"] == "me/tuned"
    assert row["cached"]["folder"] == str(root / "me--tuned")
    assert row["cached"]["source"] == "Hugging Face hub (me/tuned)"
    run()
    assert capsys.readouterr().out.splitlines()[-1].endswith(str(root / "me--tuned"))
    assert run("rm", "me/tuned") == 0
    assert capsys.readouterr().err == "removed me/tuned\n"
    assert not (root / "me--tuned").exists()
    assert run("rm", "me/tuned") == 4
    assert "me/tuned is not in" in capsys.readouterr().err


@pytest.mark.parametrize("order", ["before", "after"])
def test_model_dir(root, hub, tmp_path, capsys, order):
    option = ["--model_dir", str(tmp_path / "mine")]
    words = [*option, "fetch", "me/tuned"] if order == "before" else ["fetch", *option, "me/tuned"]
    assert run(*words) == 0
    assert (tmp_path / "mine" / "me--tuned" / "viska.json").is_file()
    assert not root.exists()


def test_one_failure_does_not_stop_the_others(root, hub, capsys):
    assert run("fetch", "no-such", "me/absent", "me/tuned") == 4
    captured = capsys.readouterr()
    assert "'no-such' is neither an official name" in captured.err
    assert "me/absent" in captured.err
    assert captured.out == f"{root / 'me--tuned'}\n"


@pytest.mark.parametrize("name", ["no-such", "..", "../x/y", "."])
def test_names_that_are_no_models_are_never_removed(root, capsys, name):
    assert run("rm", name) == 4
    assert "neither an official name nor owner/name" in capsys.readouterr().err


def test_convert(root, tmp_path, capsys):
    source = write_pt(tmp_path / "m.pt")
    assert run("convert", str(source), str(tmp_path / "out"), "--dtype", "float32") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert read_checkpoint(tmp_path / "out").dims == SMALL
    assert run("convert", str(source), str(tmp_path / "out")) == 5
    assert "exists, and is not overwritten" in capsys.readouterr().err


def test_unknown_dtype_is_a_usage_error(root, tmp_path):
    with pytest.raises(SystemExit) as caught:
        run("convert", "a", "b", "--dtype", "int4")
    assert caught.value.code == 2
