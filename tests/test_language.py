"""Which language: candidates, the vote of several windows, and recordings in which it changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from made_up import ENGLISH, made_up_mel, made_up_model
from viska.audio import HOP_LENGTH, N_FRAMES, SAMPLE_RATE, log_mel_spectrogram
from viska.decoding import decode, detect_language, tokenizer_for
from viska.decoding.language import candidate_languages
from viska.errors import LanguageError, OptionError
from viska.transcription import Transcription, transcribe, transcribe_options
from viska.transcription.backend import EngineBackend
from viska.transcription.language import detection_windows, follow, likeliest, vote, vote_by_speech
from viska.transcription.scheduler import Scheduler
from viska.vad import VoiceActivity
from viska.vad.network import FRAME_SAMPLES


@pytest.fixture(scope="module")
def model():
    return made_up_model()


@pytest.fixture(scope="module")
def features(model):
    return model.embed_audio(made_up_mel(3))


# Candidates


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        (None, None),
        ("de", {"de"}),
        ("de, english", {"de", "en"}),
        (["German", "is"], {"de", "is"}),
        (("Castilian", "es", " "), {"es"}),
    ],
)
def test_candidates_by_code_or_name(given, codes):
    assert candidate_languages(given) == codes


def test_candidates_that_are_none_or_unknown(model, features):
    with pytest.raises(OptionError, match="languages is '', which names none"):
        decode(model, features[0], languages="")
    with pytest.raises(LanguageError, match="Elvish"):
        decode(model, features[0], languages=["de", "Elvish"])
    with pytest.raises(LanguageError, match="not among the 99 languages"):
        detect_language(model, features[0], languages="yue")
    with pytest.raises(OptionError, match="language is 'fr' but languages are de, en; give one of the two"):
        decode(model, features[0], language="fr", languages=["en", "de"])


def test_only_candidates_are_chosen_and_their_probabilities_are_among_themselves(model, features):
    _, everything = detect_language(model, features)
    tokens, probs = detect_language(model, features, languages=["german", "is", "en"])
    tokenizer = tokenizer_for(model)
    for row in range(3):
        total = sum(everything[row][code] for code in ("en", "de", "is"))
        assert list(probs[row]) == ["en", "de", "is"]  # in the order of the vocabulary
        assert probs[row] == pytest.approx({code: everything[row][code] / total for code in probs[row]}, rel=1e-3)
        assert int(tokens[row]) == tokenizer.to_language_token(likeliest(probs[row]))


def test_all_languages_as_candidates_are_as_good_as_none(model, features):
    codes = tokenizer_for(model).all_language_codes
    tokens, probs = detect_language(model, features)
    among, among_probs = detect_language(model, features, languages=codes)
    assert torch.equal(tokens, among)
    assert probs == among_probs


def test_decoding_goes_on_in_the_candidate(model, features):
    plain = decode(model, features[0], sample_len=5)
    others = [code for code in plain.language_probs if code != plain.language][:4]
    result = decode(model, features[0], languages=others, sample_len=5)
    assert result.language in others
    assert set(result.language_probs) == set(others)
    assert result.tokens == decode(model, features[0], language=result.language, sample_len=5).tokens
    assert decode(model, features[0], task="lang_id", languages=others).language == result.language


def test_a_given_language_that_is_a_candidate_needs_no_telling(model, features):
    result = decode(model, features[0], language="German", languages="de,en", sample_len=2)
    assert (result.language, result.language_probs) == ("de", None)


# The vote


def test_detection_windows_go_from_the_start_as_far_as_the_recording():
    starts = [(window.start, window.size) for window in detection_windows(7000, 5)]
    assert starts == [(0, N_FRAMES), (3000, N_FRAMES), (6000, N_FRAMES)]
    assert [window.start for window in detection_windows(7000, 2)] == [0, 3000]
    assert [window.start for window in detection_windows(0, 3)] == [0]
    assert [window.start for window in detection_windows(3000, 3)] == [0]


DOUBTFUL = [{"en": 0.45, "de": 0.4, "is": 0.15}, {"en": 0.1, "de": 0.4, "is": 0.5}]


def test_the_first_window_over_the_threshold_decides_and_no_more_are_heard():
    def heard():
        yield DOUBTFUL[0]
        yield {"en": 0.1, "de": 0.9, "is": 0.0}
        pytest.fail("one window too many")

    assert vote(heard(), 0.5) == {"en": 0.1, "de": 0.9, "is": 0.0}
    assert likeliest(vote([DOUBTFUL[1], {"en": 0.9, "de": 0.1, "is": 0.0}], 0.5)) == "is"  # reaching it is enough


def test_else_the_highest_mean_decides():
    assert vote(DOUBTFUL, 0.6) == pytest.approx({"en": 0.275, "de": 0.4, "is": 0.325})
    assert likeliest(vote(DOUBTFUL, None)) == "de"  # though no window alone says so
    assert vote(DOUBTFUL[:1], 0.9) == DOUBTFUL[0]


@given(
    st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=5),
    st.none() | st.floats(0, 1),
)
def test_a_vote_keeps_every_language_and_stays_between_what_was_heard(windows, threshold):
    heard = [dict(zip("abc", window, strict=True)) for window in windows]
    probs = vote(heard, threshold)
    for code in "abc":
        values = [window[code] for window in heard]
        assert min(values) - 1e-9 <= probs[code] <= max(values) + 1e-9


def test_a_window_in_doubt_goes_on_in_the_language_before_it():
    assert follow("de", {"en": 0.6, "de": 0.4}, 0.5) == "en"
    assert follow("de", {"en": 0.5, "de": 0.5}, 0.5) == "en"
    assert follow("de", {"en": 0.45, "is": 0.4, "de": 0.15}, 0.5) == "de"
    assert follow("de", {"en": 0.45, "is": 0.4, "de": 0.15}, None) == "en"


# Recordings


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


# Noise is no speech: what the guard makes of it is for other tests.
FAST = {"temperature": 0.0, "sample_len": 8, "no_speech_threshold": None, "condition_on_previous_text": False}
FAST["guard"] = False


class Hears:
    """In place of the model's ear: one answer a window, the last of them again and again; counts what it was asked."""

    def __init__(self, monkeypatch, *answers: dict[str, float]) -> None:
        self.answers = answers
        self.asked: list[object] = []
        monkeypatch.setattr(EngineBackend, "detect_language", self.answer)

    def answer(self, heard, languages):
        self.asked.append(languages)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


ENGLISH_SPEECH, GERMAN_SPEECH = {"en": 0.9, "de": 0.1}, {"en": 0.2, "de": 0.8}


def test_the_first_half_minute_alone_decides_unless_more_are_asked_for(model, monkeypatch):
    hears = Hears(monkeypatch, {"en": 0.45, "de": 0.4}, GERMAN_SPEECH)
    assert Transcription(model, noise(65), transcribe_options(FAST)).language == "en"
    assert len(hears.asked) == 1


@pytest.mark.guarded
@pytest.mark.parametrize("batched", [{}, {"batch_size": 4}])
def test_the_language_is_told_where_somebody_speaks(model, monkeypatch, batched):
    hears = Hears(monkeypatch, {"en": 0.9, "de": 0.1}, {"en": 0.1, "de": 0.9})
    speech = np.zeros(round(120 * SAMPLE_RATE / FRAME_SAMPLES), dtype=np.float32)
    for start_s, end_s in ((40, 43), (75, 88), (105, 118)):  # a word in English, in a recording in German
        speech[round(start_s * SAMPLE_RATE / FRAME_SAMPLES) : round(end_s * SAMPLE_RATE / FRAME_SAMPLES)] = 1
    activity = VoiceActivity(torch.from_numpy(speech), 120 * SAMPLE_RATE)
    monkeypatch.setattr("viska.transcription.cutting.voice_activity", lambda _samples: activity)
    options = transcribe_options({**FAST, "guard": True, **batched})
    job = Transcription(model, noise(120), options)
    assert (job.language, len(hears.asked)) == ("de", 2)
    assert job.language_probs == pytest.approx({"en": 0.25, "de": 0.75}, abs=0.01)
    hears.asked.clear()
    asked = replace(options, language_detection_segments=1)
    assert (Transcription(model, noise(120), asked).language, len(hears.asked)) == ("en", 1)


def test_seconds_of_speech_weigh_the_votes_until_there_is_enough():
    few, many = ({"en": 0.8, "de": 0.2}, 2.0), ({"en": 0.3, "de": 0.7}, 8.0)
    assert vote_by_speech(iter([many, pytest.fail]), 0.5) == many[0]
    assert vote_by_speech([few, many, pytest.fail], 0.5) == pytest.approx({"en": 0.4, "de": 0.6})
    assert vote_by_speech([few], 0.5) == few[0]
    assert vote_by_speech([many, few], 0.9) == pytest.approx({"en": 0.4, "de": 0.6})
    assert vote_by_speech([many, few], None) == pytest.approx({"en": 0.4, "de": 0.6})
    assert vote_by_speech([({"en": 0.6, "de": 0.4}, 0.0)], 0.5) == {"en": 0.6, "de": 0.4}


def test_more_half_minutes_vote(model, monkeypatch):
    hears = Hears(monkeypatch, {"en": 0.45, "de": 0.4}, GERMAN_SPEECH)
    job = Transcription(model, noise(65), transcribe_options({**FAST, "language_detection_segments": 9}))
    assert (job.language, job.language_probs, len(hears.asked)) == ("de", GERMAN_SPEECH, 2)
    mean = {**FAST, "language_detection_segments": 9, "language_detection_threshold": None}
    job = Transcription(model, noise(65), transcribe_options(mean))
    assert job.language == "de"
    assert len(hears.asked) == 2 + 3


def test_candidates_hold_for_a_recording_too(model):
    plain = transcribe(model, noise(2), **FAST).language
    others = [code for code in ("en", "de", "is", "fi") if code != plain]
    job = Transcription(model, noise(2), transcribe_options({**FAST, "languages": others}))
    assert job.language in others
    assert set(job.language_probs) == set(others)
    list(job)
    assert job.transcript().language == job.language


def test_with_multilingual_each_window_has_its_language(model, monkeypatch):
    hears = Hears(monkeypatch, ENGLISH_SPEECH, ENGLISH_SPEECH, GERMAN_SPEECH, {"en": 0.45, "de": 0.1, "is": 0.45})
    options = {**FAST, "multilingual": True, "without_timestamps": True, "languages": ["en", "de", "is"]}
    transcript = transcribe(model, noise(90), **options)
    assert [(segment.seek, segment.language) for segment in transcript.segments] == [
        (0, "en"),
        (3000, "de"),
        (6000, "de"),  # in doubt
    ]
    assert transcript.language == "en"
    assert hears.asked == [["en", "de", "is"]] * 4
    assert transcript["segments"][1]["language"] == transcript.to_dict()["segments"][1]["language"] == "de"


def test_the_language_of_a_window_is_the_one_it_is_decoded_in(model, monkeypatch):
    Hears(monkeypatch, ENGLISH_SPEECH, ENGLISH_SPEECH, GERMAN_SPEECH)
    options = {**FAST, "without_timestamps": True}
    switched = transcribe(model, noise(60), multilingual=True, **options).segments
    in_english = transcribe(model, noise(60), language="en", **options).segments
    in_german = transcribe(model, noise(60), language="de", **options).segments
    assert [segment.tokens for segment in switched] == [in_english[0].tokens, in_german[1].tokens]
    assert switched[1].tokens != in_english[1].tokens


def test_words_are_split_as_the_language_of_their_window_asks(model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "viska.transcription.passage.align",
        lambda read, tokenizer, *rest, **more: seen.append(tokenizer.language) or [],
    )
    Hears(monkeypatch, ENGLISH_SPEECH, ENGLISH_SPEECH, {"ja": 0.9, "en": 0.1})
    transcribe(model, noise(60), multilingual=True, without_timestamps=True, word_timestamps=True, **FAST)
    assert seen == ["en", "ja"]


def test_silence_does_not_change_the_language(model, monkeypatch):
    Hears(monkeypatch, ENGLISH_SPEECH, ENGLISH_SPEECH, GERMAN_SPEECH, {"en": 0.3, "de": 0.3})
    silent = iter([False, True, False])
    monkeypatch.setattr("viska.transcription.fallback.Thresholds.silent", lambda *_: next(silent))
    transcript = transcribe(model, noise(90), multilingual=True, without_timestamps=True, **FAST)
    assert [(segment.seek, segment.language) for segment in transcript.segments] == [(0, "en"), (6000, "en")]


def test_text_in_another_language_is_no_prompt(model, monkeypatch):
    Hears(monkeypatch, ENGLISH_SPEECH, ENGLISH_SPEECH, ENGLISH_SPEECH, GERMAN_SPEECH, GERMAN_SPEECH)
    prompts = []
    begin = Scheduler._try

    def spy(scheduler, number, attempt):
        prompts.append((attempt.options.language, attempt.options.prompt))
        return begin(scheduler, number, attempt)

    monkeypatch.setattr(Scheduler, "_try", spy)
    options = {**FAST, "condition_on_previous_text": True, "without_timestamps": True, "initial_prompt": "Viska"}
    segments = transcribe(model, noise(120), multilingual=True, **options).segments
    initial = tokenizer_for(model).encode(" Viska")
    english, german = list(segments[0].tokens), list(segments[2].tokens)
    assert prompts == [("en", initial), ("en", initial + english), ("de", None), ("de", german)]
    carried = {**options, "carry_initial_prompt": True}
    prompts.clear()
    Hears(monkeypatch, ENGLISH_SPEECH, ENGLISH_SPEECH, GERMAN_SPEECH)
    transcribe(model, noise(60), multilingual=True, **carried)
    assert prompts[1] == ("de", initial)


def test_no_window_is_encoded_again_for_its_language(model, monkeypatch):
    calls = []
    encode = EngineBackend.encode
    monkeypatch.setattr(EngineBackend, "encode", lambda self, mel: calls.append(mel.shape) or encode(self, mel))
    transcribe(model, noise(90), multilingual=True, without_timestamps=True, **FAST)
    assert len(calls) == 3


def test_in_compat_mode_the_language_of_a_short_recording_is_told_with_the_silence_behind_it(model):
    mel = log_mel_spectrogram(noise(2), padding=N_FRAMES * HOP_LENGTH)[:, :N_FRAMES]
    _, (expected,) = detect_language(model, mel[None])
    job = Transcription(model, noise(2), transcribe_options({**FAST, "compat": "openai"}))
    assert job.language_probs == pytest.approx(expected, rel=1e-4)


def test_a_short_recording_is_encoded_once_for_language_and_text(model, monkeypatch):
    calls = []
    encode = EngineBackend.encode
    monkeypatch.setattr(EngineBackend, "encode", lambda self, mel: calls.append(mel.shape[-1]) or encode(self, mel))
    sound = {"logprob_threshold": None, "compression_ratio_threshold": None, "without_timestamps": True}
    transcript = transcribe(model, noise(7), **sound, **FAST)
    assert transcript.segments
    assert calls == [1104]


def test_without_multilingual_segments_have_no_language(model):
    assert all(segment.language is None for segment in transcribe(model, noise(2), **FAST).segments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language_detection_segments": 0}, "language_detection_segments is 0; it must be 1 or more"),
        ({"language_detection_threshold": 1.5}, "language_detection_threshold is 1.5; it must be from 0 to 1"),
        ({"language_detection_threshold": -0.1}, "language_detection_threshold is -0.1"),
        ({"multilingual": True, "language": "de"}, "leave language out"),
        ({"languages": []}, "names none"),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        transcribe_options(options)


def test_an_english_only_model_has_one_language():
    model = made_up_model(ENGLISH)
    with pytest.raises(LanguageError, match="leave multilingual out"):
        transcribe(model, noise(1), multilingual=True)
    with pytest.raises(OptionError, match="knows English alone, but languages are de; use a multi"):
        transcribe(model, noise(1), languages="de", **FAST)
    assert transcribe(model, noise(1), languages="de,en", **FAST).language == "en"
