"""The engine's encoder and decoder against the modules that they are made of."""

import gc
import weakref

import pytest
import torch
from torch import nn

from made_up import ENGLISH, made_up_mel, made_up_model
from viska.decoding import detect_language
from viska.engine import Engine, engine_for
from viska.engine.cache import SelfCache, past_mask
from viska.engine.decoder import SHOWN, score_scale
from viska.engine.plan import Hardware
from viska.errors import OptionError
from viska.model import AudioEncoder, Linear, Whisper
from viska.timing import read_text
from viska.transcription import transcribe
from viska.transcription.backend import EngineBackend, ReferenceBackend, backend_for

TOKENS = [50258, 50259, 50359, 50364, 400, 1000, 50414, 50414, 17]


@pytest.fixture(scope="module")
def model():
    return made_up_model(n_audio_layer=2)


@pytest.fixture(scope="module")
def engine(model):
    return Engine(model, "float32")


@pytest.fixture(scope="module")
def heard(engine):
    return engine.encode(made_up_mel()[0])


def like(found, expected, tolerance=2e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


# Encoder


def test_the_encoder_is_the_modules(model, heard):
    like(heard.features, model.embed_audio(made_up_mel())[0])


@pytest.mark.parametrize("n_frames", [2, 16, 800, 2992])
def test_a_shorter_window_is_encoded_as_the_module_would_if_it_had_fewer_positions(model, engine, n_frames):
    short = AudioEncoder(80, n_frames // 2, 16, 2, 2).eval()
    weights = dict(model.encoder.state_dict())
    weights["positional_embedding"] = weights["positional_embedding"][: n_frames // 2]
    short.load_state_dict(weights)
    mel = made_up_mel()[:, :, :n_frames]
    features = engine.encode(mel[0]).features
    assert tuple(features.shape) == (n_frames // 2, 16)
    with torch.no_grad():
        like(features, short(mel)[0])


@pytest.mark.parametrize("compute_type", ["int8", "bfloat16", "auto"])
def test_smaller_formats_are_close(model, compute_type):
    expected = model.embed_audio(made_up_mel())[0]
    found = Engine(model, compute_type).encode(made_up_mel()[0]).features
    assert found.dtype == torch.float32
    similarity = nn.functional.cosine_similarity(found, expected, dim=-1)
    assert float(similarity.min()) > 0.99


# Decoder


def test_the_first_tokens_give_the_modules_logits(model, engine, heard):
    hidden, keys, values = engine.decoder.prefill(TOKENS, heard.memory)
    expected = model.decoder(torch.tensor([TOKENS]), heard.features[None].clone())[0]
    like(engine.decoder.logits(hidden), expected)
    assert keys.shape == values.shape == (2, 2, len(TOKENS), 8)  # (L, H, T, d)


def test_a_known_text_is_read_as_the_module_reads_it(model, engine, heard):
    expected_scores, expected_logits = read_text(model, heard.features.clone(), TOKENS)
    scores, logits = engine.read(heard, TOKENS)
    assert scores.shape == (len(model.alignment_pairs), len(TOKENS), 1500)
    like(scores, expected_scores)
    like(logits, expected_logits)


def test_steps_give_the_modules_logits_each_row_at_its_own_position(model, engine):
    windows = [engine.encode(mel) for mel in made_up_mel(2)]
    rows = [TOKENS[:4], TOKENS[:7]]
    cache = engine.decoder.self_cache(4)
    for window, row in enumerate(rows):
        _, keys, values = engine.decoder.prefill(row, windows[window].memory)
        cache.fill(2 * window, 2, keys, values)
    said = [[*rows[0]], [*rows[0]], [*rows[1]], [*rows[1]]]
    memories = [window.memory for window in windows]
    for new in ([5, 6, 7, 8], [50364, 9, 10, 50400], [11, 12, 13, 14]):
        positions = [len(row) for row in said]
        logits = engine.decoder.step(new, positions, cache, memories)
        for i, (row, token) in enumerate(zip(said, new, strict=True)):
            row.append(token)
            expected = model.decoder(torch.tensor([row]), windows[i // 2].features[None].clone())[0, -1]
            like(logits[i], expected)


def test_steps_go_on_to_the_last_position(model, engine, heard):
    n_ctx = engine.decoder.n_ctx
    assert n_ctx % SHOWN == 0
    row = [(7 * i) % 50000 for i in range(n_ctx)]
    _, keys, values = engine.decoder.prefill(row[:-1], heard.memory)
    cache = engine.decoder.self_cache(1)
    cache.fill(0, 1, keys, values)
    logits = engine.decoder.step(row[-1:], [n_ctx - 1], cache, [heard.memory])
    like(logits[0], model.decoder(torch.tensor([row]), heard.features[None].clone())[0, -1])


def test_the_scale_of_scores_is_a_power_of_two_for_official_widths(model):
    assert score_scale(model.decoder.blocks[0].attn) == 8**-0.5
    official = made_up_model(n_audio_state=64, n_text_state=64, n_audio_head=1, n_text_head=1)
    assert score_scale(official.decoder.blocks[0].attn) == 0.125


def test_the_weights_of_the_module_stay_as_they_are():
    model = made_up_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    for compute_type in ("float32", "int8", "auto"):
        engine = Engine(model, compute_type)
        heard = engine.encode(made_up_mel()[0])
        engine.decoder.prefill(TOKENS, heard.memory)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_detected_languages_are_the_modules(model, engine, heard):
    _, expected = detect_language(model, made_up_mel()[0])
    assert engine.detect_language(heard) == pytest.approx(expected, rel=1e-4)
    _, among = detect_language(model, made_up_mel()[0], languages="de,is")
    assert engine.detect_language(heard, "de,is") == pytest.approx(among, rel=1e-4)


def test_weights_in_half_precision_on_a_processor_are_taken_too():
    whole, half = made_up_model(), made_up_model().half()
    found, expected = (Engine(one, "float32").encode(made_up_mel()[0]).features for one in (half, whole))
    like(found, expected, 0.02)


# The cache


def filled(n_rows):
    cache = SelfCache(2, n_rows, 1, 3, like=torch.empty(0))
    for row in range(n_rows):
        ones = torch.full((2, 1, 4, 3), float(row))
        cache.fill(row, 1, ones, -ones)
    return cache


def held(cache, position):
    assert torch.equal(cache.keys, -cache.values)
    return cache.keys[0, :, 0, position, 0].tolist()


def test_a_cache_grows_and_keeps_what_it_has():
    cache = filled(3)
    cache.reserve(5)
    assert cache.keys.shape[3] >= 5
    assert held(cache, 3) == [0, 1, 2]
    assert held(cache, 4) == [0, 0, 0]
    size = cache.keys.shape[3]
    cache.reserve(2)
    assert cache.keys.shape[3] == size


def test_rows_go_on_from_others_within_their_window_alone():
    cache = filled(5)
    cache.reorder(1, [2, 0, 0], 1, 3)
    assert held(cache, 0) == [0, 1, 2, 3, 4]
    assert held(cache, 1) == held(cache, 2) == [0, 3, 1, 1, 4]
    assert held(cache, 3) == [0, 1, 2, 3, 4]


def test_rows_move_to_other_places():
    cache = filled(4)
    cache.move(2, 0, 2, 3)
    assert held(cache, 2) == [2, 3, 2, 3]
    assert held(cache, 3) == [0, 1, 2, 3]


def test_the_mask_hides_what_is_ahead():
    mask = past_mask([0, 2], 4, like=torch.empty(0))
    assert (mask[:, 0, 0] == 0).tolist() == [[True, False, False, False], [True, True, True, False]]


# One engine a model


def test_a_model_has_one_engine_until_its_weights_or_its_compute_type_change():
    model = made_up_model()
    engine = engine_for(model)
    assert engine_for(model) is engine
    before = engine.encode(made_up_mel()[0]).features
    with torch.no_grad():
        model.encoder.blocks[0].mlp[0].weight.mul_(1.5)
    changed = engine_for(model)
    assert changed is not engine
    assert not torch.equal(changed.encode(made_up_mel()[0]).features, before)
    model.compute_type = "float32"
    assert engine_for(model).plan != changed.plan or changed.plan.encoder == "float32"
    assert engine_for(model) is not changed
    kept = engine_for(model)
    model.load_state_dict(made_up_model(ENGLISH + 1).state_dict(), assign=True)
    assert engine_for(model) is not kept


def test_an_engine_goes_with_its_model():
    model = made_up_model()
    gone = weakref.ref(engine_for(model)), weakref.ref(model)
    del model
    gc.collect()
    assert [one() for one in gone] == [None, None]


def test_a_model_made_in_inference_mode_is_taken():
    with torch.inference_mode():
        model = made_up_model()
    assert engine_for(model) is engine_for(model)


def test_an_unknown_compute_type_is_an_option_error():
    model = made_up_model()
    model.compute_type = "int3"
    with pytest.raises(OptionError, match="int3"):
        engine_for(model)


def test_a_processor_without_the_instructions_computes_in_float32_and_says_so(monkeypatch, caplog):
    model = made_up_model()
    expected = Engine(model, "float32").encode(made_up_mel()[0]).features
    monkeypatch.setattr(Hardware, "here", classmethod(lambda _: Hardware(bfloat16=False, int8=False)))
    for compute_type in ("auto", "int8", "bfloat16"):
        assert torch.equal(Engine(model, compute_type).encode(made_up_mel()[0]).features, expected)
    assert [record.args[0] for record in caplog.records] == ["int8", "bfloat16"]


# Engine or reference path


def test_a_plain_model_goes_to_the_engine():
    assert isinstance(backend_for(made_up_model(), reference=False), EngineBackend)
    assert isinstance(backend_for(made_up_model(), reference=True), ReferenceBackend)


class Tapped(Linear):
    """A linear map that somebody put in place of another, as adapters do."""


def replace_a_part(model):
    model.decoder.blocks[0].attn.query = Tapped(16, 16)


def replace_a_pass(model):
    model.encoder.conv1.forward = lambda x: nn.Conv1d.forward(model.encoder.conv1, x)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.encoder.register_forward_hook(lambda *_: None),
        lambda model: model.decoder.blocks[1].cross_attn.register_forward_pre_hook(lambda *_: None),
        replace_a_part,
        replace_a_pass,
    ],
)
def test_a_model_that_computes_otherwise_than_the_engine_goes_to_the_reference_path(change):
    model = made_up_model()
    change(model)
    assert isinstance(backend_for(model, reference=False), ReferenceBackend)


def test_a_hook_is_called_by_transcribe_and_what_it_returns_is_used():
    def heard_in(model):
        options = {"language": "en", "temperature": 0.0, "sample_len": 6, "no_speech_threshold": None}
        return transcribe(model, torch.zeros(16000), **options).segments[0].tokens

    model, calls = made_up_model(), []
    plain = heard_in(model)
    handle = model.decoder.ln.register_forward_hook(lambda _, __, output: calls.append(1) or -output)
    assert heard_in(model) != plain
    assert len(calls) > 1
    handle.remove()
    assert heard_in(model) == plain


def test_the_caches_of_another_thread_are_no_hooks():
    model = made_up_model()
    _, handles = model.install_kv_cache_hooks()
    assert isinstance(backend_for(model, reference=False), EngineBackend)
    for handle in handles:
        handle.remove()


def test_a_model_of_ones_own_kind_is_taken():
    class Own(Whisper):
        pass

    plain = made_up_model()
    own = Own(plain.dims)
    own.load_state_dict(plain.state_dict())
    assert isinstance(backend_for(own.eval(), reference=False), EngineBackend)
