"""What fuzzing has found, once more; and a few thousand fresh mutations of every kind of input."""

import random
from pathlib import Path

import pytest
from benchmarks.fuzz.targets import TARGETS

FINDINGS = sorted((Path(__file__).parent / "findings").glob("*/*.bin"))
WITHOUT_ATHERIS = sorted(TARGETS.keys() - {"writers"})  # whose input is made of the bytes by atheris
MUTANTS = 60

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of pickles that are not its own


def run(name, data):
    target = TARGETS[name]
    try:
        target.call(data)
    except target.allowed as error:
        return str(error)
    return None


def test_there_are_findings_to_repeat():
    assert len(FINDINGS) >= 3


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_finding_is_refused_in_words(path):
    message = run(path.parent.name, path.read_bytes())
    assert message is None or 0 < len(message) < 2000


@pytest.mark.parametrize("name", WITHOUT_ATHERIS)
def test_every_seed_is_accepted_as_it_is(name):
    for seed in TARGETS[name].seeds():
        assert name == "hub" or run(name, seed) is None


@pytest.mark.parametrize("name", WITHOUT_ATHERIS)
def test_mutations_raise_what_they_may(name):
    rng = random.Random(name)
    for seed in TARGETS[name].seeds():
        for _ in range(MUTANTS):
            data = bytearray(seed[: rng.randrange(1, len(seed) + 1)] if rng.random() < 0.3 else seed)
            for _ in range(rng.choice([1, 2, 8])):
                data[rng.randrange(len(data))] = rng.randrange(256)
            run(name, bytes(data))
