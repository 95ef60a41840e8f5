"""Words to expect, at the logits: trie, filter, what is reported, and no echo of the list where nobody speaks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from made_up import made_up_mel, made_up_model
from viska.audio import N_SAMPLES, SAMPLE_RATE, load_audio, log_mel_spectrogram, pad_or_trim
from viska.decoding import DecodingOptions, DecodingTask, decode
from viska.decoding.bias import NO_SPEECH_LIMIT, PhraseBias, bias_strengths, phrase_bias, phrase_trie
from viska.errors import OptionError
from viska.tokenizer import get_tokenizer
from viska.transcription import transcribe

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")
N_VOCAB = TOKENIZER.timestamp_end
STAMP = TOKENIZER.timestamp_begin


@pytest.fixture(scope="module")
def model():
    return made_up_model()


@pytest.fixture(scope="module")
def features(model):
    return model.embed_audio(made_up_mel(2))


def added(bias, *rows: list[int], silent=()) -> list[dict[int, float]]:
    """For each row of tokens said so far: token -> what the bias adds to it."""
    logits = torch.zeros(len(rows), N_VOCAB)
    biased = phrase_bias(bias, 2.0, TOKENIZER)
    biased.begin([1.0 if row in silent else 0.0 for row in range(len(rows))])
    biased.apply(logits, torch.tensor(rows))
    return [{int(token): float(row[token]) for token in row.nonzero()} for row in logits]


# Phrases and their trie


@pytest.mark.parametrize(
    ("bias", "strengths"),
    [
        ({"Viska": 1.5, " Anna ": 4}, {"Viska": 1.5, "Anna": 4}),
        (["Viska", "Anna Lind", " "], {"Viska": 3.0, "Anna Lind": 3.0}),
        ("Viska, Anna Lind,", {"Viska": 3.0, "Anna Lind": 3.0}),
        ((), {}),
        ("", {}),
    ],
)
def test_phrases_with_a_strength_each_or_one_for_all(bias, strengths):
    assert bias_strengths(bias, 3.0) == strengths


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": {"Viska": 0}}, "bias has 'Viska' with strength 0; a strength is above 0, at most 100"),
        ({"bias": {"Viska": -1.0}}, "suppress_regex keep words out"),
        ({"bias": {"Viska": math.inf}}, "strength inf"),
        ({"bias": {"Viska": "much"}}, "strength 'much'"),
        ({"bias": [7]}, "bias has 7; accepted are words"),
        ({"bias": ["Viska"], "bias_strength": math.nan}, "bias_strength is nan; accepted is a number"),
    ],
)
def test_what_is_no_bias_is_refused(model, features, options, message):
    with pytest.raises(OptionError, match=message):
        decode(model, features[0], language="en", **options)


def test_the_trie_has_each_phrase_behind_a_space_and_without_one():
    trie = phrase_trie((("Reykjavik", 2.0),), TOKENIZER)
    for spelling in (" Reykjavik", "Reykjavik"):
        tokens = TOKENIZER.encode(spelling)
        assert len(tokens) > 1
        for end, token in enumerate(tokens):
            assert trie[tuple(tokens[:end])][token] == 2.0
    assert phrase_trie((("Reykjavik", 2.0),), TOKENIZER) is trie  # made once for all windows


@given(st.dictionaries(st.text(st.sampled_from("abV -é"), min_size=1, max_size=8), st.floats(0.1, 9), max_size=5))
def test_every_phrase_can_be_walked_with_at_least_its_strength(bias):
    strengths = bias_strengths(bias, 2.0)
    trie = phrase_trie(tuple(strengths.items()), TOKENIZER)
    for phrase, strength in strengths.items():
        for spelling in (phrase, " " + phrase):
            tokens = TOKENIZER.encode(spelling)
            assert all(trie[tuple(tokens[:end])][token] >= strength for end, token in enumerate(tokens))
    assert max((max(following.values()) for following in trie.values()), default=0) <= max(
        strengths.values(), default=0
    )


# The filter


def test_first_tokens_always_and_then_those_that_go_on_with_what_is_begun():
    spaced, bare = TOKENIZER.encode(" Reykjavik"), TOKENIZER.encode("Reykjavik")
    start, begun, over, other = added({"Reykjavik": 1.5}, [1] * 9, [1] * 8 + spaced[:1], [1] * 7 + spaced[:2], [2] * 9)
    assert start == other == {spaced[0]: 1.5, bare[0]: 1.5}
    assert begun == start | {spaced[1]: 1.5}
    assert over == start | {spaced[2]: 1.5}


def test_behind_the_whole_phrase_only_a_new_one_is_expected():
    spaced = TOKENIZER.encode(" Reykjavik")
    start, done = added(["Reykjavik"], [1] * len(spaced), spaced)
    assert done == start


def test_a_timestamp_breaks_a_phrase_off():
    spaced = TOKENIZER.encode(" Reykjavik")
    start, broken = added(["Reykjavik"], [1, 1], [spaced[0], STAMP])
    assert broken == start


def test_of_several_phrases_the_strongest_counts_and_endings_begin_others():
    trie = {(): {1: 1.0, 2: 2.0}, (1,): {2: 3.0}, (1, 2): {3: 1.0}, (2,): {3: 2.5, 4: 0.5}}
    logits = torch.zeros(3, 9)
    PhraseBias(trie).apply(logits, torch.tensor([[7, 1], [1, 2], [3, 3]]))
    assert logits.tolist() == [
        [0, 1, 3, 0, 0, 0, 0, 0, 0],
        [0, 1, 2, 2.5, 0.5, 0, 0, 0, 0],
        [0, 1, 2, 0, 0, 0, 0, 0, 0],
    ]


def test_phrases_of_one_token_and_short_histories():
    (token,) = TOKENIZER.encode(" the")
    assert added(["the"], [5])[0][token] == 2.0
    long = added(["Reykjavik Reykjavik"], TOKENIZER.encode(" Reykjavik")[:1])[0]
    assert TOKENIZER.encode(" Reykjavik")[1] in long


def test_rows_without_speech_are_left_alone():
    spoken, silent = added(["Viska"], [1, 1], [1, 1], silent=[1])
    assert spoken
    assert silent == {}


def test_what_is_banned_stays_banned():
    logits = torch.full((1, N_VOCAB), -math.inf)
    phrase_bias(["Viska"], 5.0, TOKENIZER).apply(logits, torch.tensor([[1]]))
    assert bool((logits == -math.inf).all())


# Decoding


SEARCHES = [{}, {"beam_size": 3}, {"temperature": 0.5, "best_of": 2}]


@pytest.mark.parametrize("search", SEARCHES)
def test_a_strong_bias_is_heard_and_a_blank_one_is_none(model, features, search):
    options = {"language": "en", "sample_len": 12, "without_timestamps": True, **search}
    plain = decode(model, features, **options)
    biased = decode(model, features, **options, bias={"London": 40.0})
    assert all("London" in result.text for result in biased)
    assert not any("London" in result.text for result in plain)
    for nothing in (None, [], "", {"  ": 3.0}):
        assert [r.tokens for r in decode(model, features, **options, bias=nothing)] == [r.tokens for r in plain]


@pytest.mark.parametrize("search", SEARCHES)
def test_what_is_reported_is_what_the_model_thinks_without_the_bias(model, features, search):
    options = {"language": "en", "sample_len": 10, "without_timestamps": True, "suppress_tokens": "", **search}
    task = DecodingTask(model, DecodingOptions(**options, bias={"Reykjavik": 40.0}, token_logprobs=True))
    result = task.run(features[:1])[0]
    initial = list(TOKENIZER.sot_sequence_including_notimestamps)
    logits = model.logits(torch.tensor([initial + result.tokens]), features[:1])[0, len(initial) - 1 : -1]
    logits[0, [*TOKENIZER.encode(" "), TOKENIZER.eot]] = -math.inf
    own = logits.log_softmax(-1).gather(1, torch.tensor(result.tokens)[:, None]).sum()
    end = task.recorder.end_logprob(0, result.tokens)
    assert result.avg_logprob == pytest.approx((float(own) + end) / (len(result.tokens) + 1), rel=1e-4)
    assert sum(result.token_logprobs) == pytest.approx(float(own), rel=1e-4)


def test_a_window_without_speech_is_decoded_as_if_there_were_no_bias(model, features, monkeypatch):
    options = {"language": "en", "sample_len": 10}
    plain = decode(model, features, **options)
    monkeypatch.setattr("viska.decoding.bias.NO_SPEECH_LIMIT", -1.0)
    muted = decode(model, features, **options, bias={"Reykjavik": 40.0})
    assert [result.tokens for result in muted] == [result.tokens for result in plain]
    for a, b in zip(muted, plain, strict=True):
        assert a.avg_logprob == pytest.approx(b.avg_logprob, abs=1e-5)


def test_each_window_of_a_batch_is_judged_for_itself(model, features, monkeypatch):
    options = {"language": "en", "sample_len": 10, "beam_size": 2}
    probs = [result.no_speech_prob for result in decode(model, features, **options)]
    assert probs[0] != probs[1]
    monkeypatch.setattr("viska.decoding.bias.NO_SPEECH_LIMIT", sum(probs) / 2)
    biased = decode(model, features, **options, bias={"London": 40.0})
    assert ["London" in result.text for result in biased] == [prob < sum(probs) / 2 for prob in probs]


def test_a_transcription_takes_it(model):
    noise = np.random.default_rng(5).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    options = {"temperature": 0.0, "sample_len": 12, "language": "en", "no_speech_threshold": None}
    assert "London" in transcribe(model, noise, bias={"London": 40.0}, **options).text


# Real models


NAMES = ["Viska", "Reykjavík", "Kubernetes", "Anna Lindqvist", "Steyne", "Norland"]


def no_speech(kind: str) -> np.ndarray:
    """Half a minute of silence or noise."""
    seconds = np.arange(N_SAMPLES) / SAMPLE_RATE
    white = np.random.default_rng(0).normal(0, 1, N_SAMPLES)
    sounds = {
        "silence": np.zeros(N_SAMPLES),
        "white": 0.05 * white,
        "brown": 0.1 * np.cumsum(white - white.mean()) / np.abs(np.cumsum(white - white.mean())).max(),
        "hum": 0.05 * np.sin(2 * np.pi * 50 * seconds),
        "clicks": 0.5 * (np.arange(N_SAMPLES) % 8000 < 20),
        "pulsing": 0.05 * white * (1 + np.sin(2 * np.pi * 4 * seconds)),
    }
    return sounds[kind].astype(np.float32)


@pytest.mark.parametrize("kind", ["silence", "white", "brown", "hum", "clicks", "pulsing"])
def test_over_silence_and_noise_the_names_do_not_appear(tiny_en, kind):
    mel = log_mel_spectrogram(no_speech(kind))
    plain = decode(tiny_en, mel, language="en", sample_len=20)
    biased = decode(tiny_en, mel, language="en", sample_len=20, bias=NAMES, bias_strength=6.0)
    assert plain.no_speech_prob > NO_SPEECH_LIMIT
    assert biased.tokens == plain.tokens
    assert not any(name in biased.text for name in NAMES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0870.wav", "Mr. Jon Dashwood had"),
        ("0880.flac", "not an ill-disposed young man"),
        ("0890.flac", "rather cold-hearted and"),
    ],
)
def test_over_speech_words_are_heard_and_spelled_as_given(tiny_en, recordings, name, expected):
    mel = log_mel_spectrogram(pad_or_trim(load_audio(recordings / f"sense_and_sensibility_{name}")))
    bias = {"Jon Dashwood": 5.0, "ill-disposed": 3.0, "cold-hearted": 3.0}
    without, having = decode(tiny_en, mel, language="en"), decode(tiny_en, mel, language="en", bias=bias)
    assert expected not in without.text
    assert expected in having.text
    assert having.no_speech_prob < NO_SPEECH_LIMIT
    nobody_says = decode(tiny_en, mel, language="en", bias=["Kubernetes", "Lindqvist"])
    assert nobody_says.tokens == without.tokens
