"""`viska.WhisperModel`: faster-whisper's call, its results, and what is refused."""

import copy
import inspect
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch

import viska
from made_up import made_up_model
from viska.errors import DownloadError, LanguageError, OptionError, UnknownModelError
from viska.faster_whisper import (
    DIFFERENT,
    MISSING,
    REFUSED,
    BatchedInferencePipeline,
    Segment,
    TranscriptionInfo,
    WhisperModel,
    Word,
    device_name,
    viska_options,
)
from viska.transcription.options import DECODING, OWN
from viska.transcription.passage import Passage
from viska.vad import VoiceActivity

# Every option of faster-whisper 1.2.1 with its default.
THEIR_DEFAULTS = {
    "language": None,
    "task": "transcribe",
    "beam_size": 5,
    "best_of": 5,
    "patience": 1,
    "length_penalty": 1,
    "repetition_penalty": 1,
    "no_repeat_ngram_size": 0,
    "temperature": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
    "compression_ratio_threshold": 2.4,
    "log_prob_threshold": -1.0,
    "no_speech_threshold": 0.6,
    "condition_on_previous_text": True,
    "prompt_reset_on_temperature": 0.5,
    "initial_prompt": None,
    "prefix": None,
    "suppress_blank": True,
    "suppress_tokens": [-1],
    "without_timestamps": False,
    "max_initial_timestamp": 1.0,
    "word_timestamps": False,
    "prepend_punctuations": "\"'“¿([{-",
    "append_punctuations": "\"'.。,，!！?？:：”)]}、",  # noqa: RUF001
    "multilingual": False,
    "vad_filter": False,
    "vad_parameters": None,
    "max_new_tokens": None,
    "chunk_length": None,
    "clip_timestamps": "0",
    "hallucination_silence_threshold": None,
    "hotwords": None,
    "language_detection_threshold": 0.5,
    "language_detection_segments": 1,
}


@pytest.fixture
def made_up(monkeypatch):
    """A WhisperModel around made-up weights, which says anything but quickly."""
    monkeypatch.setattr("viska.weights.load_model", lambda *_, **__: made_up_model())
    return WhisperModel("base")


@pytest.fixture(scope="module")
def real(tiny_en):
    """A WhisperModel around tiny.en."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("viska.weights.load_model", lambda *_, **__: tiny_en)
        return WhisperModel("tiny.en", local_files_only=False)


def noise(seconds: float = 2.0) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, int(seconds * 16000)).astype(np.float32)


def test_it_is_called_as_theirs():
    assert viska.WhisperModel is WhisperModel
    made = list(inspect.signature(WhisperModel).parameters)
    assert made[:5] == ["model_size_or_path", "device", "device_index", "compute_type", "cpu_threads"]
    assert made[5:8] == ["num_workers", "download_root", "local_files_only"]
    called = inspect.signature(WhisperModel.transcribe).parameters
    assert list(called)[1:6] == ["audio", "language", "task", "log_progress", "beam_size"]
    assert called["beam_size"].default == 5


def test_results_have_their_fields_in_their_order():
    assert [field.name for field in fields(Segment)] == [
        *("id", "seek", "start", "end", "text", "tokens", "avg_logprob", "compression_ratio", "no_speech_prob"),
        *("words", "temperature"),
    ]
    assert [field.name for field in fields(Word)] == ["start", "end", "word", "probability"]
    assert [field.name for field in fields(TranscriptionInfo)] == [
        *("language", "language_probability", "duration", "duration_after_vad", "all_language_probs"),
        "transcription_options",
    ]


def test_all_of_their_defaults_are_accepted_and_mean_the_same():
    spelled_out = viska_options(dict(THEIR_DEFAULTS))
    plain = viska_options({"beam_size": 5, "suppress_tokens": [-1]})
    assert (spelled_out.conditions, plain.conditions) == (True, True)
    assert replace(spelled_out, condition_on_previous_text=None) == plain
    assert spelled_out.decoding.beam_size == 5
    assert spelled_out.decoding.best_of == 5
    assert spelled_out.decoding.patience is None
    assert spelled_out.logprob_threshold == -1.0
    assert spelled_out.compat is None


def test_options_of_another_name_reach_viska():
    options = viska_options({"beam_size": 2, "patience": 2.0, "log_prob_threshold": -0.5, "max_new_tokens": 7})
    assert (options.logprob_threshold, options.decoding.sample_len) == (-0.5, 7)
    assert (options.decoding.beam_size, options.decoding.patience) == (2, 2.0)


def test_one_beam_is_greedy_decoding():
    assert viska_options({"beam_size": 1}).decoding.beam_size is None
    assert viska_options({"beam_size": 1, "patience": 2.0}).decoding.patience is None


REFUSALS = {
    "length_penalty": 0.8,
    "prefix": "And so",
    "prompt_reset_on_temperature": 0.7,
    "chunk_length": 15,
    "hotwords": "Viska",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_viska_does_not_do_is_refused_and_never_ignored(name):
    with pytest.raises(OptionError, match=rf"^{name} is .*; accepted is "):
        viska_options({"beam_size": 5, name: REFUSALS[name]})


def test_every_option_of_theirs_is_passed_on_or_refused():
    renamed = {"log_prob_threshold", "max_new_tokens"}
    assert set(THEIR_DEFAULTS) - renamed - (OWN | DECODING) - set(REFUSED) == set()
    assert set(MISSING) & (OWN | DECODING) == set()  # what Viska has learnt is refused no longer
    assert set(REFUSED) == set(DIFFERENT) | set(MISSING)


@pytest.mark.parametrize(
    "wrong", [{"no_such_option": 1}, {"initial_prompt": [1, 2]}, {"beam_size": 0}, {"task": "sing"}, {"verbose": True}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(OptionError):
        viska_options({"beam_size": 5, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"files": {"model.bin": b""}},
        {"revision": "main"},
        {"use_auth_token": True},
        {"num_workers": 0},
        {"flash_attention": True},
        {"device_index": [0, 1]},
    ],
)
def test_a_model_is_not_made_with_what_cannot_be_done(wrong, monkeypatch):
    monkeypatch.setattr("viska.weights.load_model", lambda *_, **__: pytest.fail("loaded all the same"))
    with pytest.raises(OptionError, match=next(iter(wrong))):
        WhisperModel("base", **wrong)


def test_a_model_is_loaded_as_it_was_asked_for(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("viska.weights.load_model", lambda *args, **kw: asked.append((args, kw)) or made_up_model())
    monkeypatch.setattr(torch, "set_num_threads", lambda n: asked.append(n))
    WhisperModel("base", device="cpu", download_root=tmp_path, num_workers=4, files=None, use_auth_token=None)
    WhisperModel("base", device="cpu", compute_type="float32", cpu_threads=3)
    assert asked == [
        (("base", "cpu", tmp_path), {"compute_type": "auto", "offline": None}),
        3,
        (("base", "cpu", None), {"compute_type": "float32", "offline": None}),
    ]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("default", "auto"), ("int8", "int8"), *((f"int8_{rest}", "int8") for rest in ("float32", "float16", "bfloat16"))],
)
def test_their_compute_types_mean_ours(monkeypatch, theirs, ours):
    asked = []
    monkeypatch.setattr("viska.weights.load_model", lambda *_, compute_type, **__: asked.append(compute_type))
    WhisperModel("base", compute_type=theirs)
    assert asked == [ours]


def test_unknown_compute_types_and_models_are_refused():
    with pytest.raises(OptionError, match="compute_type"):
        WhisperModel("tiny.en", device="cpu", compute_type="int3")
    with pytest.raises(UnknownModelError, match="no-such-model"):
        WhisperModel("no-such-model", device="cpu", local_files_only=True)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device_name("auto", 0), device_name("cuda", 1), device_name("cpu", 0)] == ["cuda:0", "cuda:1", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_name("auto", 0) == "cpu"


def test_local_files_only_fetches_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("base", "owner/some-model"):
        with pytest.raises(DownloadError, match="local_files_only"):
            WhisperModel(name, device="cpu", local_files_only=True, download_root=tmp_path)


def test_a_damaged_model_is_not_taken_as_local(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "viska.json").write_text('{"source": "hub", "files": {"model.bin": {"size": 3, "sha256": "00"}}}')
    (folder / "model.bin").write_bytes(b"no")
    with pytest.raises(DownloadError, match="has 2 bytes, expected 3"):
        WhisperModel("base", device="cpu", local_files_only=True, download_root=tmp_path)


def test_segments_come_one_by_one(made_up, monkeypatch):
    windows = []
    decode = Passage._decode
    monkeypatch.setattr(Passage, "_decode", lambda job, window: windows.append(window) or decode(job, window))
    options = {"beam_size": 1, "temperature": 0.0, "max_new_tokens": 4, "condition_on_previous_text": False}
    options |= {"no_speech_threshold": None, "without_timestamps": True, "guard": False}
    segments, info = made_up.transcribe(noise(70), language="de", **options)
    assert windows == []
    assert (info.language, info.language_probability, info.all_language_probs) == ("de", 1.0, None)
    assert info.duration == info.duration_after_vad == 70.0
    assert iter(segments) is segments
    first = next(segments)
    assert len(windows) <= 2  # the next one has begun
    rest = list(segments)
    assert len(windows) == 3
    assert [segment.id for segment in [first, *rest]] == list(range(1, 2 + len(rest)))


@pytest.fixture
def speech(monkeypatch):
    """Somebody speaks from 4.8 to 9.6 s and from 48 to 57.6 s, whatever the sound."""
    probabilities = torch.zeros(2500)
    probabilities[150:300] = probabilities[1500:1800] = 0.9  # frames of 32 ms
    activity = VoiceActivity(probabilities, 80 * 16000)
    monkeypatch.setattr("viska.transcription.cutting.voice_activity", lambda _: activity)


QUICK = {"beam_size": 1, "temperature": 0.0, "max_new_tokens": 4, "no_speech_threshold": None}


def test_silence_is_left_out(made_up, speech):
    segments, info = made_up.transcribe(noise(80), "en", vad_filter=True, without_timestamps=True, **QUICK)
    padded = 2 * 0.4
    assert info.duration == 80
    assert info.duration_after_vad == pytest.approx(4.8 + 9.6 + 2 * padded, abs=0.1)
    assert [(segment.start, segment.end) for segment in segments] == [(4.4, 58.0)]
    asked = {"vad_filter": True, "vad_parameters": {"speech_pad_ms": 0, "threshold": 0.95}}
    _, info = made_up.transcribe(noise(80), "en", **asked, **QUICK)
    assert info.duration_after_vad == 0
    with pytest.raises(OptionError, match="unknown voice activity option colour"):
        made_up.transcribe(noise(1), vad_filter=True, vad_parameters={"colour": 1})


def test_many_windows_at_a_time(made_up, speech):
    batched = BatchedInferencePipeline(model=made_up)
    assert viska.BatchedInferencePipeline is BatchedInferencePipeline
    segments, info = batched.transcribe(noise(80), language="en", batch_size=16, **QUICK)
    asked = info.transcription_options
    assert (asked.batch_size, asked.vad_filter, asked.decoding.without_timestamps) == (16, True, True)
    assert asked.independent
    assert [segment.id for segment in segments] == [1]
    _, info = batched.transcribe(noise(80), "en", condition_on_previous_text=True, **QUICK)
    assert (info.transcription_options.batch_size, info.transcription_options.independent) == (8, True)


def test_clips_take_the_place_of_the_filter(made_up, speech):
    batched = BatchedInferencePipeline(made_up)
    clips = [{"start": 1.0, "end": 3.0}, {"start": 60.0, "end": 62.0}]
    found, info = batched.transcribe(noise(80), "en", clip_timestamps=clips, guard=False, **QUICK)
    assert info.transcription_options.clip_timestamps == (1.0, 3.0, 60.0, 62.0)
    assert not info.transcription_options.vad_filter
    assert [(segment.start, segment.end) for segment in found] == [(1.0, 62.0)]
    _, info = batched.transcribe(noise(80), "en", clip_timestamps="0,2", vad_filter=True, **QUICK)
    assert info.transcription_options.clip_timestamps == (0.0, 2.0)
    with pytest.raises(OptionError, match="dicts with start and end"):
        batched.transcribe(noise(80), "en", clip_timestamps=[{"begin": 1}], **QUICK)


def test_a_language_that_is_told_comes_with_its_probability(made_up):
    _, info = made_up.transcribe(noise())
    probabilities = [probability for _, probability in info.all_language_probs]
    assert info.all_language_probs[0] == (info.language, info.language_probability)
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert len(probabilities) == len(made_up.supported_languages) == 99

    assert made_up.detect_language(noise()) == (info.language, info.language_probability, info.all_language_probs)


def test_bad_input_is_told_at_the_call_and_not_at_the_first_segment(made_up, tmp_path):
    with pytest.raises(viska.errors.AudioError):
        made_up.transcribe(tmp_path / "nothing.wav")
    with pytest.raises(LanguageError):
        made_up.transcribe(noise(), language="klingon")
    with pytest.raises(OptionError, match=r"hotwords|bias"):
        made_up.transcribe(noise(), hotwords="Viska", bias=5)


def test_the_text_is_that_of_viska(real, tiny_en, recordings):
    recording = recordings / "sense_and_sensibility_0870.wav"
    segments, info = real.transcribe(str(recording), beam_size=1, word_timestamps=True)
    found = list(segments)
    expected = viska.transcribe(tiny_en, recording, best_of=5, word_timestamps=True)
    assert "".join(segment.text for segment in found) == expected.text
    assert info.language == "en"
    for segment, same in zip(found, expected.segments, strict=True):
        theirs = [(word.start, word.end, word.word, word.probability) for word in same.words]
        assert [(word.start, word.end, word.word, word.probability) for word in segment.words] == theirs
        assert list(asdict(segment.words[0])) == ["start", "end", "word", "probability"]
        assert segment.tokens == list(same.tokens)
        assert (segment.start, segment.end, segment.seek) == (same.start, same.end, same.seek)
        assert (segment.avg_logprob, segment.temperature) == (same.avg_logprob, same.temperature)
    shifted = copy.deepcopy(found[0])
    shifted.start += 1.0
    shifted.words[0].start += 1.0
    assert shifted.start == found[0].start + 1.0


def test_files_and_arrays_are_taken_and_an_english_model_speaks_english(real, recordings):
    recording = recordings / "sense_and_sensibility_0880.flac"
    with recording.open("rb") as file:
        (segment,), _ = real.transcribe(file, beam_size=1)
    (same,), _ = real.transcribe(viska.load_audio(recording), "en", "transcribe", False, 1)
    assert segment == same
    assert segment.words is None
    assert real.supported_languages == ["en"]
    assert real.detect_language(str(recording)) == ("en", 1.0, [("en", 1.0)])
