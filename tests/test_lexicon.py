"""Which words a language has: the filter that comes with the package, and how it is made."""

import importlib.util
import json
import random
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from viska.languages import LANGUAGES
from viska.transcription.lexicon import WORDS, Lexicon, lexicon
from viska.transcription.spelling import parts_of

ROOT = Path(__file__).resolve().parent.parent
ASSET = ROOT / "src" / "viska" / "assets" / WORDS


@pytest.fixture(scope="module")
def make_words():
    spec = importlib.util.spec_from_file_location("make_words", ROOT / "scripts" / "make_words.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", " The CATHEDRALS' naïve don't mother-in-law o'clock"),
        ("fr", " l'homme États-Unis Aujourd'hui, œuvre"),
        ("de", " Straße STRASSE über Leichenhalle"),
        ("es", " ¿Señor? república"),
        ("pt", " não ações"),
        ("it", " perché dell'acqua"),
        ("nl", " zo'n gezellig"),
        ("no", " kjærlighet"),
        ("pl", " książka"),
        ("ru", " ёлка слово"),
        ("uk", " їжак"),
        ("ar", " كتاب السلام"),
        ("he", " שלום"),
        ("bn", " বাংলাদেশ"),
    ],
)
def test_words_are_known_in_every_spelling(language, words):
    assert [word for word in words.split() if lexicon().lacks(word, language)] == []


@pytest.mark.parametrize(
    ("language", "word"),
    [
        ("en", " tapistrie"),
        ("fr", " inaliennables,"),
        ("de", " Leichenhaler"),
        ("ru", " зловица"),
        ("en", " of-tapistrie"),
    ],
)
def test_what_is_no_word_is_lacking(language, word):
    assert lexicon().lacks(word, language)


def test_nothing_is_lacking_in_a_language_of_which_nothing_is_known():
    assert not any(lexicon().lacks(" tapistrie", language) for language in (None, "yo", "zh", "ja", "xx"))


@pytest.mark.parametrize(
    "text", ["", " ", " ,", "--", " 1811", " 3.5%", " MP3", " 2nd", "\ud83d", " \N{GRINNING FACE}"]
)
def test_marks_and_numbers_are_no_words(text):
    assert not lexicon().lacks(text, "en")


def test_one_in_a_hundred_that_are_no_words_is_taken_for_one():
    rng = random.Random(0)
    made_up = ["".join(rng.choices(string.ascii_lowercase, k=12)) for _ in range(10_000)]
    assert 0.005 < sum(not lexicon().lacks(word, "en") for word in made_up) / len(made_up) < 0.02


def test_the_text_of_real_recordings_is_known(recordings):
    lines = [json.loads(line) for line in (recordings / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    words = [word for line in lines if line["language"] == "en" for word in (line["text"] or "").split()]
    assert len(words) > 40
    assert sum(lexicon().lacks(word, "en") for word in words) <= 0.03 * len(words)


@given(st.text(max_size=40))
def test_parts_are_letters_alone_whatever_the_text(text):
    parts = parts_of(text)
    assert all(part and not any(letter.isspace() for letter in part) for part in parts)
    assert parts_of(text.upper().lower()) == parts_of(text.lower().upper().lower())


# Making it


@given(st.sets(st.text(string.ascii_lowercase + "\u0439\u4e00", min_size=1, max_size=8), min_size=1, max_size=50))
def test_a_filter_lacks_none_of_its_words(make_words, words):
    bits = make_words.filtered(
        {(part, "en") for word in words for part in parts_of(word)} | {(f"filler{i}", "de") for i in range(10)}
    )
    made = Lexicon(bits.tobytes(), frozenset({"en", "de"}))
    assert not any(made.lacks(word, "en") for word in words)


def test_the_filter_in_the_package_says_where_it_is_from(make_words):
    with safe_open(ASSET, framework="numpy") as file:
        told = file.metadata()
    assert told == make_words.SOURCE | {"languages": " ".join(sorted(make_words.LISTS))}
    assert set(make_words.LISTS) <= set(LANGUAGES)
    assert "CC BY-SA 4.0" in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_an_unknown_wheel_is_refused(make_words, tmp_path, monkeypatch, capsys):
    wheel = tmp_path / "wordfreq.whl"
    wheel.write_bytes(b"other words")
    monkeypatch.setattr("sys.argv", ["make_words.py", str(wheel), "--output", str(tmp_path / WORDS)])
    assert make_words.main() == 1
    assert "unknown SHA-256" in capsys.readouterr().err
    assert not (tmp_path / WORDS).exists()
