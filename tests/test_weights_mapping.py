import pytest
import torch

from checkpoint_files import SMALL, huggingface_state, made_up_state
from viska.model import Whisper
from viska.weights.mapping import (
    CTRANSLATE2_MODULES,
    CTRANSLATE2_POSITIONS,
    HUGGINGFACE_MODULES,
    HUGGINGFACE_POSITIONS,
    ctranslate2_parts,
    huggingface_names,
    tensor_shapes,
)
from viska.weights.registry import MODELS


@pytest.mark.parametrize("name", [*sorted(MODELS), "small made-up"])
def test_shapes_are_those_of_the_network(name):
    dims = MODELS[name].dims if name in MODELS else SMALL
    with torch.device("meta"):
        expected = {key: tuple(tensor.shape) for key, tensor in Whisper(dims).state_dict().items()}
    assert tensor_shapes(dims) == expected


@pytest.mark.parametrize(
    "tables", [(HUGGINGFACE_MODULES, HUGGINGFACE_POSITIONS), (CTRANSLATE2_MODULES, CTRANSLATE2_POSITIONS)]
)
def test_tables_are_one_to_one_and_keep_the_layer(tables):
    for table in tables:
        assert len(set(table.values())) == len(table)
        for ours, theirs in table.items():
            theirs = theirs if isinstance(theirs, str) else theirs.variable
            assert ours.count("{}") == theirs.count("{}")
    assert HUGGINGFACE_MODULES.keys() == CTRANSLATE2_MODULES.keys()


def test_huggingface_names_are_complete_and_agree_with_the_rules_of_the_test_files():
    state = made_up_state()
    names = huggingface_names(SMALL)
    assert set(names) == set(state)
    expected = {id(tensor): name for name, tensor in huggingface_state(state, "").items()}
    assert names == {name: expected[id(tensor)] for name, tensor in state.items()}


def test_parts_of_a_stacked_variable_cover_it_once():
    seen = {}
    for part in ctranslate2_parts(SMALL).values():
        seen.setdefault(part.variable, []).append(part)
    for variable, parts in seen.items():
        counts = {part.count for part in parts}
        assert len(counts) == 1
        # Keys have no bias of their own, so their part of a stacked bias is left out.
        missing = 1 if variable.endswith("bias") and counts != {1} else 0
        assert len({part.index for part in parts}) == len(parts) == counts.pop() - missing
