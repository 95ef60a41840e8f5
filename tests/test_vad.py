"""Voice activity: Silero's numbers, blocks of any size, and the rules that make regions of them."""

import hashlib
import json
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import safe_open

from viska.audio import load_audio
from viska.errors import AudioError, OptionError
from viska.vad import (
    Region,
    VadOptions,
    VoiceActivity,
    network,
    regions_from_times,
    speech_probabilities,
    speech_regions,
    vad_options,
    voice_activity,
)
from viska.vad.regions import least_probable_frame, pause_frame

FRAME = 512
ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "src" / "viska" / "assets"


@pytest.fixture(scope="module")
def speech(recordings):
    """The recordings of the repo with two seconds of silence around each."""
    silence = np.zeros(32000, dtype=np.float32)
    parts = [silence]
    for path in sorted([*recordings.glob("*.wav"), *recordings.glob("*.flac")]):
        parts += [load_audio(path), silence]
    return np.concatenate(parts)


def activity(probabilities, n_samples=None):
    probabilities = torch.tensor(probabilities, dtype=torch.float32)
    return VoiceActivity(probabilities, len(probabilities) * FRAME if n_samples is None else n_samples)


# The network


def test_the_weights_are_those_that_were_made_and_carry_their_licence():
    content = (ASSETS / network.WEIGHTS).read_bytes()
    assert hashlib.sha256(content).hexdigest() == "02039707f6dbff8e091de22b1c82885b4f45a4822b36171269399898aa5e5c49"
    with safe_open(ASSETS / network.WEIGHTS, "pt") as file:
        assert file.metadata()["license"].startswith("MIT")
    assert "Silero Team" in (ASSETS / "silero_vad_LICENSE.txt").read_text()


def test_probabilities_are_those_of_silero(speech):
    expected = json.loads((ROOT / "tests" / "expected" / "vad.json").read_text())["probabilities"]
    found = speech_probabilities(speech)
    assert found.dtype == torch.float32
    assert found.shape == (len(expected),) == (-(-len(speech) // FRAME),)
    assert min(expected) < 0.01
    assert max(expected) > 0.99
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [160, 5000, 16000 * 10, 10**9])
def test_blocks_of_any_size_give_the_same_bits(speech, size):
    long = np.tile(speech, 3)  # more than one block of the network
    blocks = (long[start : start + size] for start in range(0, len(long), size))
    in_blocks = voice_activity(blocks)
    assert in_blocks.n_samples == len(long)
    assert torch.equal(in_blocks.probabilities, speech_probabilities(long))


def test_a_later_block_does_not_know_that_it_is_one(speech):
    """State and context go on over the edge of a block, which is in the middle of speech: as frame after frame."""
    long = np.tile(speech[80000:], 2)[: FRAME * 1100]
    net, state, context, expected = network.load_network(), None, torch.zeros(64), []
    for frame in torch.from_numpy(long).split(FRAME):
        probability, state = net(torch.cat([context, frame])[None], state)
        context = frame[-64:]
        expected.append(probability)
    found = speech_probabilities(long)
    assert found[1020:1028].min() > 0.5
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=0)


def test_tensors_read_only_and_reversed_arrays_are_taken(speech):
    short = speech[:50000]
    expected = speech_probabilities(short)
    read_only = short.copy()
    read_only.setflags(write=False)
    assert torch.equal(speech_probabilities(read_only), expected)
    assert torch.equal(speech_probabilities(torch.from_numpy(short)), expected)
    assert torch.equal(speech_probabilities(short[::-1].copy()[::-1]), expected)


def test_the_samples_are_not_changed(speech):
    before = speech.copy()
    voice_activity(speech)
    assert np.array_equal(speech, before)


@pytest.mark.parametrize("n_samples", [0, 1, 63, 511, 512, 513])
def test_tiny_input(n_samples):
    found = voice_activity(np.zeros(n_samples, dtype=np.float32))
    assert found.n_samples == n_samples
    assert len(found.probabilities) == -(-n_samples // FRAME)
    assert speech_regions(found) == ()


def test_no_blocks_at_all_and_empty_ones(speech):
    assert voice_activity([]).n_samples == 0
    empty = np.zeros(0, dtype=np.float32)
    assert torch.equal(speech_probabilities([empty, speech[:9000], empty]), speech_probabilities(speech[:9000]))


def test_silence_and_noise_are_not_speech():
    noise = np.random.default_rng(0).standard_normal(16000 * 10).astype(np.float32) * 0.01
    assert speech_regions(np.zeros(16000 * 10, dtype=np.float32)) == ()
    assert speech_regions(noise) == ()


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(100),
        np.zeros(100, dtype=np.int16),
        np.zeros((2, 100), dtype=np.float32),
        torch.zeros(100, dtype=torch.float64),
        [0.5, 0.25],
        "talk.wav",
    ],
    ids=["float64", "int16", "stereo", "float64 tensor", "numbers", "path"],
)
def test_what_is_not_float32_mono_is_refused(samples):
    with pytest.raises(AudioError, match=r"was given; accepted are float32 samples"):
        voice_activity(samples)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value):
    samples = np.zeros(5000, dtype=np.float32)
    samples[2000] = value
    with pytest.raises(AudioError, match="no finite numbers"):
        voice_activity(samples)


def test_blocks_that_were_heard_are_not_held():
    given, alive = [], []

    def blocks():
        for _ in range(200):
            block = np.zeros(16000, dtype=np.float32)
            given.append(weakref.ref(block))
            alive.append(sum(reference() is not None for reference in given))
            yield block
            del block

    assert voice_activity(blocks()).n_samples == 200 * 16000
    assert max(alive) < 5


def test_it_is_loaded_once_by_however_many_threads(speech):
    code = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
import safetensors.torch as st
loads, load_file = [], st.load_file
st.load_file = lambda path: loads.append(path) or load_file(path)
from viska.vad import network
with ThreadPoolExecutor(8) as pool:
    networks = list(pool.map(lambda _: network.load_network(), range(32)))
print(len(loads), len(set(map(id, networks))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
    parts = [speech[start : start + 40000] for start in range(0, 320000, 40000)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(speech_probabilities, parts))
    for part, probabilities in zip(parts, found, strict=True):
        torch.testing.assert_close(probabilities, speech_probabilities(part), atol=1e-5, rtol=0)


def test_it_leaves_the_callers_torch_alone(speech):
    network._load_network.cache_clear()
    before = torch.get_rng_state()
    found = speech_probabilities(speech[:5000])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
    assert not found.requires_grad
    assert not found.is_inference()
    with torch.inference_mode():
        network._load_network.cache_clear()
        speech_probabilities(speech[:5000])
    assert torch.equal(speech_probabilities(speech[:5000]), found)


def test_what_is_said_is_found(speech, recordings):
    lengths = [len(load_audio(path)) for path in sorted([*recordings.glob("*.wav"), *recordings.glob("*.flac")])]
    regions = speech_regions(speech, VadOptions(min_silence_duration_ms=1500))
    assert len(regions) == 3
    start = 32000
    for region, length in zip(regions, lengths, strict=True):
        assert start - 0.5 * 16000 < region.start < start + 0.3 * 16000
        assert start + length - 0.6 * 16000 < region.end < start + length + 0.5 * 16000
        start += length + 32000


# Options


def test_the_defaults_are_those_that_users_of_faster_whisper_know():
    assert vars(VadOptions()) == {
        "threshold": 0.5,
        "neg_threshold": None,
        "min_speech_duration_ms": 0,
        "max_speech_duration_s": inf,
        "min_silence_duration_ms": 2000,
        "speech_pad_ms": 400,
    }


@pytest.mark.parametrize(
    ("options", "silence"),
    [({}, 0.35), ({"threshold": 0.1}, 0.01), ({"threshold": 0.005}, 0.005), ({"neg_threshold": 0.2}, 0.2)],
)
def test_where_speech_ends(options, silence):
    assert VadOptions(**options).silence_threshold == pytest.approx(silence)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold is 1.5; accepted are numbers from 0 to 1"),
        ({"threshold": "0.5"}, "threshold is '0.5'; accepted are numbers"),
        ({"threshold": None}, "threshold is None"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"threshold": True}, "threshold is True"),
        ({"neg_threshold": -0.1}, "neg_threshold is -0.1"),
        ({"neg_threshold": 0.6}, "neg_threshold is 0.6, above threshold, 0.5"),
        ({"min_speech_duration_ms": -1}, "min_speech_duration_ms is -1; accepted are numbers from 0 to 3,600,000"),
        ({"min_silence_duration_ms": inf}, "min_silence_duration_ms is inf"),
        ({"speech_pad_ms": -5}, "speech_pad_ms is -5"),
        ({"max_speech_duration_s": 0}, "max_speech_duration_s is 0; with speech_pad_ms on both sides it must be 0.864"),
        ({"max_speech_duration_s": float("nan")}, "max_speech_duration_s is nan; accepted are numbers from 0 to inf"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message.replace("(", r"\(")):
        VadOptions(**options)


def test_options_from_what_users_give():
    assert vad_options() == vad_options({}) == VadOptions()
    assert vad_options({"threshold": 0.3}) == vad_options(VadOptions(threshold=0.3)) == VadOptions(threshold=0.3)
    with pytest.raises(OptionError, match=r"option onset; accepted are threshold, neg_threshold, .*speech_pad_ms"):
        vad_options({"onset": 0.5})
    with pytest.raises(OptionError, match=r"vad_parameters is 0.5; accepted are VadOptions, or a dict of threshold"):
        vad_options(0.5)


# Regions

BARE = VadOptions(min_silence_duration_ms=0, speech_pad_ms=0)


def frames(regions):
    return [(region.start / FRAME, region.end / FRAME) for region in regions]


def test_speech_begins_at_one_threshold_and_ends_below_the_other():
    assert frames(speech_regions(activity([0.4, 0.5, 0.4, 0.35, 0.34, 0.4, 0.49, 0.6]), BARE)) == [(1, 4), (7, 8)]


def test_only_longer_silence_parts_speech():
    heard = activity([1, 0, 0, 0, 1])
    for silence_ms, expected in [(96, [(0, 1), (4, 5)]), (97, [(0, 5)])]:
        options = VadOptions(min_silence_duration_ms=silence_ms, speech_pad_ms=0)
        assert frames(speech_regions(heard, options)) == expected


def test_short_speech_is_dropped():
    heard = activity([1, 1, 0, 0, 1, 1, 1, 0])
    for speech_ms, expected in [(64, [(0, 2), (4, 7)]), (65, [(4, 7)]), (97, [])]:
        options = VadOptions(min_speech_duration_ms=speech_ms, min_silence_duration_ms=0, speech_pad_ms=0)
        assert frames(speech_regions(heard, options)) == expected


def test_padding_is_shared_between_neighbours_and_ends_at_the_edges():
    heard = activity([0] * 2 + [1] + [0] * 9 + [1] + [0] * 30 + [1, 0], n_samples=46 * FRAME - 100)
    wide = speech_regions(heard, VadOptions(min_silence_duration_ms=0, speech_pad_ms=320))
    assert frames(wide) == [(0, 7.5), (7.5, 23), (33, 46 - 100 / FRAME)]
    assert frames(speech_regions(heard, VadOptions(min_silence_duration_ms=0, speech_pad_ms=32)))[:2] == [
        (1, 4),
        (11, 14),
    ]


def test_too_long_speech_is_split_at_its_longest_pause():
    heard = activity([1] * 6 + [0] + [1] * 5 + [0] * 3 + [1] * 2 + [0] * 2 + [1] * 4)
    options = VadOptions(speech_pad_ms=0, max_speech_duration_s=0.032 * 20)
    assert frames(speech_regions(heard, options)) == [(0, 12), (15, 23)]


def test_a_pause_in_the_second_half_comes_first():
    heard = activity([1, 0, 0, 0, 0] + [1] * 7 + [0] + [1] * 10)
    options = VadOptions(speech_pad_ms=0, max_speech_duration_s=0.032 * 16)
    assert frames(speech_regions(heard, options)) == [(0, 12), (13, 23)]


def test_without_a_pause_it_is_split_where_it_is_least_probable():
    probabilities = [0.9] * 40
    probabilities[13], probabilities[17], probabilities[30] = 0.6, 0.5, 0.55
    options = VadOptions(speech_pad_ms=0, max_speech_duration_s=0.032 * 20)
    assert frames(speech_regions(activity(probabilities), options)) == [(0, 17), (17, 30), (30, 40)]
    assert least_probable_frame(torch.tensor([0.1, 0.5, 0.2, 0.2, 0.9]), 1, 5) == 3


def test_a_cut_goes_into_the_middle_of_the_longest_pause():
    probabilities = [0.9] * 40
    probabilities[12] = 0.01  # as silent as can be, but a breath
    probabilities[20:25] = probabilities[30:35] = [0.4] * 5
    assert pause_frame(probabilities, 10, 28) == 22
    assert pause_frame(torch.tensor(probabilities), 10, 40) == 32  # of equals the last
    assert pause_frame(probabilities, 10, 32) == 22  # a pause counts as far as it lies within
    assert pause_frame(probabilities, 13, 20) is None  # nobody pauses
    assert pause_frame([0.1] * 40, 10, 40) == 25


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.data())
def test_a_pause_is_where_nobody_speaks_if_there_is_such_a_frame(probabilities, data):
    first = data.draw(st.integers(0, len(probabilities) - 1))
    behind = data.draw(st.integers(first + 1, len(probabilities)))
    cut = pause_frame(probabilities, first, behind)
    if min(probabilities[first:behind]) >= 0.5:
        assert cut is None
    else:
        assert first <= cut < behind
        assert probabilities[cut] < 0.5


ms = st.floats(0, 400)
options = st.builds(
    VadOptions,
    threshold=st.floats(0.2, 0.9),
    neg_threshold=st.none() | st.floats(0, 0.2),
    min_speech_duration_ms=st.just(0) | ms,
    max_speech_duration_s=st.just(inf) | st.floats(0.87, 2),
    min_silence_duration_ms=ms,
    speech_pad_ms=ms,
)
numbers = st.lists(st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0, 0.5]), max_size=200)


@given(numbers, options, st.integers(0, FRAME - 1))
@example([1.0] * 200, VadOptions(max_speech_duration_s=0.864), 0)
@example([1.0] * 9, VadOptions(max_speech_duration_s=0.1, speech_pad_ms=18), 0)
@example([0.0] * 20 + [1.0] * 50 + [0.0] * 20, VadOptions(max_speech_duration_s=1.5, speech_pad_ms=400), 0)
def test_regions_are_ordered_within_bounds_apart_and_not_too_long(probabilities, options, missing):
    n_samples = max(0, len(probabilities) * FRAME - missing)
    regions = speech_regions(activity(probabilities, n_samples), options)
    behind = 0
    for region in regions:
        assert behind <= region.start < region.end <= n_samples
        assert region.n_samples <= max(options.max_speech_duration_s * 16000 + 1, 0)
        behind = region.end


@given(numbers, options)
def test_nothing_above_the_threshold_is_lost_unless_short(probabilities, options):
    options = VadOptions(**{**vars(options), "min_speech_duration_ms": 0})
    regions = speech_regions(activity(probabilities), options)
    for i, probability in enumerate(np.float32(probabilities)):
        if probability >= options.threshold:
            covered = sum(max(0, min(r.end, (i + 1) * FRAME) - max(r.start, i * FRAME)) for r in regions)
            assert covered == FRAME
    if not any(np.float32(probabilities) >= options.threshold):
        assert regions == ()


def one_by_one(probabilities, options):
    """The same rules without splits and padding, as a machine that hears frame after frame."""
    regions, start, silent_since = [], None, None
    for i, probability in enumerate(np.float32(probabilities)):
        if probability >= options.threshold:
            if start is not None and silent_since is not None:
                if (i - silent_since) * 32 >= options.min_silence_duration_ms:
                    regions.append((start, silent_since))
                    start = None
                silent_since = None
            start = i if start is None else start
        elif probability < options.silence_threshold and start is not None and silent_since is None:
            silent_since = i
    if start is not None:
        regions.append((start, silent_since if silent_since is not None else len(probabilities)))
    return [(a, b) for a, b in regions if (b - a) * 32 >= options.min_speech_duration_ms]


@given(numbers, options)
def test_regions_are_those_of_a_machine_that_hears_frame_after_frame(probabilities, options):
    options = VadOptions(**{**vars(options), "max_speech_duration_s": inf, "speech_pad_ms": 0})
    assert frames(speech_regions(activity(probabilities), options)) == one_by_one(probabilities, options)


@given(numbers, options)
def test_padding_is_what_was_asked_for_or_half_of_the_silence(probabilities, options):
    options = VadOptions(**{**vars(options), "max_speech_duration_s": inf})
    heard = activity(probabilities)
    bare = speech_regions(heard, VadOptions(**{**vars(options), "speech_pad_ms": 0}))
    padded = speech_regions(heard, options)
    assert len(bare) == len(padded)
    pad = round(options.speech_pad_ms * 16)
    edges = [-(10**9), *[edge for region in bare for edge in (region.start, region.end)], 10**9]
    for i, (inner, outer) in enumerate(zip(bare, padded, strict=True)):
        assert outer.start == max(0, inner.start - min(pad, (inner.start - edges[2 * i]) // 2))
        assert outer.end == min(heard.n_samples, inner.end + min(pad, (edges[2 * i + 3] - inner.end) // 2))


# Regions that a user gives


def test_regions_from_times():
    assert regions_from_times([(0, 1.5), (1.5, 2), (3, inf)], 60000) == (
        Region(0, 24000),
        Region(24000, 32000),
        Region(48000, 60000),
    )
    assert regions_from_times([(1, 2), (5, 6)], 20000) == (Region(16000, 20000),)
    assert regions_from_times([], 100) == ()
    assert (Region(8000, 24000).start_s, Region(8000, 24000).end_s) == (0.5, 1.5)


@pytest.mark.parametrize(
    "times", [[(-1, 2)], [(2, 2)], [(3, 1)], [(0, 2), (1, 3)], [(5, 6), (1, 2)], [(float("nan"), 2)], [(inf, inf)]]
)
def test_regions_out_of_order_are_refused(times):
    with pytest.raises(OptionError, match="give them in order, without overlap"):
        regions_from_times(times, 10**6)


# The corpus


def test_corpus_speech_is_kept_and_what_is_none_is_dropped(corpus):
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    quiet = [row for row in rows if row["kind"] == "silence"]
    spoken = [row for row in rows if row["kind"] == "short" and row["text"] and "raw_format" not in row][::8]
    assert len(quiet) >= 4
    assert len(spoken) >= 20
    for row in quiet:
        assert speech_regions(load_audio(corpus / row["path"])) == (), row["path"]
    for row in spoken:
        assert speech_regions(load_audio(corpus / row["path"])), row["path"]
