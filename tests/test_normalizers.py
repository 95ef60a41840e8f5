"""Text normalizers: what they make of text, and that it is what openai/whisper makes of it."""

import json
import os
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("whisper_normalizer", reason="the extra is not installed: pip install '.[eval]'")

from viska.normalizers import (
    BasicTextNormalizer,
    EnglishNumberNormalizer,
    EnglishSpellingNormalizer,
    EnglishTextNormalizer,
    basic,
    english,
)

ENGLISH = EnglishTextNormalizer()
NUMBERS = EnglishNumberNormalizer()


def test_names_are_importable_from_where_whisper_has_them():
    assert basic.BasicTextNormalizer is BasicTextNormalizer
    assert english.EnglishTextNormalizer is EnglishTextNormalizer
    assert english.EnglishNumberNormalizer is EnglishNumberNormalizer
    assert english.EnglishSpellingNormalizer is EnglishSpellingNormalizer


# --- any language


def test_basic_keeps_letters_and_drops_the_rest():
    normalize = BasicTextNormalizer()
    assert normalize("Hello,  WORLD!") == "hello world "
    assert normalize("a [laughs] b <unk> c (coughs) d") == "a b c d"
    assert normalize("Où est le café?") == "où est le café "
    assert normalize("ﬁn Ⅷ ①") == "fin viii 1"
    assert normalize("日本、語") == "日本 語"


def test_basic_takes_combining_marks_for_symbols():
    assert BasicTextNormalizer()("हिन्दी") == "ह न द "


def test_diacritics_can_be_dropped():
    normalize = BasicTextNormalizer(remove_diacritics=True)
    assert normalize("Café ÆON Straße Łódź øre œuvre þing") == "cafe aeon strasse lodz ore oeuvre thing"


def test_letters_can_be_split():
    normalize = BasicTextNormalizer(split_letters=True)
    assert normalize("日本語。") == "日 本 語 "
    assert normalize("e\u0301a") == "é a"


def test_helpers():
    assert basic.remove_symbols("a-b·c é") == "a b c é"
    assert basic.remove_symbols_and_diacritics("5% é $3.50!", keep=".%$") == "5% e $3.50 "
    assert basic.ADDITIONAL_DIACRITICS["ß"] == "ss"


@given(st.text(), st.booleans(), st.booleans())
def test_basic_leaves_only_single_spaces_and_lower_case(text, remove_diacritics, split_letters):
    normalized = BasicTextNormalizer(remove_diacritics, split_letters)(text)
    assert "  " not in normalized
    assert normalized == normalized.lower()
    assert set(normalized) & set("\t\n.,;:!?()[]\"'%$") == set()


# --- English


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two", "2"),
        ("thirty one", "31"),
        ("five twenty four", "524"),
        ("nineteen ninety nine", "1999"),
        ("twenty nineteen", "2019"),
        ("three hundred and sixty five", "365"),
        ("two thousand and twenty six", "2026"),
        ("one million two hundred thousand", "1200000"),
        ("two and a half million", "2500000"),
        ("three point one four", "3.14"),
        ("one oh one", "101"),
        ("double oh seven", "007"),
        ("triple five", "555"),
        ("twenty first", "21st"),
        ("the nineteen sixties", "the 1960s"),
        ("the forties", "the 40s"),
        ("minus five", "-5"),
        ("fifty percent", "50%"),
        ("fifty per cent", "50%"),
        ("ten thousand dollars", "$10000"),
        ("two pounds and fifty pence", "£2 and 50 pence"),
        ("three euros and seven cents", "€3.07"),
        ("seven cents", "¢7"),
        ("$20 million", "$20000000"),
        ("one", "one"),
        ("1 and the 1s", "one and the ones"),
        ("a hundred and a cow", "a 100 and a cow"),
        ("plus ca change", "plus ca change"),
        ("10am", "10 am"),
        ("", ""),
    ],
)
def test_numbers(text, expected):
    assert NUMBERS(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Um, I, uh, don't know.", "i do not know"),
        ("Hmm mm mhm mmm yes", "yes"),
        ("he'd been there, she's gone, they've got it", "he had been there she has gone they have got it"),
        ("I'm sure we'll say you're right; it's Bob's", "i am sure we will say you are right it is bob is"),
        ("won't can't let's ain't gonna gotta wanna", "will not can not let us aint going to got to want to"),
        ("Mr. Park visited Assoc. Prof. Kim Jr.", "mister park visited associate professor kim junior"),
        ("Dr. Lee and Mrs. Ho, St. Mary", "doctor lee and missus ho saint mary"),
        ("the colour of the theatre", "the color of the theater"),
        ("He paid £3,500.50 for 25% of it", "he paid £3500.50 for 25% of it"),
        ("a % sign, a $ sign, a full stop.", "a sign a sign a full stop"),
        ("(aside) [noise] naïve café", "naive cafe"),
        ("It cost twenty-five dollars", "it cost $25"),
        ("Let 's go", "let us go"),
    ],
)
def test_english(text, expected):
    assert " ".join(ENGLISH(text).split()) == expected


@pytest.mark.parametrize("word", ["kinda", "sorta", "dunno", "cause"])
def test_what_whisper_leaves_alone_is_left_alone(word):
    assert ENGLISH(f"well {word} so") == f"well {word} so"


def test_spelling():
    normalize = EnglishSpellingNormalizer()
    assert normalize("we organise  coloured theatres\n") == "we organize colored theaters"
    assert normalize("Colour") == "Colour"  # it expects lower case
    assert len(normalize.mapping) > 1700
    assert normalize.mapping["colour"] == "color"


def test_a_number_beyond_what_python_converts_stays_as_it_is():
    digits = "7" * 5000
    assert NUMBERS(f"twenty two {digits} thirty million") == f"22 {digits} 30000000"
    assert ENGLISH(f"It is {digits}, Dr. Lee") == f"it is {digits} doctor lee"
    assert NUMBERS("7" * 4000 + " decillion").startswith("7777")


WORDS = st.sampled_from([*sorted(NUMBERS.words), "cow", "5", "$7", "3.5", "7" * 4500, "'s", "and a half", "(", "%"])


@given(st.lists(WORDS | st.text(max_size=5), max_size=12).map(" ".join))
def test_no_text_is_too_strange(text):
    assert "  " not in ENGLISH(text)


# --- without the package


@pytest.mark.parametrize("absent", ["whisper_normalizer", "more_itertools"])
@pytest.mark.parametrize("module", ["viska.normalizers", "viska.normalizers.basic", "viska.normalizers.english"])
def test_without_the_package_the_error_says_what_to_install(absent, module):
    code = f"""
import sys
sys.modules["{absent}"] = None  # what Python does with a package that is not there
from viska.errors import ViskaError
try:
    import {module}
except ViskaError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "whisper-normalizer" in run.stdout
    assert absent in run.stdout
    assert run.stdout.endswith("pip install '.[eval]'\n")


def test_nothing_heavy_is_imported():
    code = (
        "import sys, viska.normalizers; print({'torch', 'numpy', 'text_to_num', 'indic_numtowords'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# --- against openai/whisper

ORACLE_SCRIPT = """
import importlib.util, json, sys, types

# The subpackage alone, without the torch that the whole package imports.
package = types.ModuleType("whisper")
package.__path__ = list(importlib.util.find_spec("whisper").submodule_search_locations)
sys.modules["whisper"] = package
from whisper.normalizers import basic, english

normalizers = {
    "basic": basic.BasicTextNormalizer(),
    "diacritics": basic.BasicTextNormalizer(remove_diacritics=True),
    "letters": basic.BasicTextNormalizer(split_letters=True),
    "english": english.EnglishTextNormalizer(),
    "numbers": english.EnglishNumberNormalizer(),
    "spelling": english.EnglishSpellingNormalizer(),
}
texts = json.load(sys.stdin)
json.dump({name: [normalize(text) for text in texts] for name, normalize in normalizers.items()}, sys.stdout)
"""

SAMPLES = """
1 2 0 10 100 007 3.14 1,000 12,345.67 $20 £3.50 €1 ¢5 $0.07 5% 50%, 1960s 274th 32nd 10am 24/7 12:30 2024-01-15 1/2
+5 -5 192.168.0.1 .5 5. 1.5m b2b mp3 ½ ² ٣ ௧ \uff11\uff12 ① won't can't let's ain't y'all wanna kinda sorta dunno gotta
gonna i'ma imma woulda coulda shoulda cause ma'am he'd she's they'd been gone done got isn't you're it's I'd we'll 't
I've I'm 's it\u2019s rock'n'roll Mr. Mrs. St. Dr. Prof. Capt. Gov. Ald. Gen. Sen. Rep. Pres. Rev. Hon. Asst. Assoc.
Lt. Col. Jr. Sr. Esq. Um, uh... hmm mhm [laughter] (coughs) <unk> [a (b] c) ( ) () [] and a half the cat sat on mat
café naïve œuvre Ærø Straße ẞ Łódź Þór ﬁ Å e\u0301 日本語 テスト हिन्दी ไทย العربيّة русский ёлка 한국어
👩🏽\u200d💻 🇸🇪 — … « » \u200b İ \u0131 \u017f Ⅷ 1\u0307 % $ ¢ € £ ₹ . , ; ! ? - _ / @ # & * = |
"""
PIECES = [*SAMPLES.split(), *sorted(NUMBERS.words), *EnglishSpellingNormalizer().mapping]


def corpus_texts(corpus):
    lines = (corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [text for line in lines for key in ("text", "partial_text") if (text := json.loads(line).get(key))]


def made_up_texts(count):
    chance = random.Random(19)
    for _ in range(count):
        # The spellings are most of the pieces; half of the texts do without.
        pieces = chance.choice([PIECES, PIECES[:300]])
        words = chance.choices(pieces, k=chance.randint(1, 14))
        yield chance.choice([" ", " ", " ", "  ", "-", ", ", ""]).join(words)


@pytest.mark.slow
def test_same_text_as_openai_whisper(corpus):
    python = os.environ.get("VISKA_ORACLE_PYTHON")
    if not python:
        pytest.skip("VISKA_ORACLE_PYTHON is not set: give a Python that has openai-whisper==20250625")
    characters = (chr(code) for code in range(0x3000) if not 0xD800 <= code < 0xE000)
    texts = [*corpus_texts(corpus), *made_up_texts(8000), *(f"a{c}b 1{c}2 {c} one" for c in characters)]
    run = subprocess.run([python, "-c", ORACLE_SCRIPT], input=json.dumps(texts), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    theirs = json.loads(run.stdout)
    ours = {
        "basic": BasicTextNormalizer(),
        "diacritics": BasicTextNormalizer(remove_diacritics=True),
        "letters": BasicTextNormalizer(split_letters=True),
        "english": ENGLISH,
        "numbers": NUMBERS,
        "spelling": EnglishSpellingNormalizer(),
    }
    assert theirs.keys() == ours.keys()
    for name, normalize in ours.items():
        different = [text for text, their in zip(texts, theirs[name], strict=True) if normalize(text) != their]
        assert different == [], name
