"""Number formats: which one runs where, and what the linear maps of each give."""

import logging
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from made_up import made_up_model
from viska.compute import COMPUTE_TYPES
from viska.engine import plan
from viska.engine.encoder import Encoder
from viska.engine.kernels import (
    FbgemmInt8Projection,
    OneDnnInt8Projection,
    OneDnnProjection,
    PlainProjection,
    Rounding,
    projection,
)
from viska.engine.native.library import library
from viska.engine.native.linear import NativeProjection
from viska.engine.plan import ComputePlan, Hardware, dtype_of, resolve
from viska.errors import OptionError
from viska.quantization import dequantize_rows, quantize_rows

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda:0"), torch.device("mps")
BARE = Hardware(bfloat16=False, int8=False)
INT8 = Hardware(bfloat16=False, int8=True)
DOT_PRODUCTS = Hardware(bfloat16=False, int8=True, int8_dot_products=True)
WIDE = Hardware(bfloat16=True, int8=True, int8_dot_products=True)
DEEP = 6  # blocks of an encoder
FLOAT32 = ComputePlan("float32", "float32", torch.float32)

needs_int8 = pytest.mark.skipif(not Hardware.here().int8, reason="this processor computes no int8")
needs_native = pytest.mark.skipif(library() is None, reason="no compiled code for this processor")
needs_dot_products = pytest.mark.skipif(not Hardware.here().int8_dot_products, reason="needs int8 dot products")
KINDS = [
    pytest.param(FbgemmInt8Projection, marks=needs_dot_products),
    pytest.param(OneDnnInt8Projection, marks=needs_dot_products),
    pytest.param(NativeProjection, marks=needs_native),
]


# Plans


@pytest.mark.parametrize(
    ("compute_type", "hardware", "expected"),
    [
        ("auto", BARE, FLOAT32),
        ("auto", INT8, ComputePlan("float32", "int8", torch.float32)),
        ("auto", DOT_PRODUCTS, ComputePlan("int8", "int8", torch.float32)),
        ("auto", WIDE, ComputePlan("bfloat16", "int8", torch.bfloat16)),
        ("int8", INT8, ComputePlan("float32", "int8", torch.float32)),
        ("int8", DOT_PRODUCTS, ComputePlan("int8", "int8", torch.float32)),
        ("int8", WIDE, ComputePlan("bfloat16", "int8", torch.bfloat16)),
        ("bfloat16", WIDE, ComputePlan("bfloat16", "bfloat16", torch.bfloat16)),
        ("float32", WIDE, FLOAT32),
    ],
)
def test_plans_on_processors(compute_type, hardware, expected, caplog):
    assert resolve(compute_type, CPU, DEEP, hardware) == expected
    assert caplog.text == ""


@pytest.mark.parametrize("compute_type", ["auto", "int8"])
def test_the_encoder_of_tiny_stays_in_floats(compute_type):
    assert resolve(compute_type, CPU, 4, DOT_PRODUCTS) == ComputePlan("float32", "int8", torch.float32)
    assert resolve(compute_type, CPU, 4, WIDE) == resolve(compute_type, CPU, DEEP, WIDE)
    assert resolve(compute_type, CPU, 4, BARE) == resolve(compute_type, CPU, DEEP, BARE)


@pytest.mark.parametrize(
    ("compute_type", "hardware"),
    [("int8", BARE), ("bfloat16", BARE), ("bfloat16", INT8), ("float16", BARE), ("float16", WIDE)],
)
def test_what_a_processor_is_not_made_for_becomes_float32_and_is_told(compute_type, hardware, caplog):
    assert resolve(compute_type, CPU, DEEP, hardware) == FLOAT32
    assert caplog.record_tuples == [
        ("viska.engine.plan", logging.WARNING, f"this processor is not made for {compute_type}: computing in float32")
    ]


def test_plans_on_accelerators(caplog):
    formats = {kind: resolve(kind, CUDA, DEEP).decoder for kind in COMPUTE_TYPES if kind != "int8"}
    assert formats == {"auto": "float16", "float32": "float32", "float16": "float16", "bfloat16": "bfloat16"}
    assert resolve("auto", MPS, DEEP) == FLOAT32
    assert caplog.text == ""
    assert resolve("int8", CUDA, DEEP) == ComputePlan("float16", "float16", torch.float16)
    assert "int8 is for CPUs" in caplog.text


def test_unknown_compute_types_are_refused():
    with pytest.raises(OptionError, match="'int4' is not known; accepted are auto, float32, int8, float16, bfloat16"):
        resolve("int4", CPU, DEEP)


def test_the_hardware_is_asked_and_torchs_own_limit_holds(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    here = Hardware.here()
    assert (here.bfloat16, here.bfloat16_dot_products, here.int8_dot_products, here.tiles) == (True, True, True, True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")  # as ATEN_CPU_CAPABILITY=avx2
    here = Hardware.here()
    assert (here.bfloat16, here.bfloat16_dot_products, here.int8_dot_products, here.tiles) == (False,) * 4


@pytest.mark.parametrize(("vendor", "slow"), [("AuthenticAMD", True), ("GenuineIntel", False)])
@pytest.mark.parametrize("linux", [False, True])
def test_mkl_is_slow_on_what_amd_made(vendor, slow, linux, monkeypatch, tmp_path):
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    monkeypatch.setattr(plan, "Path", lambda _: told if linux else tmp_path / "none")
    monkeypatch.setattr(plan.platform, "processor", lambda: f"AMD64 Family 25 Model 80 Stepping 0, {vendor}")
    plan._made_by_amd.cache_clear()
    assert Hardware.here().slow_mkl is slow
    plan._made_by_amd.cache_clear()


# Quantisation


def made_up(rows: int, width: int, seed: int) -> torch.Tensor:
    """Weights or activations whose rows have very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator) * torch.logspace(-4, 2, rows)[:, None]


@given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 999), st.sampled_from([torch.float32, torch.float16]))
def test_quantised_weights_are_off_by_half_a_step_at_most(rows, width, seed, dtype):
    weight = made_up(rows, width, seed).to(dtype)
    integers, scale = quantize_rows(weight)
    assert (integers.dtype, scale.dtype, tuple(scale.shape)) == (torch.int8, torch.float32, (rows,))
    peaks = weight.float().abs().amax(dim=1)
    torch.testing.assert_close(scale, peaks / 127)
    off = (dequantize_rows(integers, scale) - weight.float()).abs()
    assert bool((off <= scale[:, None] * 0.5001).all())


@given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 999), st.floats(1e-30, 1e30))
def test_quantising_again_gives_the_same_integers(rows, width, seed, size):
    integers, scale = quantize_rows(made_up(rows, width, seed) * size)
    again, scale_again = quantize_rows(dequantize_rows(integers, scale))
    assert torch.equal(again, integers)
    torch.testing.assert_close(scale_again, scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("width", [1, 512, 40_000])
def test_weights_of_many_blocks_are_quantised_as_in_one_piece(width):
    weight = made_up(200_000 // width, width, 3)
    integers, scale = quantize_rows(weight)
    peaks = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)
    assert torch.equal(scale, (peaks / 127)[:, 0])
    assert torch.equal(integers, (weight / (peaks / 127)).round().to(torch.int8))


def test_rows_of_zeros_stay_zero():
    integers, scale = quantize_rows(torch.zeros(2, 5))
    assert not integers.any()
    assert bool((scale > 0).all())


# Linear maps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_int8_is_as_near_as_two_roundings_allow(kind, bias):
    weight, x = made_up(24, 32, 1), made_up(7, 32, 2)
    offset = torch.randn(24, generator=torch.Generator().manual_seed(3)) if bias else None
    integers, scale = quantize_rows(weight)
    found = kind(integers, scale, offset)(x)
    exact = F.linear(x.double(), weight.double(), None if offset is None else offset.double())
    steps_x, steps_w = x.abs().amax(dim=1) / 127, weight.abs().amax(dim=1) / 127
    # |xw - x'w'| <= |x| |w - w'| + |w'| |x - x'|, half a step for each of 32 products
    bound = 0.5 * (x.abs().sum(dim=1)[:, None] * steps_w + (weight.abs().sum(dim=1) + 16 * steps_w) * steps_x[:, None])
    assert bool(((found - exact).abs() <= bound * 1.001 + 1e-4 * exact.abs() + 1e-6).all())
    assert float((found - exact).abs().max() / exact.abs().max()) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_int8_gives_each_row_the_same_whatever_rows_are_beside_it(kind):
    weight, x = made_up(40, 64, 1), made_up(33, 64, 2)[torch.randperm(33, generator=torch.Generator().manual_seed(4))]
    linear = kind(*quantize_rows(weight), torch.ones(40))
    together = linear(x)
    others = [torch.cat([linear(part) for part in torch.split(x, size)]) for size in (1, 2, 5, 16, 32)]
    others += [linear(x.flip(0)).flip(0), linear(x.view(3, 11, 64)).view(33, 40)]
    for other in others:
        if kind is not OneDnnInt8Projection:  # which no step of the decoder, with whatever windows, goes through
            assert torch.equal(other, together)
        else:  # sums of integers are exact; what they are multiplied by may be rounded in another order
            torch.testing.assert_close(other, together, rtol=1e-6, atol=1e-6 * float(together.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_int8_products_do_not_overflow(kind):
    weight = torch.ones(16, 2048) * torch.tensor([1.0, -1.0]).repeat(8)[:, None]
    x = torch.stack([torch.ones(2048), -torch.ones(2048)])
    torch.testing.assert_close(kind(*quantize_rows(weight), None)(x), x @ weight.T, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_bears_rows_of_zeros_and_loud_ones(kind):
    linear = kind(*quantize_rows(made_up(5, 16, 1)), torch.arange(5.0))
    rows = torch.stack([torch.zeros(16), torch.full((16,), 1e6)])
    found = linear(rows)
    assert torch.equal(found[0], torch.arange(5.0))
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("number_format", ["float32", "float16", "bfloat16"])
def test_floating_formats_are_plain_products(number_format, monkeypatch):
    monkeypatch.setattr(Hardware, "here", classmethod(lambda _: WIDE))
    weight, bias, x = made_up(6, 8, 1), torch.ones(6), made_up(3, 8, 2)
    linear = projection(weight, bias, number_format)
    assert isinstance(linear, PlainProjection)
    dtype = dtype_of(number_format)
    assert torch.equal(linear(x), F.linear(x.to(dtype), weight.to(dtype), bias.to(dtype)))


@pytest.mark.parametrize("bias", [None, torch.ones(24)])
def test_where_mkl_is_slow_onednn_multiplies_floats(bias, monkeypatch):
    monkeypatch.setattr(Hardware, "here", classmethod(lambda _: replace(WIDE, slow_mkl=True)))
    weight = made_up(24, 256, 1)
    linear = projection(weight, bias, "float32")
    assert isinstance(linear, OneDnnProjection)
    assert linear.weight.data_ptr() == weight.data_ptr()  # held once
    for rows in (1, 5, 700):
        x = made_up(rows, 256, 2)
        exact = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
        assert float((linear(x) - exact).abs().max() / exact.abs().max()) < 1e-6
    assert isinstance(projection(weight, bias, "bfloat16"), PlainProjection)


FAST_PRODUCTS = """
import torch
from viska.engine.kernels import OneDnnInt8Projection
from viska.quantization import quantize_rows

torch.manual_seed(1)
weight, x = torch.randn(64, 64), torch.randn(32, 64)
linear = OneDnnInt8Projection(*quantize_rows(weight), None)
error = (linear(x) - x @ weight.T).abs().max()
assert error < 0.5, error
"""


@needs_dot_products
@pytest.mark.parametrize("processor", ["AVX512_CORE_VNNI", "AVX512_CORE_BF16", "ALL"])
def test_no_processor_with_dot_products_gets_onednns_plain_reference(processor):
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": processor, "ONEDNN_VERBOSE": "1"}
    told = subprocess.run(
        [sys.executable, "-c", FAST_PRODUCTS], env=environment, capture_output=True, text=True, check=True
    )
    products = [line.split(",")[6] for line in told.stdout.splitlines() if "exec,cpu,matmul," in line]
    assert products
    assert not [name for name in products if name.startswith("ref")]


def test_activations_may_stay_floats_where_weights_are_integers(monkeypatch):
    monkeypatch.setattr(Hardware, "here", classmethod(lambda _: WIDE))
    weight, bias, x = made_up(6, 8, 1), torch.ones(6), made_up(3, 8, 2)
    linear = projection(weight, bias, "int8", rounding=Rounding.NONE)
    assert torch.equal(linear(x), F.linear(x, dequantize_rows(*quantize_rows(weight)), bias))
    assert isinstance(projection(weight, bias, "bfloat16", rounding=Rounding.NONE), PlainProjection)


@needs_dot_products
@pytest.mark.parametrize("bias", [None, torch.ones(24)])
def test_rows_on_one_side_of_zero_are_rounded_to_finer_steps(bias):
    weight, x = made_up(24, 256, 1), F.gelu(made_up(7, 256, 2) * 100)
    weight = dequantize_rows(*quantize_rows(weight))  # so that activations alone are rounded
    exact = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    plain, centred = (
        projection(weight, bias, "int8", many_rows=True, rounding=rounding)(x.clone())
        for rounding in (Rounding.PLAIN, Rounding.CENTRED)
    )
    off = [float((found - exact).square().mean().sqrt()) for found in (plain, centred)]
    assert off[1] < 0.6 * off[0]


@needs_dot_products
def test_what_is_near_zero_is_not_moved_where_rows_are_centred():
    weight = dequantize_rows(*quantize_rows(made_up(24, 256, 1).abs()))  # errors to one side would add up
    x = torch.zeros(3, 256)
    x[0, 7], x[1, 7], x[1, 9] = 3.7, 3.7, -0.17
    exact = F.linear(x, weight)
    found = projection(weight, None, "int8", many_rows=True, rounding=Rounding.CENTRED)(x.clone())
    torch.testing.assert_close(found, exact, rtol=0, atol=0.02 * float(weight.max()))
    assert not found[2].any()


@needs_dot_products
def test_the_first_block_of_an_int8_encoder_rounds_no_activations(monkeypatch):
    monkeypatch.setattr(Hardware, "here", classmethod(lambda _: DOT_PRODUCTS))
    module = made_up_model(n_audio_layer=3).encoder
    first, *others = Encoder(module, "int8").blocks
    for part in ("qkv", "out", "up", "down"):
        assert isinstance(getattr(first, part), PlainProjection)
        assert not any(isinstance(getattr(block, part), PlainProjection) for block in others)
    assert len(others) == 2


@needs_dot_products
def test_the_kernel_follows_the_hardware(monkeypatch):
    weight = made_up(16, 16, 1)
    for_few = FbgemmInt8Projection if library() is None else NativeProjection
    kinds = [type(projection(weight, None, "int8", many_rows=many)) for many in (False, True)]
    assert kinds == [for_few, OneDnnInt8Projection]
    assert isinstance(projection(made_up(16, 15, 1), None, "int8"), FbgemmInt8Projection)
    monkeypatch.setattr(NativeProjection, "fits", staticmethod(lambda _: False))
    assert isinstance(projection(weight, None, "int8"), FbgemmInt8Projection)


@pytest.mark.parametrize("many_rows", [False, True])
def test_without_dot_products_torch_multiplies_floats_of_the_same_integers(many_rows, monkeypatch):
    monkeypatch.setattr(Hardware, "here", classmethod(lambda _: INT8))
    monkeypatch.setattr(NativeProjection, "fits", staticmethod(lambda _: False))
    weight, bias, x = made_up(6, 8, 1), torch.ones(6), made_up(3, 8, 2)
    linear = projection(weight, bias, "int8", many_rows=many_rows)
    assert torch.equal(linear(x), F.linear(x, dequantize_rows(*quantize_rows(weight)), bias))


def test_the_dtype_between_projections():
    assert dtype_of("float32") == dtype_of("int8") == torch.float32
    assert dtype_of("bfloat16") == torch.bfloat16
