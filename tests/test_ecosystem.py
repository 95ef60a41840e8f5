"""Packages that build on openai-whisper run on Viska, unchanged; and so do openai-whisper's own tests.

`scripts/ecosystem` makes the environment. What the packages compute here was the same, word for word and time for time,
as on openai-whisper itself (docs/moving.md).
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import missing

ROOT = Path(__file__).resolve().parent.parent
UNREACHABLE = 69
SENTENCE = (
    "and mr john dashwood had then leisure to consider how much there might be prudently in his power to do for them"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def environment(tiny_en) -> Path:
    """The folder of the environment; `tiny_en` has the model fetched before."""
    made = subprocess.run([ROOT / "scripts" / "ecosystem"], capture_output=True, text=True)
    if made.returncode == UNREACHABLE:
        missing("the package index cannot be reached, from which scripts/ecosystem takes packages")
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())


def run(environment: Path, *arguments: str, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [environment / "bin" / "python", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=800,
        env={**os.environ, "RECORDINGS": str(ROOT / "recordings")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# `import whisper` is Viska from here on; `heard` prints words with their times.
BEGINNING = """
import json, os, warnings
warnings.simplefilter("ignore")
import viska
viska.install_as_whisper()
import whisper
assert whisper.__viska__ == viska.__version__
recording = os.environ["RECORDINGS"] + "/sense_and_sensibility_0870.wav"
def heard(words):
    print(json.dumps([[text, float(start), float(end)] for text, start, end in words]))
"""


def words_of(environment: Path, program: str) -> list[tuple[str, float, float]]:
    """The words that a program prints last."""
    printed = run(environment, "-c", BEGINNING + program)
    return [tuple(word) for word in json.loads(printed.splitlines()[-1])]


def assert_the_sentence_was_heard(words: list[tuple[str, float, float]]) -> None:
    assert " ".join(re.sub(r"\W", "", text).lower() for text, _, _ in words) == SENTENCE
    starts, ends = [start for _, start, _ in words], [end for _, _, end in words]
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    assert all(0 <= start <= end <= 7.1 for start, end in zip(starts, ends, strict=True))
    assert 0.8 <= words[3][1] <= 1.2  # where "Dashwood" begins
    assert 6.6 <= words[-1][2] <= 7.1


@pytest.mark.parametrize(
    "options", ["", "trust_whisper_timestamps=False", "naive_approach=True", "beam_size=5, best_of=5, temperature=0.0"]
)
def test_whisper_timestamped(environment, options):
    """Hooks on the decoder during `transcribe`, attention scores by `disable_sdpa`, results that are written into."""
    program = f"""
import whisper_timestamped
model = whisper_timestamped.load_model("tiny.en", device="cpu")
result = whisper_timestamped.transcribe(model, recording, language="en", {options})
assert all(0 < word["confidence"] <= 1 for segment in result["segments"] for word in segment["words"])
heard((word["text"], word["start"], word["end"]) for segment in result["segments"] for word in segment["words"])
"""
    assert_the_sentence_was_heard(words_of(environment, program))


STABLE_WHISPER = """
import sys, types
sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # for resampling, which 16 kHz needs none of
import stable_whisper
model = stable_whisper.load_model("tiny.en", device="cpu")
samples = viska.load_audio(recording)
"""


@pytest.mark.parametrize(
    "call",
    [
        'model.transcribe(samples, language="en", verbose=None)',
        'model.transcribe_minimal(samples, language="en", verbose=None)',
        f'model.align(samples, "{SENTENCE}", language="en", verbose=None)',
    ],
    ids=["transcribe", "transcribe_minimal", "align"],
)
def test_stable_ts(environment, call):
    """A decoding task derived from ours, its own long-form loop, alignment of a given text, a version check."""
    program = f"{STABLE_WHISPER}\nheard((word.word, word.start, word.end) for word in {call}.all_words())"
    assert_the_sentence_was_heard(words_of(environment, program))


def test_stable_ts_finds_a_word(environment):
    """A decoder loop of its own over our key-value cache."""
    program = f"""{STABLE_WHISPER}
found = model.locate(samples, "leisure", language="en", mode=1, verbose=None)
heard((match["text"], 0, match["end"]) for match in found)
"""
    ((text, _, end),) = words_of(environment, program)
    assert text == "leisure"
    assert 2.4 <= end <= 3.4


def test_speech_recognition(environment):
    program = """
import speech_recognition
recognizer = speech_recognition.Recognizer()
with speech_recognition.AudioFile(recording) as file:
    sound = recognizer.record(file)
result = recognizer.recognize_whisper(sound, model="tiny.en", show_dict=True, language="english", word_timestamps=True)
heard((word["word"], word["start"], word["end"]) for segment in result["segments"] for word in segment["words"])
"""
    assert_the_sentence_was_heard(words_of(environment, program))


UPSTREAM_CONFTEST = """
import random, numpy, pytest, torch
import viska
viska.install_as_whisper()

def pytest_configure(config):
    config.addinivalue_line("markers", "requires_cuda")

def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("requires_cuda") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip("needs a GPU"))

@pytest.fixture(autouse=True)
def _fixed_random_numbers():
    random.seed(42)
    numpy.random.seed(42)
"""


def test_the_tests_of_openai_whisper_pass(environment, corpus, tmp_path):
    shutil.copytree(environment / "upstream" / "tests", tmp_path / "tests")
    shutil.copy(corpus / "openai-whisper" / "jfk.flac", tmp_path / "tests")  # the package comes without it
    (tmp_path / "conftest.py").write_text(UPSTREAM_CONFTEST)
    # Of the tests of `transcribe`, one a model, those of the models that are as small as can be.
    chosen = ("-k", "not test_transcribe or tiny.en", "-p", "no:cacheprovider", "--rootdir", str(tmp_path))
    printed = run(environment, "-m", "pytest", "-q", *chosen, "tests", folder=tmp_path)
    assert re.search(r"^(18|26) passed", printed.splitlines()[-1]), printed  # 8 need a GPU
