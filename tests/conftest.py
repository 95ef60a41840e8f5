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
