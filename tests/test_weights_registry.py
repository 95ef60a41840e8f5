import pytest
import torch

from viska.model import Whisper
from viska.weights import available_models
from viska.weights.registry import ALIASES, MODELS, find_official, parameter_count

UPSTREAM_NAMES = (
    "tiny.en tiny base.en base small.en small medium.en medium large-v1 large-v2 large-v3 large large-v3-turbo turbo"
)


def test_names_are_upstreams_in_order_then_distil():
    assert available_models() == [*UPSTREAM_NAMES.split(), "distil-large-v3"]


def test_names_are_a_fresh_list():
    available_models().clear()
    assert len(available_models()) == 15


def test_every_name_is_found_and_nothing_else():
    assert {find_official(name).name for name in available_models()} == set(MODELS)
    assert find_official("large") is find_official("large-v3")
    assert find_official("turbo") is find_official("large-v3-turbo")
    assert find_official("Base") is None
    assert find_official("openai/whisper-base") is None
    assert set(ALIASES) <= set(available_models())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_parameter_count_is_that_of_the_network(name):
    with torch.device("meta"):
        state = Whisper(MODELS[name].dims).state_dict()
    assert parameter_count(MODELS[name].dims) == sum(tensor.numel() for tensor in state.values())


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"distil-large-v3"}))
def test_alignment_heads_fit_the_decoder(name):
    heads, dims = MODELS[name].alignment_heads, MODELS[name].dims
    assert len(set(heads)) == len(heads)
    assert list(heads) == sorted(heads)
    assert all(0 <= layer < dims.n_text_layer and 0 <= head < dims.n_text_head for layer, head in heads)


def test_numbers_of_alignment_heads():
    counts = {name: len(model.alignment_heads or ()) for name, model in MODELS.items()}
    assert counts == {
        "tiny.en": 8,
        "tiny": 6,
        "base.en": 5,
        "base": 8,
        "small.en": 19,
        "small": 10,
        "medium.en": 18,
        "medium": 6,
        "large-v1": 9,
        "large-v2": 23,
        "large-v3": 10,
        "large-v3-turbo": 6,
        "distil-large-v3": 0,
    }


def test_digests_are_whole_and_distinct():
    digests = [model.openai_sha256 for model in MODELS.values() if model.openai_sha256]
    digests += [sha256 for model in MODELS.values() if model.wheels for _, _, sha256 in model.wheels.files]
    assert len(digests) == len(set(digests)) == 12 + 6
    assert all(len(digest) == 64 and int(digest, 16) for digest in digests)


def test_hub_repositories():
    repos = {name: model.hub.repo for name, model in MODELS.items()}
    assert repos["tiny.en"] == "Systran/faster-whisper-tiny.en"
    assert repos["base"] == "Systran/faster-whisper-base"
    assert repos["large-v1"] == "openai/whisper-large"
    assert repos["large-v3-turbo"] == "openai/whisper-large-v3-turbo"
    assert repos["small.en"] == "openai/whisper-small.en"
    assert repos["distil-large-v3"] == "distil-whisper/distil-large-v3"


def test_wheels_and_pinned_hub_files_are_the_same_bytes():
    for name in ("tiny.en", "base"):
        model = MODELS[name]
        assert dict(model.hub.digests) == {file: sha256 for file, _, sha256 in model.wheels.files}
        assert len(model.hub.revision) == 40
        assert [file for file, _ in model.wheels.members] == [file for file, _, _ in model.wheels.files]
