"""Shared fixtures: the development corpus, the repo's own recordings, and the two real models."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Time is for benchmarks: a busy machine is no failure.
settings.register_profile("viska", deadline=None)
settings.load_profile("viska")

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() == "true"


def missing(reason: str) -> None:
    """Skip, and say why; in CI what is missing is a failure."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of the development corpus, which lies beside the checkout and is never part of it."""
    folder = Path(os.environ.get("VISKA_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not (folder / "manifest.jsonl").is_file():
        missing(f"no development corpus at {folder} (set VISKA_CORPUS to its folder)")
    return folder


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The public-domain recordings that are part of the repo."""
    return ROOT / "recordings"


@pytest.fixture(scope="session")
def tiny_en():
    """The real tiny.en, float32 on the CPU."""
    import viska

    return viska.load_model("tiny.en", device="cpu")


@pytest.fixture(scope="session")
def base():
    """The real multilingual base, float32 on the CPU."""
    import viska

    return viska.load_model("base", device="cpu")


@pytest.fixture(autouse=True)
def guard_for_real_models(request, monkeypatch):
    """What a made-up model says has nothing to do with the sound; the guard would drop it: off, unless asked for."""
    real = {"tiny_en", "base"} & set(request.fixturenames)
    if not real and request.node.get_closest_marker("guarded") is None:
        from viska.transcription import TranscribeOptions

        monkeypatch.setattr(TranscribeOptions, "guarded", False)


@pytest.fixture
def command(tmp_path, capfd, caplog, monkeypatch):
    """The command line with a made-up model; its results go to a folder `results`."""
    from command import Command
    from made_up import ENGLISH, made_up_model

    model = made_up_model(ENGLISH)
    monkeypatch.setattr("viska.weights.load_model", lambda *_, **__: model)
    return Command(tmp_path / "results", capfd, caplog)
