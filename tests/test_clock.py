"""Sound at the time at which players play it: behind a late start, and behind gaps."""

import argparse
import io
import random
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import viska
from made_up import made_up_model
from sound_files import encode, film, tone
from viska import _clock
from viska._clock import TOLERANCE_S, Clock
from viska.audio import SAMPLE_RATE, load_audio, load_channels
from viska.cli.run import ear_of
from viska.recording import Recording
from viska.server import uploads
from viska.transcription import Transcription, channels
from viska.transcription.options import transcribe_options

FILMS = {
    "mp4": ("mp4", ("mpeg4", "aac"), 16000),
    "mkv": ("matroska", ("mpeg4", "flac"), 16000),
    "webm": ("webm", ("libvpx", "libopus"), 48000),
    "ts": ("mpegts", ("mpeg2video", "mp2"), 16000),
}
FRAME_S = 0.02


def waits(clock, frames):
    """What the clock says before each frame: (start, duration)."""
    starts = [start for start, _ in frames]
    return [clock.wait(start, lasts, after) for (start, lasts), after in zip(frames, [*starts[1:], None], strict=True)]


def frames_from(start, count, lasts=FRAME_S):
    return [(start + number * lasts, lasts) for number in range(count)]


# The clock alone -----------------------------------------------------------------------------------------------------


def test_nothing_is_waited_for_where_nothing_is_missing():
    assert waits(Clock(), frames_from(0.0, 100)) == [0.0] * 100
    assert waits(Clock(start_s=1.4), frames_from(1.4, 100)) == [0.0] * 100
    assert waits(Clock(), frames_from(TOLERANCE_S - 0.01, 100)) == [0.0] * 100


def test_a_late_start_and_a_gap():
    clock = Clock(start_s=1.0)
    said = waits(clock, [*frames_from(4.0, 50), *frames_from(9.0, 50)])
    assert clock.gaps_s == pytest.approx(4.0)
    assert said[0] == pytest.approx(3.0)
    assert said[50] == pytest.approx(4.0)
    assert sum(said) == pytest.approx(7.0)


def test_small_gaps_add_up_until_they_are_noticed():
    frames = [(number * 0.06, FRAME_S) for number in range(100)]  # two of three packets are lost
    clock = Clock()
    assert all(said == 0 or said > TOLERANCE_S for said in waits(clock, frames))
    assert clock.had_s == pytest.approx(frames[-1][0] + FRAME_S, abs=TOLERANCE_S)


def test_a_clock_that_runs_faster_leaves_no_gaps():
    assert not any(waits(Clock(), [(number * FRAME_S * 1.09, FRAME_S) for number in range(1000)]))


def test_a_clock_that_goes_back_is_not_waited_for():
    assert not any(waits(Clock(), [*frames_from(0.0, 100), *frames_from(0.0, 300)]))


def test_the_damaged_time_of_one_frame():
    frames = frames_from(0.0, 100)
    frames[40] = (1000.0, FRAME_S)
    assert not any(waits(Clock(), frames))


def test_frames_without_times():
    clock = Clock()
    assert [clock.wait(None, FRAME_S, None) for _ in range(10)] == [0.0] * 10
    assert clock.had_s == pytest.approx(0.2)


def test_clocks_that_may_be_set_anew():
    frames = [*frames_from(30.0, 50), *frames_from(36.0, 50), *frames_from(100.0, 50)]
    said = waits(Clock(longest_s=10.0), frames)
    assert said[0] == pytest.approx(30.0)  # where the sound begins is no matter of that
    assert said[50] == pytest.approx(5.0)
    assert said[100] == 0


def test_no_time_behind_the_end_and_no_more_than_some_hours():
    assert not any(waits(Clock(end_s=10.0), [*frames_from(0.0, 50), *frames_from(10.0, 50)]))
    assert not any(waits(Clock(), [*frames_from(0.0, 50), *frames_from(1e6, 50)]))
    hours = [frame for hour in range(20) for frame in frames_from(3600.0 * hour, 2)]
    assert sum(waits(Clock(), hours)) <= _clock._MOST_S


@given(
    st.floats(0, 1000),
    st.lists(st.tuples(st.floats(0, 100) | st.just(0.0), st.floats(0.001, 5)), min_size=1, max_size=40),
)
def test_every_frame_comes_at_its_time(start, steps):
    frames, time = [], start
    for gap, lasts in steps:
        time += gap
        frames.append((time, lasts))
        time += lasts
    clock, ended = Clock(start_s=start), start
    for (time, lasts), (after, _) in pairwise([*frames, (inf, 0.0)]):
        silence = clock.wait(time, lasts, after)
        assert silence == 0 or silence > TOLERANCE_S
        early = time + lasts - start - clock.had_s
        assert early > -1e-6
        assert early <= TOLERANCE_S + 1e-6 or time - ended <= _clock._JUMP_S + 1e-6
        ended = time + lasts


# Files ---------------------------------------------------------------------------------------------------------------


def begins(samples, sound):
    """Where the sound lies in samples, in seconds."""
    likeness = np.correlate(samples, sound[: SAMPLE_RATE // 2], "valid")
    return int(likeness.argmax()) / SAMPLE_RATE


@pytest.mark.parametrize("name", FILMS)
def test_sound_that_begins_late(name, caplog):
    container, codecs, rate = FILMS[name]
    file = film([(3.0, tone(rate, 2.0))], container, codecs, rate, seconds=8)
    plain, timed = load_audio(file), load_audio(file, timed=True)
    assert len(plain) / SAMPLE_RATE == pytest.approx(2.0, abs=0.15)
    assert len(timed) / SAMPLE_RATE == pytest.approx(5.0, abs=0.1)
    assert begins(timed, tone(seconds=2.0)) == pytest.approx(3.0, abs=0.1)
    assert Recording(file, timed=True).n_samples == len(timed)
    assert np.array_equal(load_channels(file, timed=True)[0], timed)
    assert not caplog.records  # pictures that last longer are no damage


@pytest.mark.parametrize("name", FILMS)
def test_sound_with_a_gap(name):
    container, codecs, rate = FILMS[name]
    first, second = tone(rate, 2.0), tone(rate, 1.0)[::-1]
    file = film([(0.0, first), (6.0, second)], container, codecs, rate, seconds=8)
    timed = load_audio(file, timed=True)
    assert begins(timed, tone(seconds=2.0)) == pytest.approx(0.0, abs=0.1)
    assert begins(timed, tone(seconds=1.0)[::-1]) == pytest.approx(6.0, abs=0.1)
    assert not timed[int(2.3 * SAMPLE_RATE) : int(5.7 * SAMPLE_RATE)].any()
    assert len(load_audio(file)) / SAMPLE_RATE == pytest.approx(3.0, abs=0.2)  # as the ffmpeg program


def test_a_gap_in_a_film_is_no_damage(caplog):
    load_audio(
        film([(0.0, tone(seconds=1.0)), (4.0, tone(seconds=1.0))], "mp4", ("mpeg4", "aac"), 16000, 6), timed=True
    )
    assert "has gaps of 3.0 s" in caplog.text
    assert "damaged" not in caplog.text


def test_a_film_that_breaks_off_is_told(caplog):
    file = film([(0.0, tone(seconds=8.0))], "matroska", ("mpeg4", "flac"), 16000, seconds=8)
    load_audio(file[: len(file) // 2])
    assert "damaged or breaks off" in caplog.text


@pytest.mark.parametrize(("container", "codec"), [("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus")])
def test_files_of_sound_alone_stay_what_they_are(container, codec):
    file = encode(tone(16000, 3.0), container, codec, 16000)
    assert np.array_equal(load_audio(file, timed=True), load_audio(file))


def test_packets_that_were_lost_keep_what_follows_in_its_place(caplog):
    file = bytearray(encode(tone(16000, 6.0), "ogg", "libopus", 16000))
    first = file.index(b"OggS", len(file) // 3)
    last = file.index(b"OggS", first + 4)
    cut = bytes(file[:first] + file[last:])
    end = tone(16000, 6.0)[-SAMPLE_RATE:]
    assert begins(load_audio(cut, timed=True), end) == pytest.approx(5.0, abs=0.25)
    assert "packets may have been lost" in caplog.text
    assert begins(load_audio(cut), end) < 4.5


@pytest.mark.parametrize(("compat", "seconds"), [(None, 4.0), ("openai", 2.0)])
def test_transcription_tells_times_as_players_do_but_not_in_compat_mode(tmp_path, compat, seconds):
    path = tmp_path / "film.mkv"
    path.write_bytes(film([(2.0, tone(seconds=2.0))], "matroska", ("mpeg4", "flac"), 16000, seconds=5))
    job = Transcription(made_up_model(), path, transcribe_options({"compat": compat, "language": "en"}))
    assert job.duration_s == pytest.approx(seconds, abs=0.1)
    for channel in (None, 0, "all"):
        flags = argparse.Namespace(audio_track=None, channel=channel, compat=compat)
        for _, recording in ear_of(flags).voices(str(path)):
            assert recording.duration_s == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("compat", [None, "openai"])
def test_channels_apart_are_timed_too(monkeypatch, compat):
    asked = []

    def one_channel(audio, *, track, timed):
        asked.append(timed)
        return np.zeros((1, 1600), np.float32)

    monkeypatch.setattr(channels, "load_channels", one_channel)
    viska.transcribe_channels(made_up_model(), "call.webm", compat=compat, language="en")
    assert asked == [compat is None]


@pytest.mark.parametrize("seed", [74, 80, 103])
def test_a_track_that_appears_in_a_damaged_file_is_no_error(seed):
    """Where identifiers of packets are damaged FFmpeg finds one in the middle, of which PyAV raises IndexError."""
    file, chance = bytearray(encode(tone(16000, 20.0), "mpegts", "mp2", 16000)), random.Random(seed)
    for _ in range(20):
        file[chance.randrange(len(file))] = chance.randrange(256)
    assert len(load_audio(bytes(file), timed=True)) > 15 * SAMPLE_RATE
    assert uploads.check_duration(io.BytesIO(file), 60.0) > 15
