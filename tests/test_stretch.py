"""Stretches: what of a recording is transcribed on its own, and the way back to the recording's times."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from made_up import answered, made_up_model
from viska.audio import HOP_LENGTH, N_FRAMES, N_SAMPLES, SAMPLE_RATE, log_mel_spectrogram
from viska.decoding import DecodingResult
from viska.engine import Heard
from viska.recording import LogMel, Recording
from viska.result import Segment, Word
from viska.tokenizer import get_tokenizer
from viska.transcription import transcribe_options
from viska.transcription.cutting import cut, whole
from viska.transcription.passage import Passage
from viska.transcription.planner import PromptHistory
from viska.transcription.stretch import Stretch
from viska.vad import VoiceActivity

TOKENIZER = get_tokenizer(True, language="en", task="transcribe")
HELLO = TOKENIZER.encode(" Hello")


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def speaks(monkeypatch, *spans, length_s=200.0):
    """Let voice activity hear speech between these seconds, whatever the sound."""
    probabilities = torch.zeros(round(length_s / 0.032))
    for start, end in spans:
        probabilities[round(start / 0.032) : round(end / 0.032)] = 0.9
    monkeypatch.setattr(
        "viska.transcription.cutting.voice_activity", lambda _: VoiceActivity(probabilities, round(length_s * 16000))
    )


def cuts(seconds, **options):
    samples = noise(seconds)
    recording = Recording(samples)
    return cut(recording, LogMel(recording, 80), transcribe_options({"guard": False, **options}))


def in_seconds(stretches):
    return [[(start / 100, end / 100) for start, end in stretch.pieces] for stretch in stretches]


# Log-mel


@pytest.fixture(scope="module")
def log_mel():
    return LogMel(Recording(noise(20)), 80), log_mel_spectrogram(noise(20), padding=N_SAMPLES)


def test_frames_are_those_of_the_pieces_one_behind_the_other(log_mel):
    mel, frames = log_mel
    stretch = Stretch(mel, ((100, 250), (700, 710), (1500, 2000)), ((0, 660),))
    joined = torch.cat([frames[:, 100:250], frames[:, 700:710], frames[:, 1500:2000]], dim=-1)
    assert stretch.n_frames == 660
    for first, last in ((0, 660), (0, 100), (149, 161), (150, 160), (155, 400), (659, 660)):
        assert torch.equal(stretch.frames(first, last), joined[:, first:last])


def test_behind_its_end_is_the_silence_behind_the_recording(log_mel):
    mel, frames = log_mel
    assert torch.equal(whole(mel, (0.0,)).frames(0, N_FRAMES), frames[:, :N_FRAMES])
    part = Stretch(mel, ((100, 200),), ((0, 100),))
    assert torch.equal(part.frames(50, 300), torch.cat([frames[:, 150:200], frames[:, 2000:2200]], dim=-1))
    nothing = whole(LogMel(Recording(np.zeros(0, np.float32)), 80), (0.0,))
    assert tuple(nothing.frames(0, N_FRAMES).shape) == (80, N_FRAMES)


# Cutting


def test_in_order_a_recording_is_one_stretch_with_its_clips():
    (stretch,) = cuts(95.5, clip_timestamps="10,20,90")
    assert stretch.pieces == ((0, 9550),)
    assert stretch.clips == ((1000, 2000), (9000, 9550))
    assert stretch.times is None
    assert stretch.start_s(12.5) == 12.5


def test_a_batch_is_cut_where_nobody_speaks_and_leaves_nothing_out(monkeypatch):
    speaks(monkeypatch, (0, 24), (24.2, 50), (51, 100), length_s=100)
    found = in_seconds(cuts(100, batch_size=4))
    assert found[0][0][1] == pytest.approx(24.1, abs=0.1)
    assert found[1][0][1] == pytest.approx(50.5, abs=0.6)
    edges = [edge for pieces in found for piece in pieces for edge in piece]
    assert (edges[0], edges[-1]) == (0, 100)
    assert all(end == start for end, start in zip(edges[1:-1:2], edges[2::2], strict=True))
    assert all(end - start <= 30 for pieces in found for start, end in pieces)


def test_a_batch_of_a_short_recording_is_one_window(monkeypatch):
    monkeypatch.setattr("viska.transcription.cutting.voice_activity", lambda _: pytest.fail("for nothing"))
    assert in_seconds(cuts(29, batch_size=4)) == [[(0, 29)]]


@pytest.mark.guarded
@pytest.mark.parametrize(("loudest", "heard"), [(0.0, 0.0), (0.005, 0.1), (0.029, 0.1), (0.031, 0.031), (0.9, 0.9)])
def test_voice_activity_hears_a_quiet_recording_louder(monkeypatch, loudest, heard):
    samples = noise(1)
    samples *= loudest / np.abs(samples).max()
    given = []

    def listen(blocks):
        given.extend(blocks)
        return VoiceActivity(torch.zeros(32), len(samples))

    monkeypatch.setattr("viska.transcription.cutting.voice_activity", listen)
    recording = Recording(samples)
    cut(recording, LogMel(recording, 80), transcribe_options({}))
    assert np.abs(np.concatenate(given)).max() == pytest.approx(heard)
    assert np.abs(recording.samples(0, len(samples))).max() == pytest.approx(loudest)


def test_a_filter_keeps_what_is_spoken_in_one_stretch_or_in_windows(monkeypatch):
    speaks(monkeypatch, (10, 20), (60, 75), (80, 82), (120, 140))
    parameters = {"vad_filter": True, "vad_parameters": {"speech_pad_ms": 0}}
    spoken = [(10, 20), (60, 75), (80, 82), (120, 140)]
    (stretch,) = cuts(200, **parameters)
    assert stretch.pieces == tuple((pytest.approx(100 * a, abs=4), pytest.approx(100 * b, abs=4)) for a, b in spoken)
    assert stretch.clips == ((0, stretch.n_frames),)
    windows = in_seconds(cuts(200, batch_size=2, **parameters))
    assert [len(pieces) for pieces in windows] == [3, 1]


def test_a_filter_stays_within_the_clips(monkeypatch):
    speaks(monkeypatch, (10, 20), (60, 75))
    options = {"vad_filter": True, "vad_parameters": {"speech_pad_ms": 0}, "clip_timestamps": "15,65,70,72"}
    ((first, second, third),) = in_seconds(cuts(200, **options))
    assert first == (pytest.approx(15, abs=0.04), pytest.approx(20, abs=0.04))
    assert second == (pytest.approx(60, abs=0.04), pytest.approx(65, abs=0.04))
    assert third == (pytest.approx(70, abs=0.04), pytest.approx(72, abs=0.04))


def test_where_nobody_speaks_there_is_nothing_to_do(monkeypatch):
    speaks(monkeypatch)
    assert cuts(50, vad_filter=True) == cuts(50, vad_filter=True, batch_size=3) == []
    assert cuts(0, batch_size=2) == []


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 90_000), st.integers(100, 90_000)), min_size=1, max_size=12), st.booleans())
def test_times_do_not_drift_however_many_pieces_there_are(log_mel, gaps_and_lengths, batched):
    mel, _ = log_mel
    clips, at = [], 0
    for gap, length in gaps_and_lengths:
        clips += [(at + gap) / SAMPLE_RATE, (at + gap + length) / SAMPLE_RATE]
        at += gap + length
    recording = Recording(noise(20))
    recording.n_samples = at + 5  # of the length alone anything is asked here
    mel.n_frames = recording.n_samples // HOP_LENGTH
    options = {"clip_timestamps": clips, "guard": False, "batch_size": 2}
    with pytest.MonkeyPatch.context() as patch:
        speaks(patch, length_s=at / SAMPLE_RATE + 1)
        stretches = cut(recording, mel, transcribe_options(options))
    mel.n_frames = 2000
    for stretch in stretches:
        assert stretch.n_frames <= N_FRAMES
        begin = 0
        for start, end in stretch.pieces:
            within = 0.4 * (end - start)  # not so near its end that it belongs to what follows
            assert stretch.start_s((begin + within) / 100) == pytest.approx((start + within) / 100, abs=1e-6)
            begin += end - start


# Times of the recording


def a_segment(start, end, words=None):
    spoken = None if words is None else tuple(Word(word, *span, 0.5) for word, *span in words)
    return Segment(0, round(start * 100), start, end, " Hello", tuple(HELLO), 0.0, -0.3, 1.0, 0.1, words=spoken)


def test_segments_and_words_are_moved_to_the_recording(monkeypatch):
    speaks(monkeypatch, (10, 20), (60, 75))
    (stretch,) = cuts(200, vad_filter=True, vad_parameters={"speech_pad_ms": 0})
    first = stretch.pieces[0][1] - stretch.pieces[0][0]
    begins = [start / 100 for start, _ in stretch.pieces]
    words = [(" one", 8.0, 9.5), (" two", first / 100 + 1.0, first / 100 + 1.5)]
    moved = stretch.in_recording(a_segment(2.0, first / 100 + 3.0, words))
    assert (moved.start, moved.end) == (pytest.approx(begins[0] + 2), pytest.approx(begins[1] + 3))
    assert moved.seek == round(moved.start * 100)
    times = [(word.start, word.end) for word in moved.words]
    assert times == [
        (pytest.approx(begins[0] + 8), pytest.approx(begins[0] + 9.5)),
        (pytest.approx(begins[1] + 1), pytest.approx(begins[1] + 1.5)),
    ]
    plain = a_segment(2.0, 3.0)
    assert whole(stretch.mel, (0.0,)).in_recording(plain) is plain


# A passage over a stretch


class Scripted:
    """A backend that encodes nothing: what is decoded comes from the test."""

    any_length = False

    def encode(self, mel):
        assert tuple(mel.shape) == (80, N_FRAMES)
        return Heard(torch.empty(0))


def said(*parts, **facts) -> DecodingResult:
    """What a window says: start and end in seconds, with an open end where there is none."""
    tokens = []
    for start, end in parts:
        tokens += [TOKENIZER.timestamp_begin + round(start * 50), *HELLO]
        tokens += [] if end is None else [TOKENIZER.timestamp_begin + round(end * 50)]
    known = {"avg_logprob": -0.3, "no_speech_prob": 0.1, "compression_ratio": 1.0, "temperature": 0.0, **facts}
    return DecodingResult(torch.empty(0), "en", tokens=tokens, **known)


def passage(stretch, **options) -> Passage:
    asked = transcribe_options({"temperature": (0.0, 0.4), "guard": False, **options})
    made = Passage(
        made_up_model(),
        Scripted(),
        asked,
        stretch,
        PromptHistory(room=223, condition=asked.conditions),
        threading.Event(),
    )
    made.speak("en")
    return made


@pytest.fixture
def two_pieces(monkeypatch):
    speaks(monkeypatch, (10, 20), (60, 72))
    (stretch,) = cuts(100, vad_filter=True, vad_parameters={"speech_pad_ms": 0}, batch_size=2)
    return stretch


def test_what_a_packed_window_says_stands_where_it_was_said(two_pieces):
    job = passage(two_pieces, batch_size=2)
    answered(job.steps(), [said((0, 9), (12, 21))])
    assert job.finished
    times = [(segment.start, segment.end) for segment in job.decided]
    assert times == [
        (pytest.approx(10, abs=0.04), pytest.approx(19, abs=0.04)),
        (
            pytest.approx(62, abs=0.1),
            pytest.approx(71, abs=0.1),
        ),
    ]


def test_the_rest_of_a_packed_window_is_another_window_unless_it_is_short(two_pieces):
    job = passage(two_pieces, batch_size=2)
    _, asked = answered(job.steps(), [said((0, 9), (9, 15), (15, None)), said((0, 6))])
    assert len(asked) == 2
    assert [segment.start for segment in job.decided][-1] == pytest.approx(65, abs=0.1)
    short = passage(two_pieces, batch_size=2)
    _, asked = answered(short.steps(), [said((0, 9), (9, 21.6), (21.6, None))])
    assert len(asked) == 1
    assert len(short.decided) == 3
    assert short.decided[-1].end == pytest.approx(72, abs=0.1)


def test_each_window_has_its_own_ladder(two_pieces):
    job = passage(two_pieces, batch_size=2)
    _, asked = answered(job.steps(), [said((0, 9), avg_logprob=-2.0), said((0, 9), temperature=0.4)])
    assert [attempt.options.temperature for attempt in asked] == [0.0, 0.4]
    assert job.decided[0].temperature == 0.4


def test_a_silent_window_says_nothing_and_is_passed():
    (stretch,) = cuts(50)
    job = passage(stretch)
    _, asked = answered(job.steps(), [said((0, 9), no_speech_prob=0.9, avg_logprob=-1.5), said((0, 5))])
    assert len(asked) == 2
    assert [(segment.seek, segment.start) for segment in job.decided] == [(3000, 30.0)]
    assert job.position_s == 30.0


def test_what_was_decided_is_there_before_the_next_window_is():
    (stretch,) = cuts(70)
    job = passage(stretch)
    steps = job.steps()
    next(steps)
    steps.send(said((0, 30)))
    assert [segment.end for segment in job.decided] == [30.0]
    assert not job.finished
    steps.close()
    assert len(job.decided) == 1
