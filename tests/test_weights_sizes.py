"""Every official size with made-up weights of its true shapes, from each format, against openai/whisper.

The rival runs in its own interpreter, which VISKA_ORACLE_PYTHON names: a Python that has openai-whisper installed.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from checkpoint_files import made_up_state, write_ctranslate2, write_huggingface, write_pt
from viska.weights import load_model
from viska.weights.load import read_checkpoint
from viska.weights.registry import MODELS

ORACLE = """
import sys, torch, whisper
checkpoint, inputs, output = sys.argv[1:]
mel, tokens = torch.load(inputs)
model = whisper.load_model(checkpoint, device="cpu")
with torch.no_grad():
    torch.save(model.logits(tokens, model.embed_audio(mel)), output)
"""

WRITERS = {
    "pt": lambda folder, dims, state: write_pt(folder / "model.pt", dims, state),
    "huggingface": lambda folder, dims, state: write_huggingface(folder / "hf", dims, state),
    "ctranslate2": lambda folder, dims, state: write_ctranslate2(folder / "ct2", dims, state),
}


def realistic_state(dims):
    """Layer norms around one, as in trained models, so that no layer's part vanishes."""
    state = made_up_state(dims)
    for name, tensor in state.items():
        if name.endswith(("ln.weight", "ln_post.weight")):
            tensor += 1
    return state


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def oracle_python():
    python = os.environ.get("VISKA_ORACLE_PYTHON")
    if not python:
        pytest.skip("VISKA_ORACLE_PYTHON does not name a Python that has openai-whisper")
    return python


def test_the_formats_agree_on_a_true_size(tmp_path):
    dims = MODELS["tiny.en"].dims
    state = realistic_state(dims)
    for write in WRITERS.values():
        checkpoint = read_checkpoint(write(tmp_path, dims, state))
        assert checkpoint.dims == dims
        assert all(torch.equal(checkpoint.state[name], tensor) for name, tensor in state.items())


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", MODELS)
def test_every_size_gives_the_logits_of_openai_whisper(tmp_path, oracle_python, name):
    dims = MODELS[name].dims
    generator = torch.Generator().manual_seed(5)
    mel = torch.rand(1, dims.n_mels, 3000, generator=generator) * 2 - 1
    tokens = torch.randint(dims.n_vocab, (1, 8), generator=generator)
    torch.save((mel, tokens), tmp_path / "inputs")
    state = realistic_state(dims)
    pt = write_pt(tmp_path / "model.pt", dims, state)
    output = tmp_path / "logits"
    subprocess.run([oracle_python, "-c", ORACLE, str(pt), str(tmp_path / "inputs"), str(output)], check=True)
    expected = torch.load(output)
    pt.unlink()
    for kind, write in WRITERS.items():
        path = write(tmp_path, dims, state)
        if kind == list(WRITERS)[-1]:
            del state  # the largest need the room
        check_logits(path, mel, tokens, expected, kind)
        remove(path)


def check_logits(path: Path, mel, tokens, expected, kind):
    model = load_model(path, "cpu")
    with torch.no_grad():
        logits = model.logits(tokens, model.embed_audio(mel))
    error = ((logits - expected).abs().max() / expected.abs().max()).item()
    print(f"{path.name} ({kind}): largest difference {error:.1e} of the largest logit")
    assert logits.shape == expected.shape
    assert error < 1e-4
