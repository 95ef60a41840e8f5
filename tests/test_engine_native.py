"""The compiled step of the decoder against exact arithmetic, and against the same step with torch."""

import os
import platform
import threading
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from made_up import made_up_mel, made_up_model
from viska.engine import Engine
from viska.engine.cache import CrossMemory
from viska.engine.decoder import Decoder
from viska.engine.encoder import Encoder, PlainAttention
from viska.engine.kernels import FbgemmInt8Projection, OneDnnProjection, PlainProjection
from viska.engine.native import library as native
from viska.engine.native.attention import NativeAttention
from viska.engine.native.linear import NativeProjection
from viska.engine.native.sources import digest
from viska.engine.native.step import Waits
from viska.engine.plan import ComputePlan, Hardware
from viska.quantization import STEPS, quantize_rows, row_peaks

HERE = Hardware.here()
AVX2 = Hardware(bfloat16=False, int8=True)
AVX512 = replace(AVX2, int8_dot_products=True)
AVX512_BF16 = replace(AVX512, bfloat16=True, bfloat16_dot_products=True)
PROCESSORS = {"avx2": (AVX2, HERE.int8), "avx512": (AVX512, HERE.int8_dot_products)}
PROCESSORS["avx512bf16"] = (AVX512_BF16, HERE.int8_dot_products and HERE.bfloat16_dot_products)
INSTRUCTIONS = [
    pytest.param(hardware, id=name, marks=pytest.mark.skipif(not here, reason=f"needs {name}"))
    for name, (hardware, here) in PROCESSORS.items()
]
INT8 = ComputePlan("float32", "int8", torch.float32)

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64") or not HERE.int8,
    reason="compiled code is made for Linux on x86-64 with AVX2",
)


@pytest.fixture(params=INSTRUCTIONS)
def code(request, monkeypatch):
    """Each set of instructions that this processor has, as if it were all that it has."""
    monkeypatch.setattr(Hardware, "here", classmethod(lambda _: request.param))
    found = native.library()
    assert found is not None
    assert (found.unsigned, found.bfloat16) == (request.param.int8_dot_products, request.param.bfloat16_dot_products)
    return found


@pytest.fixture
def threads():
    """Set how many threads there are, for this test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return made_up_model(n_text_state=128, n_text_head=2, n_text_layer=3, n_audio_state=128, n_audio_head=2)


def made_up_memory(n_positions: int, seed: int, n_layer: int = 3) -> CrossMemory:
    made = torch.randn(2, n_layer, 2, n_positions, 64, generator=torch.Generator().manual_seed(seed))
    return CrossMemory(*(made * torch.tensor([0.3, 2.0]).view(2, 1, 1, 1, 1)).bfloat16())


def step(decoder: Decoder, tokens, positions, memories, past=None):
    """One step of rows whose past is made up, and what it leaves in the cache."""
    cache = decoder.self_cache(len(tokens))
    cache.reserve(max(positions) + 1)
    made = torch.randn(cache.pairs.shape, generator=torch.Generator().manual_seed(5))
    cache.pairs.copy_(made if past is None else past)
    with torch.inference_mode():
        logits = decoder.step(tokens, positions, cache, memories)
    return logits, cache.pairs


def near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal but for activations on the border between two whole numbers, which may fall to either side."""
    off = (found - expected).abs() / expected.std()
    assert float(off.mean()) < 0.01
    assert float((off > 0.1).float().mean()) < 0.01


# Linear maps


def exactly(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The products of the whole numbers that weights and activations become, in double precision."""
    integers, scale = quantize_rows(weight)
    peaks = row_peaks(x)
    whole = (x * (STEPS / peaks)).round().double() @ integers.double().T
    return whole * (peaks.double() / STEPS) * scale.double() + (0 if bias is None else bias.double())


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 150), st.sampled_from([16, 48, 128, 384]), st.booleans(), st.integers(0, 99))
def test_products_are_exact_but_for_rounding(n_rows, n_out, n_in, has_bias, seed):
    generator = torch.Generator().manual_seed(seed)
    weight, x = torch.randn(n_out, n_in, generator=generator), torch.randn(n_rows, n_in, generator=generator)
    bias = torch.randn(n_out, generator=generator) if has_bias else None
    exact = exactly(x, weight, bias)
    for hardware in (hardware for hardware, here in PROCESSORS.values() if here):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Hardware, "here", classmethod(lambda _, found=hardware: found))
            found = NativeProjection(*quantize_rows(weight), bias)(x)
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_the_largest_products_do_not_overflow(code):
    weight = torch.ones(16, 2048) * torch.tensor([1.0, -1.0]).repeat(8)[:, None]
    x = torch.stack([torch.ones(2048), -torch.ones(2048)])
    torch.testing.assert_close(NativeProjection(*quantize_rows(weight), None)(x), x @ weight.T, rtol=1e-5, atol=0)


@pytest.mark.skipif(not HERE.int8_dot_products, reason="FBGEMM's products overflow here")
def test_it_is_what_torch_does(code):
    generator = torch.Generator().manual_seed(1)
    weight, bias = quantize_rows(torch.randn(70, 64, generator=generator)), torch.randn(70, generator=generator)
    x = torch.randn(4, 64, generator=generator)
    torch.testing.assert_close(
        NativeProjection(*weight, bias)(x), FbgemmInt8Projection(*weight, bias)(x), rtol=1e-4, atol=1e-4
    )


# Steps


@pytest.mark.parametrize(
    ("n_windows", "n_group", "positions"), [(1, 1, [0]), (1, 5, [7]), (3, 1, [0, 30, 64]), (2, 11, [3, 200])]
)
def test_a_step_is_the_one_of_torch(model, code, n_windows, n_group, positions):
    decoder = Decoder(model.decoder, INT8)
    assert decoder.native is not None
    assert decoder.attention_dtype == torch.bfloat16
    tokens = [1000 + 37 * i for i in range(n_windows * n_group)]
    positions = [position for position in positions for _ in range(n_group)]
    memories = [made_up_memory(size, size) for size in (1500, 37, 100)[:n_windows]]
    found, past = step(decoder, tokens, positions, memories)
    decoder.native = None
    widened = [CrossMemory(memory.keys.float(), memory.values.float()) for memory in memories]
    expected, past_expected = step(decoder, tokens, positions, widened)
    near(found, expected)
    near(past, past_expected)
    assert found.shape == (len(tokens), model.dims.n_vocab)


def test_first_tokens_are_those_of_torch(model, code):
    decoder, memory = Decoder(model.decoder, INT8), made_up_memory(300, 1)
    tokens = [50258, 50259, 50359, *range(400, 420)]
    with torch.inference_mode():
        found = decoder.prefill(tokens, memory)
        decoder.native = None
        expected = decoder.prefill(tokens, CrossMemory(memory.keys.float(), memory.values.float()))
    for ours, torchs in zip(found, expected, strict=True):
        near(ours, torchs)


def test_a_known_text_is_read_as_by_torch(model, code):
    decoder, memory = Decoder(model.decoder, INT8), made_up_memory(300, 1)
    tokens, heads = [50258, 50259, 50359, *range(400, 420)], [(0, 1), (1, 0)]
    with torch.inference_mode():
        found = decoder.read(tokens, memory, heads)
        decoder.native = None
        expected = decoder.read(tokens, CrossMemory(memory.keys.float(), memory.values.float()), heads)
    for ours, torchs in zip(found, expected, strict=True):
        near(ours, torchs)


def test_a_row_is_the_same_in_any_company_and_with_any_number_of_threads(model, code, threads):
    decoder = Decoder(model.decoder, INT8)
    tokens, positions = [11, 500, 12, 4000, 13, 14, 15], [3, 90, 0, 17, 3, 64, 5]
    memories = [made_up_memory(size, size) for size in (1500, 100, 7, 500, 1500, 16, 33)]
    threads(1)
    together, past = step(decoder, tokens, positions, memories)
    for n_threads in (1, 2, 5):
        threads(n_threads)
        assert torch.equal(step(decoder, tokens, positions, memories)[0], together)
        for row in range(len(tokens)):
            one = slice(row, row + 1)
            alone, _ = step(
                decoder, tokens[one], positions[one], memories[one], past[:, :, one, :, : positions[row] + 1]
            )
            assert torch.equal(alone[0], together[row]), (n_threads, row)


def test_beams_that_say_the_same_stay_the_same(model, code):
    decoder = Decoder(model.decoder, INT8)
    cache = decoder.self_cache(10)
    cache.reserve(4)
    with torch.inference_mode():
        logits = decoder.step([77] * 10, [3] * 10, cache, [made_up_memory(90, 1)])
    assert torch.equal(logits, logits[:1].expand_as(logits))


def test_threads_share_a_decoder(model, code):
    decoder = Decoder(model.decoder, INT8)
    jobs = [([5 + i, 6], [i, 3 * i], [made_up_memory(50 + i, i), made_up_memory(20, i)]) for i in range(4)]
    expected = [step(decoder, *job)[0] for job in jobs]
    found: list[bool] = []

    def work(i: int) -> None:
        found.extend(torch.equal(step(decoder, *jobs[i])[0], expected[i]) for _ in range(20))

    running = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert found == [True] * 80


def test_more_threads_than_processors_end(model, code, threads):
    threads(16)
    decoder, begin = Decoder(model.decoder, INT8), time.process_time()
    for _ in range(3):
        logits, _ = step(decoder, [1, 2], [3, 4], [made_up_memory(80, 1)])
    assert bool(logits.isfinite().all())
    assert time.process_time() - begin < 60


def test_threads_that_wait_for_one_that_does_not_run_leave_the_step_to_one(model, code, threads):
    threads(2)
    decoder = Decoder(model.decoder, INT8)
    memories = [made_up_memory(100, 1)]
    calm, _ = step(decoder, [50], [4], memories)
    decoder.native.waits = Waits()
    found = []

    def on_one_processor():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of this thread, and of the helpers that it gets
        torch.set_num_threads(2)
        found.append(step(decoder, [50], [4], memories)[0])
        found.append(decoder.native.waits.left)
        found.append(step(decoder, [50], [4], memories)[0])
        found.append(decoder.native.waits.left)

    worker = threading.Thread(target=on_one_processor)
    worker.start()
    worker.join()
    assert found[1::2] == [Waits.SHORTEST, Waits.SHORTEST - 1]
    assert all(torch.equal(logits, calm) for logits in found[::2])


def test_one_thread_waits_for_nobody(model, code, threads):
    threads(1)
    decoder = Decoder(model.decoder, INT8)
    for _ in range(3):
        step(decoder, [50], [4], [made_up_memory(100, 1)])
    assert (decoder.native.waits.left, decoder.native.waits.next) == (0, Waits.SHORTEST)


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=200))
def test_steps_alone_double_while_somebody_is_late(lates):
    waits, expected = Waits(), Waits.SHORTEST
    for late in lates:
        assert not waits.alone()
        waits.saw(late)
        n_alone = 0
        while waits.alone():
            n_alone += 1
        assert n_alone == (expected if late else 0)
        expected = min(max(expected * 2 if late else expected // 2, Waits.SHORTEST), Waits.LONGEST)


def test_scores_of_any_size_are_borne(model, code):
    decoder = Decoder(model.decoder, INT8)
    for size in (0.0, 1e-20, 1e4, 1e18):
        memory = made_up_memory(40, 1)
        loud = CrossMemory(memory.keys * size, memory.values)
        logits, _ = step(decoder, [1], [0], [loud], torch.zeros(2, 3, 1, 2, 1, 64))
        assert bool(logits.isfinite().all()), size


# Where it is used


def test_what_it_does_not_take_is_left_to_torch(monkeypatch):
    heads_of_32 = made_up_model(n_text_state=64, n_text_head=2)
    assert Decoder(heads_of_32.decoder, INT8).native is None
    assert (
        Decoder(made_up_model(n_text_state=128).decoder, ComputePlan("float32", "float32", torch.float32)).native
        is None
    )
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")  # as ATEN_CPU_CAPABILITY=default
    assert native.library() is None


def test_without_the_file_it_is_told_and_torch_computes(model, monkeypatch, caplog):
    native._loaded.cache_clear()
    monkeypatch.setattr(native, "__file__", "/nowhere/library.py")
    with caplog.at_level("INFO"):
        decoder = Decoder(model.decoder, INT8)
    native._loaded.cache_clear()
    assert decoder.native is None
    floating = OneDnnProjection if HERE.slow_mkl else PlainProjection
    assert isinstance(decoder.vocabulary, FbgemmInt8Projection if HERE.int8_dot_products else floating)
    assert "no compiled code" in caplog.text


def test_code_that_was_built_from_other_sources_is_not_run(model, monkeypatch, caplog):
    native._loaded.cache_clear()
    monkeypatch.setattr(native, "digest", lambda: "0" * 64)
    decoder = Decoder(model.decoder, INT8)
    native._loaded.cache_clear()
    assert decoder.native is None
    assert "was built from other sources: computing with torch. Install Viska again." in caplog.text


@pytest.mark.parametrize("change", ["more", "less", "other"])
def test_sources_are_told_apart(tmp_path, change):
    (tmp_path / "a.c").write_text("int a;")
    (tmp_path / "a.h").write_text("")
    before = digest(tmp_path)
    assert digest(tmp_path) == before
    if change == "less":
        (tmp_path / "a.h").unlink()
    else:
        (tmp_path / f"{'b' if change == 'more' else 'a'}.h").write_text("int b;")
    assert digest(tmp_path) != before


def test_without_openmp_one_thread_computes(model, monkeypatch, code):
    memory = made_up_memory(80, 1)
    expected = step(Decoder(model.decoder, INT8), [1], [0], [memory])[0]
    monkeypatch.setattr(torch, "__file__", "/nowhere/__init__.py")
    native._loaded.cache_clear()
    assert native.library().openmp is None
    assert torch.equal(step(Decoder(model.decoder, INT8), [1], [0], [memory])[0], expected)
    native._loaded.cache_clear()


def test_the_audio_is_heard_exactly(model, code):
    decoder, memory = Decoder(model.decoder, INT8), made_up_memory(1203, 1)
    queries = torch.randn(11, 128, generator=torch.Generator().manual_seed(2)) * 3
    keys, values = memory.keys[1].double(), memory.values[1].double()  # (H, S, d)
    weights = (queries.double().view(11, 2, 64).transpose(0, 1) @ keys.transpose(1, 2)).softmax(dim=-1)
    expected = (weights @ values).transpose(0, 1).flatten(start_dim=1)
    torch.testing.assert_close(decoder.native.hear(queries, 1, memory).double(), expected, rtol=1e-4, atol=1e-5)


def test_an_engine_keeps_the_audio_in_half_the_bytes(model):
    engine = Engine(model, "int8")
    heard = engine.encode(made_up_mel()[0])
    assert heard.memory.keys.dtype == heard.memory.values.dtype == torch.bfloat16
    assert set(engine.detect_language(heard, ["en", "de"])) == {"en", "de"}


# The encoder


@pytest.mark.parametrize("n_positions", [1, 7, 32, 100, 1500])
def test_attention_of_the_encoder_is_torchs(code, threads, n_positions):
    qkv = torch.randn(n_positions, 3 * 192, generator=torch.Generator().manual_seed(4)) * 2
    plain = PlainAttention(torch.empty(3, 3, n_positions, 64))(qkv)
    for n_threads in (1, 2, 5):
        threads(n_threads)
        attention = NativeAttention(code, n_positions, 192)
        first = attention(qkv).clone()
        torch.testing.assert_close(first, plain, rtol=1e-5, atol=1e-5)
        assert torch.equal(attention(qkv), first)  # whatever was in its room


@pytest.mark.parametrize("n_positions", [1, 7, 32, 101, 1500])
def test_attention_in_bfloat16_rounds_no_more_than_its_numbers(code, threads, n_positions):
    qkv = (torch.randn(n_positions, 3 * 192, generator=torch.Generator().manual_seed(4)) * 2).bfloat16()
    exact = PlainAttention(torch.empty(3, 3, n_positions, 64, dtype=torch.float64))(qkv.double())
    torchs = PlainAttention(torch.empty(3, 3, n_positions, 64, dtype=torch.bfloat16))(qkv)
    off = float((torchs - exact).abs().max())
    for n_threads in (1, 2, 5):
        threads(n_threads)
        attention = NativeAttention(code, n_positions, 192, torch.bfloat16)
        attention.keys.fill_(torch.nan), attention.values.fill_(torch.nan), attention.scores.fill_(torch.nan)
        first = attention(qkv).clone()
        assert float((first - exact).abs().max()) <= off + 1e-5
        assert torch.equal(attention(qkv), first)  # whatever was in its room


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 0.001), (torch.bfloat16, 0.01)])
def test_attention_bears_scores_of_any_size(code, dtype, rounding):
    qkv = torch.randn(50, 3 * 64, generator=torch.Generator().manual_seed(4))
    for size in (0.0, 1e-20, 1e4, 1e15):
        queries_of_size = (qkv * torch.tensor([size, 1, 1]).repeat_interleave(64)).to(dtype)
        heard = NativeAttention(code, 50, 64, dtype)(queries_of_size)
        assert bool(heard.isfinite().all())
        assert float(heard.abs().max()) <= float(qkv.abs().max()) * (1 + rounding)


@pytest.mark.parametrize("n_frames", [3000, 810])
def test_the_encoder_with_it_is_the_modules(model, n_frames):
    mel = made_up_mel()[0][:, :n_frames]
    engine = Engine(model, "float32")
    assert isinstance(engine.encoder._attention(torch.empty(n_frames // 2, 128)), NativeAttention)
    assert isinstance(Encoder(model.encoder, "int8")._attention(torch.empty(9, 128)), NativeAttention)
    half = Encoder(model.encoder, "bfloat16")
    for tiles, kind in ((False, NativeAttention), (True, PlainAttention)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Hardware, "here", classmethod(lambda _, tiles=tiles: replace(HERE, tiles=tiles)))
            assert isinstance(half._attention(torch.empty(9, 128)), kind)
    found = engine.encode(mel).features
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
        expected = engine.encode(mel).features
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if n_frames == 3000:
        torch.testing.assert_close(found, model.embed_audio(mel[None])[0], rtol=1e-4, atol=1e-4)
