"""The sound without speech that is made to measure invented words: what it is, and that it is always the same."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.nonspeech import make, noises, rooms
from benchmarks.nonspeech.noises import RATE
from hypothesis import given
from hypothesis import strategies as st

from viska.audio import load_audio
from viska.evaluation.manifest import read_manifest
from viska.vad import voice_activity

ROOT = Path(__file__).resolve().parent.parent


def rms(sound):
    return float(np.sqrt(np.mean(np.square(sound))))


@pytest.mark.parametrize("name", make.RECIPES)
def test_every_recipe(name):
    _, recipe = make.RECIPES[name]
    first, again, other = (recipe(np.random.default_rng(seed), 4) for seed in (1, 1, 2))
    assert len(first) == 4 * RATE
    assert np.all(np.isfinite(first))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    loud = noises.at_level(first, -30)
    assert rms(loud) == pytest.approx(10 ** (-30 / 20), rel=0.6)  # less where peaks are cut
    assert rms(loud) > 1e-4
    assert np.abs(loud).max() <= 0.98


@pytest.mark.parametrize(
    ("name", "exponent"), [("brown noise", -2), ("pink noise", -1), ("white noise", 0), ("violet noise", 2)]
)
def test_colours(name, exponent):
    sound = noises.RECIPES[name](np.random.default_rng(0), 30)
    power = np.abs(np.fft.rfft(sound)) ** 2
    octaves = [power[30 * low : 60 * low].mean() for low in (250, 500, 1000, 2000)]
    slopes = np.diff(np.log2(octaves))
    assert slopes == pytest.approx(exponent, abs=0.2)


def test_hum_is_at_the_mains_frequency():
    power = np.abs(np.fft.rfft(noises.hum(np.random.default_rng(0), 10)))
    assert np.argmax(power) / 10 % 50 in (0, 10, 20, 30, 40)
    assert power.max() > 50 * np.median(power)


@given(st.floats(-70, -6), st.integers(0, 99))
def test_levels(decibels, seed):
    sound = noises.at_level(np.random.default_rng(seed).normal(size=4000) + 5, decibels)
    assert np.abs(sound).max() <= 0.98 + 1e-9
    assert abs(sound.mean()) < 1e-3
    if decibels < -20:
        assert 20 * np.log10(rms(sound)) == pytest.approx(decibels, abs=0.01)


def test_at_least_as_long_as_asked_and_the_same_each_time():
    first, again = (list(make.synthesised(5, seed=3)) for _ in range(2))
    assert sum(len(one.sound) for one in first) >= 5 * 60 * RATE
    assert all(np.array_equal(one.sound, other.sound) for one, other in zip(first, again, strict=True))
    assert {one.kind for one in first} == {"noise", "music", "silence"}
    assert len({one.name for one in first}) == len(first)
    different = next(make.synthesised(1, seed=4))
    assert not np.array_equal(different.sound, first[0].sound)


def test_room_tone_is_what_lies_between_words():
    rng = np.random.default_rng(0)
    room = rng.normal(size=6 * RATE) * 0.001
    speech = room.copy()
    for start in (0.0, 2.0, 4.5):  # pauses of 1 and of 1.5 s
        speech[int(start * RATE) : int((start + 1) * RATE)] += rng.normal(size=RATE) * 0.1
    found = list(rooms.pauses(speech))
    assert [round(len(pause) / RATE, 2) for pause in found] == [0.76, 1.26]
    tone = rooms.room_tone(speech, 5)
    assert len(tone) == 5 * RATE
    levels = [rms(tone[i : i + 800]) for i in range(0, len(tone), 800)]
    assert max(levels) < 2 * min(levels)


@pytest.mark.parametrize("sound", [np.zeros(RATE), np.zeros(0), np.random.default_rng(0).normal(size=3 * RATE)])
def test_no_room_tone_where_there_are_no_pauses(sound):
    assert rooms.room_tone(sound, 5) is None


def test_what_is_written_is_a_manifest(tmp_path):
    some = [one for one, _ in zip(make.synthesised(1), range(4), strict=False)]
    lines = make.write(iter(some), tmp_path / "new")
    clips = read_manifest(tmp_path / "new" / "manifest.jsonl")
    assert [clip.path for clip in clips] == [line["path"] for line in lines]
    assert all(clip.silent for clip in clips)
    for clip, one in zip(clips, some, strict=True):
        assert hashlib.sha256(clip.file.read_bytes()).hexdigest() == clip.sha256
        np.testing.assert_allclose(load_audio(clip.file), one.sound, atol=1 / 2**15)


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "benchmarks.nonspeech", str(tmp_path / "out"), "--minutes", "0.1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["files"] == len(list((tmp_path / "out").glob("*.wav"))) == len(make.RECIPES) + 1
    assert "no room tone" in done.stderr


def test_rooms_of_the_corpus(corpus):
    found = list(make.room_tones(corpus, most=3))
    assert [one.name for one in found] == ["room_01", "room_02", "room_03"]
    for one in found:
        assert len(one.sound) == make.ROOM_S * RATE
        assert max(voice_activity(one.sound.astype(np.float32)).probabilities) < 0.5


def test_a_witness_hears_no_speech():
    """The voice activity that the package has is no measure of ours here, but it would hear a mistake."""
    for one in make.synthesised(1):
        if len(one.sound) <= 20 * RATE:
            assert max(voice_activity(one.sound.astype(np.float32)).probabilities) < 0.6, one.name
