"""The comparison of the engine with the reference path over recordings."""

import numpy as np
import pytest
import torch
from benchmarks.parity.engine import Tally, compare, main

from made_up import made_up_model
from viska.vad import VoiceActivity


@pytest.fixture(autouse=True)
def speech(monkeypatch):
    """Somebody speaks all the time, with a pause every 20 s."""
    probabilities = torch.full((8000,), 0.9)
    probabilities[620::625] = 0.05
    monkeypatch.setattr(
        "viska.transcription.cutting.voice_activity", lambda _: VoiceActivity(probabilities, 8000 * 512)
    )


def noise(seed: int, seconds: float):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)


def test_a_made_up_model_says_the_same_in_every_way():
    model = made_up_model()
    model.compute_type = "float32"
    recordings = [("a", noise(1, 50)), ("b", noise(2, 4)), ("c", noise(3, 31))]
    tallies = compare(model, recordings, language="en", sample_len=16, no_speech_threshold=None)
    assert tallies.keys() == {"in order", "batches of 8", "batches of 3", "across files"}
    for tally in tallies.values():
        assert (tally.recordings, tally.different) == (3, [])
        assert tally.segments >= 5


def test_what_differs_is_named():
    tally = Tally()
    tally.add("a", [(1, 2)], [(1, 2)])
    tally.add("b", [(1, 2), (3,)], [(1, 2)])
    assert tally.different == ["b"]
    assert tally.line("in order") == "in order: 1 of 2 recordings the same, 2 segments; ['b']"


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_base_says_the_same_on_the_short_recordings_of_the_corpus(corpus):
    assert main([str(corpus / "manifest.jsonl"), "--longest", "12"]) == 0
