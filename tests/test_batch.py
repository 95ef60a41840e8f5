"""A recording in many windows at once: all that is asked of a window is done to each, and nothing gets out of order."""

import numpy as np
import pytest
import torch

from made_up import ENGLISH, made_up_model
from viska.audio import SAMPLE_RATE, load_audio
from viska.decoding import tokenizer_for
from viska.engine.lane import Lane
from viska.errors import AudioError
from viska.transcription import Transcription, transcribe, transcribe_options
from viska.transcription.backend import EngineBackend, ReferenceBackend
from viska.transcription.fallback import Thresholds
from viska.transcription.passage import Passage
from viska.transcription.scheduler import Scheduler
from viska.vad import VoiceActivity

FAST = {
    "short_context": True,
    "temperature": 0.0,
    "sample_len": 16,
    "language": "en",
    "no_speech_threshold": None,
    "batch_size": 3,
}
FAST |= {"logprob_threshold": None, "compression_ratio_threshold": None}  # no window is decoded twice


@pytest.fixture(scope="module")
def model():
    model = made_up_model()
    model.compute_type = "float32"
    return model


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


@pytest.fixture(autouse=True)
def speech(monkeypatch):
    """Somebody speaks all the time, with a pause of 0.3 s every 20 s: windows are 20 s long."""
    probabilities = torch.full((8000,), 0.9)
    for pause in range(625, 8000, 625):
        probabilities[pause - 5 : pause + 5] = 0.05
    activity = VoiceActivity(probabilities, 8000 * 512)
    monkeypatch.setattr("viska.transcription.cutting.voice_activity", lambda _: activity)


@pytest.fixture
def attempts(monkeypatch):
    """The options of all attempts, in the order in which they were begun."""
    begun = []
    begin = Scheduler._try
    monkeypatch.setattr(
        Scheduler, "_try", lambda self, number, one: begun.append(one.options) or begin(self, number, one)
    )
    return begun


def facts(transcript):
    return [
        (segment.start, segment.end, segment.tokens, segment.temperature, segment.language, segment.words)
        for segment in transcript.segments
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beam_size": 2},
        {"temperature": (0.7,), "best_of": 2},
        {"word_timestamps": True},
        {"token_logprobs": True},
        {"short_context": False},
    ],
)
def test_the_result_does_not_depend_on_how_many_windows_are_decoded_at_once(model, options):
    pair, many = (transcribe(model, noise(110), **{**FAST, **options, "batch_size": n}) for n in (2, 16))
    assert facts(pair) == facts(many)
    assert pair.text == many.text
    for one, other in zip(pair.segments, many.segments, strict=True):
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-5)
    starts = [segment.start for segment in many.segments]
    assert starts == sorted(starts)
    assert len({segment.seek // 1900 for segment in many.segments}) >= 5
    assert [segment.id for segment in many.segments] == list(range(len(starts)))


def test_the_engine_in_a_batch_says_what_the_reference_path_says(model, monkeypatch):
    options = {**FAST, "short_context": False, "beam_size": 2}
    by_engine = transcribe(model, noise(70), **options)
    monkeypatch.setattr("viska.transcription.pipeline.backend_for", lambda model, **_: ReferenceBackend(model))
    assert facts(transcribe(model, noise(70), **options)) == facts(by_engine)


def test_each_window_has_the_initial_prompt_and_no_other(model, attempts):
    transcribe(model, noise(95), initial_prompt="Viska", **{**FAST, "without_timestamps": True})
    assert len(attempts) == 5
    assert {tuple(options.prompt) for options in attempts} == {tuple(tokenizer_for(model).encode(" Viska"))}
    attempts.clear()
    transcribe(model, noise(95), **{**FAST, "without_timestamps": True})
    assert [options.prompt for options in attempts] == [None] * 5


def test_windows_in_order_are_a_choice(model, attempts):
    transcribe(model, noise(70), condition_on_previous_text=True, **{**FAST, "without_timestamps": True})
    assert [options.prompt is None for options in attempts] == [True, False, False]


def test_each_window_falls_back_on_its_own(model, monkeypatch):
    hot = {**FAST, "temperature": (0.0, 0.5, 1.0), "without_timestamps": True, "best_of": 2}

    def failed(_, result):
        return result.temperature * 2 < int(result.audio_features.abs().sum()) // 8 % 3

    monkeypatch.setattr(Thresholds, "failed", failed)
    found = [transcribe(model, noise(150), **{**hot, "batch_size": n}) for n in (2, 4)]
    assert facts(found[0]) == facts(found[1])
    assert len({segment.temperature for segment in found[0].segments}) > 1


def test_each_window_has_its_language(model, monkeypatch):
    def hear(_, heard, languages):
        assert languages == ["en", "de", "is"]
        which = float(heard.features.sum()) > 0
        return {"en": 0.0, "de": 0.9 * which + 0.05, "is": 0.95 - 0.9 * which}

    monkeypatch.setattr(EngineBackend, "detect_language", hear)
    options = {
        **FAST,
        "language": None,
        "multilingual": True,
        "without_timestamps": True,
        "languages": ["en", "de", "is"],
    }
    found = [transcribe(model, noise(190), **{**options, "batch_size": n}) for n in (2, 5)]
    assert facts(found[0]) == facts(found[1])
    assert {segment.language for segment in found[0].segments} <= {"de", "is"}


def test_words_lie_within_their_windows(model):
    transcript = transcribe(model, noise(70), **{**FAST, "word_timestamps": True})
    assert sum(len(segment.words) for segment in transcript.segments) > 4
    for segment in transcript.segments:
        begin = segment.seek / 100
        assert all(begin - 0.02 <= word.start <= word.end <= begin + 30 for word in segment.words)


# The end, early


def test_segments_come_while_later_windows_are_decoded_and_in_order(model):
    job = Transcription(model, noise(150), transcribe_options(FAST))
    seen, positions = [], []
    for segment in job:
        seen.append(segment)
        positions.append(job.position_s)
    assert [segment.start for segment in seen] == sorted(segment.start for segment in seen)
    assert positions == sorted(positions)
    assert positions[0] < 60
    assert job.transcript().segments == tuple(seen)
    assert job.position_s == job.duration_s == 150


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_cancelled_transcription_ends_within_a_step_and_keeps_what_it_has(model, monkeypatch, batch_size):
    steps = []
    step = Lane.step
    monkeypatch.setattr(Lane, "step", lambda lane: steps.append(job.cancelled) or step(lane))
    job = Transcription(model, noise(190), transcribe_options({**FAST, "batch_size": batch_size}))
    seen = []
    for segment in job:
        seen.append(segment)
        job.cancel()
    assert steps.count(True) == 0
    assert job.transcript().segments == tuple(seen)
    assert 0 < len(seen) < 40
    assert job.position_s < job.duration_s
    assert not job.finished


def test_cancelled_before_it_begins_it_decodes_nothing(model, monkeypatch):
    monkeypatch.setattr(Lane, "step", lambda _: pytest.fail("decoded all the same"))
    job = Transcription(model, noise(50), transcribe_options({**FAST, "sample_len": 2}))
    job.cancel()
    assert list(job) == []
    assert job.transcript().segments == ()


def test_an_error_in_a_window_comes_when_all_before_it_is_told(model, monkeypatch):
    decide = Passage._decide

    def fail(passage, window, result):
        if passage.position_s > 35:
            raise AudioError("no more of this")
        decide(passage, window, result)

    monkeypatch.setattr(Passage, "_decide", fail)
    job = Transcription(model, noise(110), transcribe_options(FAST))
    seen = []
    with pytest.raises(AudioError, match="no more of this"):
        seen += iter(job.__iter__().__next__, None)
    told = job.transcript().segments
    assert told
    assert all(segment.start < 45 for segment in told)


# What voice activity leaves out


def hears(monkeypatch, *spans):
    probabilities = torch.zeros(4000)
    for start, end in spans:
        probabilities[round(start / 0.032) : round(end / 0.032)] = 0.9
    activity = VoiceActivity(probabilities, 4000 * 512)
    monkeypatch.setattr("viska.transcription.cutting.voice_activity", lambda _: activity)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("word_timestamps", [False, True])
def test_all_times_are_within_what_is_spoken(model, monkeypatch, batch_size, word_timestamps):
    spans = [(3, 12), (40, 47), (90, 101)]
    hears(monkeypatch, *spans)
    options = {**FAST, "batch_size": batch_size, "word_timestamps": word_timestamps, "vad_filter": True}
    transcript = transcribe(model, noise(120), **options)
    assert transcript.segments
    times = [time for segment in transcript.segments for time in (segment.start, segment.end)]
    times += [
        time for segment in transcript.segments for word in segment.words or () for time in (word.start, word.end)
    ]
    assert all(any(start - 0.5 <= time <= end + 0.5 for start, end in spans) for time in times)
    if not word_timestamps:  # a made-up model does not know where its words are
        assert times[0] < 12 < times[-1]


def test_the_encoder_hears_nothing_else(model, monkeypatch):
    hears(monkeypatch, (3, 12), (90, 101))
    heard = []
    encode = EngineBackend.encode
    monkeypatch.setattr(EngineBackend, "encode", lambda self, mel: heard.append(mel.shape[-1]) or encode(self, mel))
    transcribe(model, noise(120), vad_filter=True, **{**FAST, "batch_size": 1, "without_timestamps": True})
    spoken = 100 * (9.8 + 11.8)
    (n_frames,) = heard
    assert spoken + 400 <= n_frames < spoken + 432


def test_where_nobody_speaks_nothing_is_said(model, monkeypatch):
    hears(monkeypatch)
    for batch_size in (1, 4):
        transcript = transcribe(model, noise(50), vad_filter=True, **{**FAST, "batch_size": batch_size})
        assert (transcript.text, transcript.segments) == ("", ())


def test_a_language_is_told_where_nobody_speaks_too(model, monkeypatch):
    hears(monkeypatch)
    transcript = transcribe(model, noise(5), vad_filter=True, **{**FAST, "language": None})
    assert transcript.language in tokenizer_for(model).all_language_codes


def test_an_english_only_model_in_a_batch():
    transcript = transcribe(made_up_model(ENGLISH), noise(50), **{**FAST, "language": None})
    assert transcript.language == "en"
    assert transcript.segments


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_real_model_over_a_long_silence(tiny_en, recordings, monkeypatch, batch_size):
    monkeypatch.undo()  # voice activity by its network
    sound = load_audio(recordings / "sense_and_sensibility_0880.flac")
    twice = np.concatenate([sound, np.zeros(50 * SAMPLE_RATE, np.float32), sound])
    transcript = transcribe(tiny_en, twice, vad_filter=True, batch_size=batch_size, word_timestamps=True)
    alone = transcribe(tiny_en, sound).text.split()
    assert abs(len(transcript.text.split()) - 2 * len(alone)) <= 4
    length = len(sound) / SAMPLE_RATE
    words = [word for segment in transcript.segments for word in segment.words]
    assert all(word.end <= length + 0.1 or word.start >= length + 49.5 for word in words)
    assert sum(word.start >= length + 49.5 for word in words) == pytest.approx(len(words) / 2, abs=3)
