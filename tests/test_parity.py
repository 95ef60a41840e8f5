"""Viska gives what openai-whisper gave on the repo's own recordings; `scripts/parity` compares on many more."""

from pathlib import Path

import pytest
import torch
from benchmarks.parity import clips, expectations
from benchmarks.parity.compare import compare_answers
from benchmarks.parity.ours import Ours

EXPECTED = Path(__file__).parent / "expected"
MODELS = {"tiny.en": "tiny_en", "base": "base"}
SETTINGS = (*expectations.ON_ALL, *expectations.ON_FOUR, *expectations.ON_TWO, *expectations.ON_ONE)


@pytest.fixture(scope="module")
def arrays(recordings, tmp_path_factory):
    return clips.Arrays(recordings, tmp_path_factory.mktemp("arrays"), expectations.load_joined)


@pytest.fixture(scope="module")
def two_threads():
    """As many as the expected results were computed with: sums in another order differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ours(request, two_threads):
    """Viska's answers with either model, which share what the encoder makes of a window."""
    return {name: Ours(request.getfixturevalue(fixture)) for name, fixture in MODELS.items()}


def stored(model, recordings, arrays):
    return list(expectations.read(EXPECTED / f"{model}.jsonl", expectations.clips_to_keep(recordings), arrays))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_same_as_openai_whisper(ours, recordings, arrays, model, setting):
    cases = [pair for pair in stored(model, recordings, arrays) if pair[0].setting.name == setting]
    if not cases:
        assert expectations.SETTINGS[setting].multilingual_only
        assert model == "tiny.en"
    for case, expected in cases:
        found = ours[model].answer(case)
        if case.setting.kind == "detect":
            found = [likeliest(window, expected[i]) for i, window in enumerate(found)]
        for verdict in compare_answers(case.setting.kind, expected, found):
            assert verdict.status == "equal", f"{case.label}: {verdict.detail}"


def likeliest(found, expected):
    """The languages that are stored; no other may be likelier."""
    codes, probs = expected["language_probs"], found["language_probs"]
    assert set(sorted(probs, key=probs.get, reverse=True)[: len(codes)]) == set(codes)
    return {"language_probs": {code: probs[code] for code in codes}}


@pytest.mark.parametrize("model", MODELS)
def test_the_stored_results_speak(recordings, arrays, model):
    """They are worth comparing with: there is text in them, and the searches find it."""
    texts = [
        expected[0]["text"] for case, expected in stored(model, recordings, arrays) if case.setting.name == "greedy"
    ]
    assert len(texts) >= 4
    assert all(len(text.split()) >= 3 for text in texts)
