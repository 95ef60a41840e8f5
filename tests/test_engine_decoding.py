"""The float32 engine says what the reference path says, alone and in a lane with others."""

import random

import pytest
import torch

from made_up import ENGLISH, LARGE_V3, made_up_mel, made_up_model
from viska.audio import load_audio, log_mel_spectrogram, pad_or_trim
from viska.decoding import DecodingOptions, decode
from viska.engine import Engine, fits_a_lane, same_lane
from viska.engine.lane import LOOP_CHECK_EVERY
from viska.errors import OptionError

OPTIONS = {
    "greedy": {},
    "beams": {"beam_size": 3},
    "one beam": {"beam_size": 1},
    "patience": {"beam_size": 2, "patience": 2.0},
    "little patience": {"beam_size": 4, "patience": 0.5},
    "length penalty": {"beam_size": 3, "length_penalty": 0.4},
    "samples": {"temperature": 0.7, "best_of": 3},
    "one sample": {"temperature": 1.0, "seed": 5},
    "prompt": {"prompt": "Viska hears well", "beam_size": 2},
    "long prompt": {"prompt": list(range(300, 700))},
    "prefix": {"prompt": [400, 500], "prefix": " And so", "sample_len": 9},
    "text alone": {"without_timestamps": True},
    "blank first": {"suppress_blank": False, "suppress_tokens": ""},
    "banned": {"suppress_tokens": "-1,11,13", "beam_size": 2},
    "late start": {"max_initial_timestamp": None},
    "early start": {"max_initial_timestamp": 0.1},
    "penalty": {"repetition_penalty": 1.5, "without_timestamps": True},
    "no pair twice": {"no_repeat_ngram_size": 2, "beam_size": 2, "without_timestamps": True, "sample_len": 30},
    "expression": {"suppress_regex": "[aeiou]"},
    "translation": {"task": "translate", "language": "fr"},
    "to the last position": {"sample_len": 447, "without_timestamps": True, "suppress_tokens": [50257]},
    "a record of tokens": {"token_logprobs": True, "top_logprobs": 3, "beam_size": 2},
    "bias": {"bias": {"London": 9.0}},
}


@pytest.fixture(scope="module")
def model():
    return made_up_model()


@pytest.fixture(scope="module")
def engine(model):
    return Engine(model, "float32")


def same(found, expected):
    assert found.tokens == expected.tokens
    assert (found.text, found.language, found.temperature) == (expected.text, expected.language, expected.temperature)
    assert found.compression_ratio == expected.compression_ratio
    assert found.avg_logprob == pytest.approx(expected.avg_logprob, rel=1e-4)
    assert found.no_speech_prob == pytest.approx(expected.no_speech_prob, rel=1e-3)
    assert (found.token_logprobs is None) == (expected.token_logprobs is None)
    if found.token_logprobs is not None:
        assert found.token_logprobs == pytest.approx(expected.token_logprobs, rel=1e-3, abs=1e-4)
        ids = [[alternative.id for alternative in row] for row in found.top_logprobs]
        assert ids == [[alternative.id for alternative in row] for row in expected.top_logprobs]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_engine_says_what_the_reference_path_says(model, engine, name):
    options = DecodingOptions(**{"language": "en", "sample_len": 14, "fp16": False, **OPTIONS[name]})
    for mel in made_up_mel(1 if options.sample_len > 100 else 2):
        same(engine.decode(engine.encode(mel), options), decode(model, mel, options))


@pytest.mark.parametrize(
    "model",
    [made_up_model(ENGLISH), made_up_model(LARGE_V3, n_mels=128), made_up_model(added_tokens=("<|a|>", "<|b|>"))],
    ids=["English", "large-v3", "fine-tune"],
)
@pytest.mark.parametrize("options", [{}, {"beam_size": 2}])
def test_other_vocabularies(model, options):
    engine, mel = Engine(model, "float32"), made_up_mel(n_mels=model.dims.n_mels)[0]
    asked = DecodingOptions(language="en", sample_len=12, **options)
    same(engine.decode(engine.encode(mel), asked), decode(model, mel, asked))


def test_a_decoder_with_few_positions_stops_at_the_last_one():
    model = made_up_model(n_text_ctx=24)
    engine, mel = Engine(model, "float32"), made_up_mel()[0]
    for options in ({}, {"beam_size": 2}):
        asked = DecodingOptions(language="en", sample_len=60, prompt=[7] * 5, suppress_tokens=[50257], **options)
        result = engine.decode(engine.encode(mel), asked)
        same(result, decode(model, mel, asked))
        assert len(result.tokens) == 24 - 9 + 1
    with pytest.raises(OptionError, match="shorten the prefix"):
        engine.decode(engine.encode(mel), DecodingOptions(language="en", prefix=[7] * 30))


@pytest.mark.parametrize("options", [{}, {"beam_size": 5, "patience": 1.5}, {"temperature": 0.4, "best_of": 3}])
def test_a_real_model_says_the_same(tiny_en, recordings, options):
    engine = Engine(tiny_en, "float32")
    samples = load_audio(recordings / "sense_and_sensibility_0880.flac")
    mel = pad_or_trim(log_mel_spectrogram(samples), 3000)
    asked = DecodingOptions(language="en", prompt="Elinor and Marianne", **options)
    result = engine.decode(engine.encode(mel), asked)
    same(result, decode(tiny_en, mel, asked))
    assert "young man" in result.text


def test_int8_of_a_real_model_hears_the_words(tiny_en, recordings):
    mel = pad_or_trim(log_mel_spectrogram(load_audio(recordings / "sense_and_sensibility_0880.flac")), 3000)
    texts = []
    for compute_type in ("float32", "int8", "auto"):
        engine = Engine(tiny_en, compute_type)
        texts.append(engine.decode(engine.encode(mel), DecodingOptions(language="en")).text.split())
    for other in texts[1:]:
        assert len(set(other) & set(texts[0])) >= 0.8 * len(set(texts[0]))


# Lanes


def test_what_cannot_share_a_lane():
    assert fits_a_lane(DecodingOptions(beam_size=5, prompt=[1], suppress_regex="x", repetition_penalty=2.0))
    for options in ({"bias": {"London": 1.0}}, {"token_logprobs": True}, {"top_logprobs": 1}):
        assert not fits_a_lane(DecodingOptions(**options))


def test_windows_share_a_lane_whatever_their_language_prompt_and_prefix():
    plain = same_lane(DecodingOptions(language="en"))
    assert same_lane(DecodingOptions(language="de", prompt=[1], prefix="x")) == plain
    for options in ({"beam_size": 2}, {"temperature": 0.2}, {"seed": 1}, {"task": "translate"}, {"sample_len": 3}):
        assert same_lane(DecodingOptions(language="en", **options)) != plain


N_WINDOWS = 6
LONG = {"prompt": list(range(300, 390))}
OWN = [{}, LONG, {"language": "de"}, {"prefix": " So"}, {"prompt": [5]}, {"language": "ja"}]
SHARED = [
    {"sample_len": 40},
    {"sample_len": 24, "beam_size": 3, "patience": 1.5},
    {"sample_len": 20, "temperature": 0.8, "best_of": 2},
    {"sample_len": 70, "without_timestamps": True, "repetition_penalty": 1.2},
]


@pytest.fixture(scope="module")
def crowds():
    """By compute type and case: engine, what it heard of some windows, the options of each, what each says alone."""
    model = made_up_model()
    model.decoder.token_embedding.weight[50257] *= 4  # so that windows end, each at another time
    found = {"model": model}  # which an engine does not hold on to
    for compute_type in ("float32", "int8"):
        engine = Engine(model, compute_type)
        heard = [engine.encode(mel) for mel in made_up_mel(N_WINDOWS)]
        for case, shared in enumerate(SHARED):
            options = [DecodingOptions(**{"language": "en", **shared, **own}) for own in OWN]
            alone = [engine.decode(*pair) for pair in zip(heard, options, strict=True)]
            found[compute_type, case] = engine, heard, options, alone
    yield found  # noqa: PT022  # engines do not keep their model alive, this frame does


def alike(found, alone):
    assert (found.tokens, found.text, found.language) == (alone.tokens, alone.text, alone.language)
    assert found.avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-5)
    assert found.no_speech_prob == pytest.approx(alone.no_speech_prob, abs=1e-6)
    assert found.audio_features is alone.audio_features


@pytest.mark.parametrize("compute_type", ["float32", "int8"])
@pytest.mark.parametrize("case", range(len(SHARED)))
@pytest.mark.parametrize("seed", range(5))
def test_windows_that_come_and_go_say_what_each_says_alone(crowds, compute_type, case, seed):
    chance = random.Random(seed)
    engine, heard, options, alone = crowds[compute_type, case]
    places = chance.randint(1, N_WINDOWS)
    waiting = chance.sample(range(N_WINDOWS), N_WINDOWS)
    dropped = set(chance.sample(range(N_WINDOWS), chance.randint(0, 2)))
    lane, results, steps = engine.lane(options[0], places), {}, 0
    while waiting or lane.busy:
        assert lane.room == places - len(lane.sittings)
        while waiting and lane.room and chance.randint(0, 3):
            ticket = waiting.pop()
            window = heard[ticket]
            if at_once := lane.admit(ticket, window.features, window.memory, options[ticket]):
                results[ticket] = at_once
        if not lane.busy:
            continue
        results |= dict(lane.step())
        steps += 1
        if steps == 5:
            for ticket in dropped:
                lane.drop(ticket)
    assert set(results) >= set(range(N_WINDOWS)) - dropped
    for ticket, result in results.items():
        alike(result, alone[ticket])


def test_windows_end_after_different_numbers_of_steps(crowds):
    for case in (0, 1, 2):
        assert len({len(result.tokens) for result in crowds["float32", case][3]}) > 1


def test_a_window_that_goes_round_in_circles_may_be_stopped(crowds):
    engine, heard, _, _ = crowds["float32", 0]
    two_words = {"suppress_tokens": [token for token in range(51865) if token not in (400, 500)]}
    options = DecodingOptions(language="en", without_timestamps=True, sample_len=200, **two_words)
    lane = engine.lane(options, 2)
    for ticket, stop_loops in enumerate((True, False)):
        lane.admit(ticket, heard[0].features, heard[0].memory, options, stop_loops=stop_loops)
    results = {}
    while lane.busy:
        results |= dict(lane.step())
    assert set(results[1].tokens) <= {400, 500}
    assert len(results[1].tokens) == 200
    assert len(results[0].tokens) < 60
    assert len(results[0].tokens) % LOOP_CHECK_EVERY == 0


def test_a_dropped_window_gives_its_place_up(crowds):
    engine, heard, options, alone = crowds["float32", 0]
    lane = engine.lane(options[0], 2)
    for ticket in (0, 2):
        lane.admit(ticket, heard[ticket].features, heard[ticket].memory, options[ticket])
    lane.step()
    lane.drop(0)
    lane.drop(99)  # nobody
    assert (lane.room, lane.busy) == (1, True)
    results = {}
    while lane.busy:
        results |= dict(lane.step())
    assert set(results) == {2}
    alike(results[2], alone[2])


def test_results_of_threads_that_share_an_engine_are_their_own(crowds):
    from concurrent.futures import ThreadPoolExecutor

    engine, heard, options, alone = crowds["float32", 1]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(2):
            results = list(pool.map(engine.decode, heard, options))
            for found, expected in zip(results, alone, strict=True):
                alike(found, expected)


def test_a_window_of_zeros_and_one_of_noise_are_decoded(engine):
    for mel in (torch.zeros(80, 3000), 4 * torch.randn(80, 3000, generator=torch.Generator().manual_seed(1))):
        result = engine.decode(engine.encode(mel), DecodingOptions(language="en", sample_len=5))
        assert len(result.tokens) <= 5
        assert result.avg_logprob <= 0
