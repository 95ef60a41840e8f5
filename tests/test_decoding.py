"""One decoding: options, prompt, languages, batches, clean-up, repeatability."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields

import pytest
import torch

import viska
from made_up import ENGLISH, LARGE_V3, made_up_mel, made_up_model
from viska.decoding import DecodingOptions, DecodingTask, compression_ratio, decode, detect_language, tokenizer_for
from viska.decoding.options import compute_dtype
from viska.decoding.prompt import initial_tokens, suppressed_tokens
from viska.errors import LanguageError, OptionError
from viska.tokenizer import get_tokenizer

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")
SOT = list(TOKENIZER.sot_sequence)


@pytest.fixture(scope="module")
def model():
    return made_up_model()


@pytest.fixture(scope="module")
def features(model):
    """Audio features of three windows."""
    return model.embed_audio(made_up_mel(3))


def initial(**options) -> list[int]:
    given = DecodingOptions(**options)
    return initial_tokens(given, TOKENIZER, n_ctx=448, sample_len=given.sample_len or 224)


def test_options_and_results_are_frozen_and_have_the_known_fields():
    known = (
        "task language temperature sample_len best_of beam_size patience length_penalty prompt prefix suppress_tokens "
    )
    known += "suppress_blank without_timestamps max_initial_timestamp fp16"
    assert [field.name for field in fields(DecodingOptions)][:15] == known.split()
    with pytest.raises(FrozenInstanceError):
        DecodingOptions().task = "translate"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 5, "best_of": 5, "temperature": 0.5}, "beam_size and best_of exclude each other"),
        ({"best_of": 5}, "best_of draws samples and needs a temperature above 0"),
        ({"patience": 2.0}, "patience belongs to beam search"),
        ({"beam_size": 2, "patience": 0.1}, "asks for no sequence"),
        ({"beam_size": 2, "patience": math.nan}, "patience is nan; accepted is a number or None"),
        ({"length_penalty": 1.1}, "length_penalty is 1.1; it must be from 0 to 1"),
        ({"length_penalty": -0.1}, "length_penalty is -0.1"),
        ({"temperature": -1.0}, "temperature is -1.0; it must be 0 or more"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"beam_size": 0}, "beam_size is 0; it must be from 1 to 1000"),
        ({"sample_len": 0}, "sample_len is 0"),
        ({"max_initial_timestamp": -1.0}, "max_initial_timestamp is -1.0"),
        ({"task": "sing"}, "task is 'sing'; accepted are transcribe, translate, lang_id"),
        ({"language": "Elvish"}, "(?i)elvish"),
        ({"suppress_tokens": "1,two"}, "suppress_tokens is '1,two'"),
        ({"suppress_tokens": [99999999]}, "suppress_tokens has 99999999"),
        ({"prefix": list(range(500))}, "the model takes 448"),
        ({"colour": "red"}, "unknown decoding option colour"),
    ],
)
def test_options_without_meaning_are_refused(model, features, options, message):
    with pytest.raises(OptionError, match=message):
        decode(model, features[0], **options)


def test_an_unknown_language_is_a_language_error(model, features):
    with pytest.raises(LanguageError):
        decode(model, features[0], language="xx")


@pytest.mark.parametrize("shape", [(80, 100), (2, 80, 100), (40, 3000), (3000,), (1, 1, 80, 3000)])
def test_mel_of_another_shape_is_refused_with_its_shape(model, shape):
    with pytest.raises(OptionError, match="mel has shape"):
        decode(model, torch.zeros(shape), language="en")


def test_initial_tokens_are_start_language_task():
    assert initial() == SOT
    assert initial(without_timestamps=True) == [*SOT, TOKENIZER.no_timestamps]


def test_a_prompt_stands_first_behind_its_mark_and_keeps_its_end():
    assert initial(prompt="Viska.") == [TOKENIZER.sot_prev, *TOKENIZER.encode(" Viska."), *SOT]
    assert initial(prompt="  Viska. ") == initial(prompt="Viska.")
    assert initial(prompt=[5, 6]) == [TOKENIZER.sot_prev, 5, 6, *SOT]
    long = list(range(1000))
    assert initial(prompt=long) == [TOKENIZER.sot_prev, *long[-223:], *SOT]
    assert initial(prompt="") == initial(prompt=[]) == SOT


def test_a_prefix_stands_last():
    assert initial(prefix=" So it was ") == [*SOT, *TOKENIZER.encode(" So it was")]
    assert initial(prefix=[5, 6], prompt=[7]) == [TOKENIZER.sot_prev, 7, *SOT, 5, 6]


def test_a_prefix_is_cut_only_where_sample_len_leaves_room():
    long = list(range(100))
    assert initial(prefix=long, sample_len=200) == [*SOT, *long[-24:]]
    assert initial(prefix=long) == [*SOT, *long]  # room 0: kept whole, as upstream does
    assert initial(prefix=long, sample_len=300) == [*SOT, *long]


@pytest.mark.parametrize("nothing", ["", None, [], (), ","])
def test_an_empty_suppress_list_bans_nothing_at_all(nothing):
    assert suppressed_tokens(nothing, TOKENIZER) == ()


def test_minus_one_stands_for_the_non_speech_set():
    control = {TOKENIZER.sot, TOKENIZER.sot_lm, TOKENIZER.sot_prev, TOKENIZER.no_speech}
    control |= {TOKENIZER.transcribe, TOKENIZER.translate}
    assert set(suppressed_tokens("-1", TOKENIZER)) == set(TOKENIZER.non_speech_tokens) | control
    assert set(suppressed_tokens("-1, 220", TOKENIZER)) == set(TOKENIZER.non_speech_tokens) | control | {220}
    assert set(suppressed_tokens([5, 7], TOKENIZER)) == {5, 7} | control
    assert (
        suppressed_tokens((5, 7), TOKENIZER)
        == suppressed_tokens([5, 7], TOKENIZER)
        == suppressed_tokens("5,7", TOKENIZER)
    )


def test_the_callers_list_is_left_alone(model, features):
    given = [-1, 5]
    decode(model, features[0], language="en", suppress_tokens=given, sample_len=2)
    assert given == [-1, 5]


def test_decode_of_one_window_and_of_a_batch(model, features):
    one = decode(model, features[0], language="en", sample_len=10)
    batch = decode(model, features, language="en", sample_len=10)
    assert isinstance(one, viska.DecodingResult)
    assert batch[0].tokens == one.tokens
    assert len(batch) == 3
    assert one.audio_features.shape == (1500, 16)
    assert one.temperature == 0.0
    assert one.avg_logprob < 0
    assert 0 <= one.no_speech_prob <= 1
    assert one.language == "en"
    assert one.language_probs is None
    assert one.text == TOKENIZER.decode(one.tokens).strip()
    assert one.compression_ratio == compression_ratio(one.text)


def test_mel_and_its_features_decode_the_same(model):
    mel = made_up_mel(2)
    from_mel = decode(model, mel, language="en", sample_len=10)
    from_features = decode(
        model, torch.stack([result.audio_features for result in from_mel]), language="en", sample_len=10
    )
    assert [result.tokens for result in from_mel] == [result.tokens for result in from_features]


@pytest.mark.parametrize("options", [{"beam_size": 3}, {"beam_size": 2, "patience": 2.0}, {"length_penalty": 0.6}])
def test_windows_of_a_batch_decode_as_if_alone(model, features, options):
    together = decode(model, features, language="en", sample_len=12, **options)
    alone = [decode(model, window, language="en", sample_len=12, **options) for window in features]
    assert [result.tokens for result in together] == [result.tokens for result in alone]
    for a, b in zip(together, alone, strict=True):
        assert a.avg_logprob == pytest.approx(b.avg_logprob, abs=1e-4)
        assert a.no_speech_prob == pytest.approx(b.no_speech_prob, abs=1e-6)
        torch.testing.assert_close(a.audio_features, b.audio_features)


def test_several_samples_in_a_batch(model, features):
    results = decode(model, features, language="en", temperature=0.7, best_of=3, sample_len=8)
    assert len(results) == 3
    assert all(result.temperature == 0.7 for result in results)


def test_sampling_repeats_with_its_seed(model, features):
    options = {"language": "en", "temperature": 1.0, "sample_len": 10}
    first = decode(model, features[0], seed=1, **options).tokens
    assert decode(model, features[0], seed=1, **options).tokens == first
    assert decode(model, features[0], seed=2, **options).tokens != first


def test_sample_len_limits_what_is_said(model, features):
    assert len(decode(model, features[0], language="en", sample_len=5, suppress_tokens="").tokens) <= 5


def test_avg_logprob_counts_the_end(model, features):
    task = DecodingTask(model, DecodingOptions(language="en", sample_len=6))
    result = task.run(features[:1])[0]
    tokens, sum_logprobs, _ = task._main_loop(features[:1], torch.tensor([SOT]))
    assert tokens[0, len(SOT) :].tolist()[: len(result.tokens)] == result.tokens
    assert result.avg_logprob == pytest.approx(float(sum_logprobs[0]) / (len(result.tokens) + 1))


def test_no_speech_prob_is_read_at_the_start_token_whatever_stands_before_it(model, features):
    logits = model.logits(torch.tensor([[TOKENIZER.sot_prev, 5, 6, *SOT]]), features[:1])
    expected = logits[0, 3].softmax(-1)[TOKENIZER.no_speech].item()
    result = decode(model, features[0], language="en", prompt=[5, 6], sample_len=1)
    assert result.no_speech_prob == pytest.approx(expected, rel=1e-3)


def test_decoding_ends_when_the_text_context_is_full():
    small = made_up_model(n_text_ctx=40)
    task = DecodingTask(small, DecodingOptions(language="en", prompt=list(range(30)), sample_len=40))
    assert task.sample_begin == 1 + 19 + len(SOT)
    monotonous = small.embed_audio(made_up_mel())
    tokens, *_ = task._main_loop(monotonous, torch.tensor([task.initial_tokens]))
    assert tokens.shape[1] <= 41  # the last token is said, but not heard any more


def test_detect_language_weighs_the_language_tokens_alone(model, features):
    tokens, probs = detect_language(model, features)
    logits = model.logits(torch.full((3, 1), TOKENIZER.sot), features)[:, 0]
    languages = list(TOKENIZER.all_language_tokens)
    expected = logits[:, languages].softmax(-1)
    for row in range(3):
        assert list(probs[row]) == list(TOKENIZER.all_language_codes)
        torch.testing.assert_close(torch.tensor(list(probs[row].values())), expected[row])
        assert tokens[row] == languages[int(expected[row].argmax())]


def test_detect_language_of_one_window(model, features):
    token, probs = detect_language(model, features[0])
    batch_tokens, batch_probs = model.detect_language(features)
    assert token.ndim == 0
    assert token == batch_tokens[0]
    assert probs == pytest.approx(batch_probs[0], abs=1e-6)
    assert sum(probs.values()) == pytest.approx(1, abs=1e-5)


def test_large_v3_knows_cantonese_too():
    model = made_up_model(LARGE_V3, n_mels=128)
    _, probs = detect_language(model, made_up_mel(n_mels=128)[0])
    assert len(probs) == 100
    assert "yue" in probs


def test_detected_languages_are_written_into_the_prompt_of_each_row(model, features):
    results = decode(model, features, sample_len=8)
    for window, result in zip(features, results, strict=True):
        assert result.language == max(result.language_probs, key=result.language_probs.get)
        assert result.tokens == decode(model, window, language=result.language, sample_len=8).tokens


def test_lang_id_tells_the_language_and_stops(model, features):
    results = decode(model, features, task="lang_id")
    assert [result.tokens for result in results] == [[]] * 3
    assert all(math.isnan(result.avg_logprob) for result in results)
    assert results[0].language == decode(model, features[0], sample_len=1).language


def test_a_language_may_be_given_by_its_name(model, features):
    named = decode(model, features[0], language="German", sample_len=8)
    assert named.language == "de"
    assert named.tokens == decode(model, features[0], language="de", sample_len=8).tokens


def test_an_english_only_model_cannot_tell_languages():
    model = made_up_model(ENGLISH)
    mel = made_up_mel()[0]
    with pytest.raises(LanguageError, match="English alone"):
        detect_language(model, mel)
    with pytest.raises(ValueError, match="give language='en'"):
        decode(model, mel)
    assert decode(model, mel, language="en", sample_len=3).language == "en"


def test_words_added_by_a_fine_tune_are_text():
    model = made_up_model(added_tokens=("<|brand|>", " viska"))
    word = model.dims.n_vocab - 1
    tokenizer = tokenizer_for(model)
    assert tokenizer.decode([400, word]) == tokenizer.decode([400]) + " viska"
    result = decode(model, made_up_mel()[0], language="en", sample_len=20)
    assert not any(token >= model.dims.n_vocab for token in result.tokens)


def test_hooks_and_cache_are_gone_whatever_happens(model, features, monkeypatch):
    task = DecodingTask(model, DecodingOptions(language="en"))
    monkeypatch.setattr(task.decoder, "update", lambda *_: (_ for _ in ()).throw(RuntimeError("in the middle")))
    with pytest.raises(RuntimeError, match="in the middle"):
        task.run(features)
    assert task.inference.kv_cache == {}
    assert not any(module._forward_hooks for module in model.modules())
    decode(model, features[0], language="en", sample_len=3)
    assert not any(module._forward_hooks for module in model.modules())


def test_threads_that_share_a_model_give_what_each_gives_alone(model, features):
    jobs = [(i % 3, {"beam_size": 2} if i % 2 else {}) for i in range(12)]

    def run(job):
        window, options = job
        return decode(model, features[window], language="en", sample_len=15, **options).tokens

    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, jobs)) == alone
    assert not any(module._forward_hooks for module in model.modules())


def test_the_methods_of_the_model_are_the_functions(model, features):
    options = DecodingOptions(language="en", sample_len=4)
    assert model.decode(features[0], options).tokens == decode(model, features[0], options).tokens
    assert (
        model.decode(features[0], options, sample_len=2).tokens
        == decode(model, features[0], options, sample_len=2).tokens
    )


def test_compute_dtype_is_that_of_half_weights_else_follows_the_device():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert compute_dtype(torch.float32, cpu, fp16=True) == torch.float32
    assert compute_dtype(torch.float32, cuda, fp16=True) == torch.float16
    assert compute_dtype(torch.float32, cuda, fp16=False) == torch.float32
    assert compute_dtype(torch.bfloat16, cpu, fp16=True) == torch.bfloat16


def test_compression_ratio_tells_repetition():
    assert compression_ratio("and so on " * 50) > 10
    assert compression_ratio("The quick brown fox jumps over a lazy dog.") < 1.2
    assert compression_ratio("") == 0
