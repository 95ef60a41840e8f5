"""What is wrong in openai/whisper and must not be here: a test for each entry of a list of its bugs and limits.

The numbers in the docstrings are those of its pull requests and discussions.
"""

import json
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import viska
from made_up import ENGLISH, MULTILINGUAL, made_up_mel, made_up_model
from viska.audio import SAMPLE_RATE, load_audio
from viska.cli import main
from viska.decoding import DecodingOptions, DecodingResult, decode
from viska.decoding.ranking import MaximumLikelihoodRanker
from viska.errors import OptionError
from viska.formats import FORMATS
from viska.result import Segment
from viska.timing import Asides, WordTiming, find_alignment, merge_punctuations
from viska.tokenizer import get_tokenizer
from viska.transcription import transcribe, transcribe_options
from viska.transcription.fallback import Thresholds, decode_with_fallback
from viska.transcription.options import warn_of_lost_translation
from viska.transcription.planner import PromptHistory
from viska.transcription.words import Pace, place_words
from viska.weights.registry import find_official

ROOT = Path(__file__).resolve().parent.parent
FAST = {"temperature": 0.0, "sample_len": 8, "language": "en", "no_speech_threshold": None, "guard": False}


@pytest.fixture(scope="module")
def model():
    return made_up_model()


@pytest.fixture(scope="module")
def tokenizer():
    return get_tokenizer(True, language="en", task="transcribe")


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


@pytest.mark.parametrize("options", [{"beam_size": 3}, {"temperature": 0.6, "best_of": 3}])
def test_1_several_windows_are_decoded_at_once_with_beams_and_samples(model, options):
    """An exception there: PR 1959, 2197, 2389, 2843."""
    features = model.embed_audio(made_up_mel(3))
    results = decode(model, features, language="en", sample_len=8, **options)
    assert len(results) == 3
    if "beam_size" in options:
        alone = [decode(model, window, language="en", sample_len=8, **options).tokens for window in features]
        assert [result.tokens for result in results] == alone


# The end of the text alone may be said: each window is one blank segment.
BLANK = {
    "without_timestamps": True,
    "suppress_blank": False,
    "suppress_tokens": [*range(50257), *range(50258, MULTILINGUAL)],
}


def test_2_blank_segments_have_words_only_where_words_were_asked_for(model):
    """A KeyError in the writers of srt and vtt: PR 2780."""
    options = {**FAST, **BLANK, "compat": "openai", "logprob_threshold": None}
    plain = transcribe(model, noise(3), **options)
    assert [segment.text for segment in plain.segments] == [""]
    assert "words" not in plain["segments"][0]
    spoken = transcribe(model, noise(3), word_timestamps=True, **options)
    assert spoken["segments"][0]["words"] == ()
    said = transcribe(model, noise(3), word_timestamps=True, **FAST)
    segments = [*plain.to_dict()["segments"], *said.to_dict()["segments"], *spoken.to_dict()["segments"]]
    for to_format in FORMATS.values():
        for result in (plain, spoken, {"text": "", "segments": segments, "language": "en"}):
            to_format(result)  # does not raise


@pytest.mark.timeout(120)
@pytest.mark.parametrize("compat", [None, "openai"])
def test_3_a_clip_that_ends_behind_the_end_comes_to_an_end(model, compat):
    """An endless loop: PR 2005."""
    whole = transcribe(model, noise(3), compat=compat, **FAST)
    assert transcribe(model, noise(3), compat=compat, clip_timestamps="0,90", **FAST) == whole
    assert transcribe(model, noise(3), compat=compat, clip_timestamps=[50, 90], **FAST).segments == ()


def test_a_clip_that_ends_before_its_start_is_passed_over_as_there(model):
    """Ours is an error: see the options."""
    options = {**FAST, "compat": "openai", "logprob_threshold": None}
    only = transcribe(model, noise(3), clip_timestamps="1,2", **options)
    assert only.segments
    assert transcribe(model, noise(3), clip_timestamps="2,1,1,2", **options) == only
    assert transcribe(model, noise(3), clip_timestamps="2,1", **options).segments == ()


def test_4_a_carried_prompt_that_fills_the_room_is_carried(tokenizer):
    """It vanishes: PR 2823."""
    initial = tokenizer.encode(" " + " ".join(["Ishmael"] * 300))
    assert len(initial) >= 223
    history = PromptHistory(initial, room=223, carry_initial=True)
    for said in ([1, 2, 3], [4] * 300):
        assert history.prompt()[-223:] == tuple(initial[-223:])
        history.add(said, 0.0)
    assert history.prompt()[-223:] == tuple(initial[-223:])


def test_4_in_a_transcription_too(model):
    """The third of the windows is not decoded as if there had been no prompt."""
    prompt = " ".join(["Ishmael"] * 300)
    options = {**FAST, "sample_len": 20, "condition_on_previous_text": False}
    carried = transcribe(model, noise(70), initial_prompt=prompt, carry_initial_prompt=True, **options)
    dropped = transcribe(model, noise(70), initial_prompt=prompt, **options)
    assert carried.segments[0].seek == dropped.segments[0].seek == 0
    assert carried.segments[0].text == dropped.segments[0].text
    assert carried.segments[-1].text != dropped.segments[-1].text


@pytest.mark.parametrize("given", [(50, 60), [50, 60], "50,60", [-1, 50, 60]])
def test_5_suppressed_tokens_in_any_form_and_the_list_stays_as_it_was(model, given):
    """A tuple fails, a list is changed by each call: PR 2828."""
    kept = list(given)
    banned = set(given) - {-1} if not isinstance(given, str) else {50, 60}
    features = model.embed_audio(made_up_mel())[0]
    tokens = decode(model, features, language="en", sample_len=30, suppress_tokens=given).tokens
    assert not banned & set(tokens)
    assert list(given) == kept


def test_5_no_token_is_suppressed_where_none_is_given(model):
    """None cannot be given there: PR 2828."""
    features = model.embed_audio(made_up_mel())[0]
    for nothing in (None, "", []):
        assert decode(model, features, language="en", sample_len=4, suppress_tokens=nothing).tokens


class NoSparseAndNoFloat64(TorchDispatchMode):
    """What Apple's GPUs have not got, refused on this device too."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(results):
            if isinstance(tensor, torch.Tensor):
                assert tensor.layout == torch.strided, function
                assert tensor.dtype != torch.float64, function
        return results


def test_6_decoding_and_aligning_need_no_sparse_and_no_float64_tensors(model, tokenizer):
    """Nothing runs on Apple's GPUs: PR 382, 2825."""
    assert all(buffer.layout == torch.strided for buffer in model.buffers())
    mel = made_up_mel()[0]
    with NoSparseAndNoFloat64():
        decode(model, mel, DecodingOptions(sample_len=4))
        decode(model, mel, DecodingOptions(sample_len=4, beam_size=2))
        assert find_alignment(model, tokenizer, tokenizer.encode(" Hello world."), mel, 3000)
    with pytest.raises(AssertionError), NoSparseAndNoFloat64():
        model.alignment_heads  # noqa: B018  # the test can tell


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss counts in another unit elsewhere")
def test_7_the_spectrogram_of_hours_takes_little_more_than_itself():
    """Out of memory on long recordings: PR 2256. The spectrum of an hour alone would be 580 MB."""
    code = """
import resource, torch
from viska.audio import log_mel_spectrogram
log_mel_spectrogram(torch.zeros(16000 * 700))
samples = torch.zeros(16000 * 3600)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
log_mel_spectrogram(samples)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    mel_mb = 3600 * 100 * 80 * 4 / 2**20
    assert int(done.stdout) < 2.5 * mel_mb  # the spectrogram, and once more where it is clamped


def attempt_of(temperature, *, repetitive=False, avg_logprob=-0.5):
    return DecodingResult(
        audio_features=torch.empty(0),
        language="en",
        temperature=temperature,
        avg_logprob=avg_logprob,
        compression_ratio=3.0 if repetitive else 1.2,
        no_speech_prob=0.1,
    )


def test_8_where_every_temperature_fails_the_best_is_kept():
    """The last and hottest is kept there: PR 1377."""
    attempts = {
        0.0: attempt_of(0.0, repetitive=True),
        0.5: attempt_of(0.5, avg_logprob=-1.2),
        1.0: attempt_of(1.0, avg_logprob=-3),
    }

    def kept(**settings):
        search = decode_with_fallback(attempts, Thresholds(2.4, -1.0, 0.6), **settings)
        tried = next(search)
        while True:
            try:
                tried = search.send(attempts[tried])
            except StopIteration as end:
                return end.value

    assert kept().temperature == 0.5
    assert kept(keep_last=True).temperature == 1.0  # compat


def test_9_a_repetition_is_no_prompt_for_what_follows(model):
    """It goes on for ever: PR 1253, 914, 1052, discussions 679, 29, 1192, 977."""
    looping = {**FAST, "sample_len": 20, "compression_ratio_threshold": 0.0}  # every text counts as a repetition
    conditioned = transcribe(model, noise(70), condition_on_previous_text=True, **looping)
    alone = transcribe(model, noise(70), condition_on_previous_text=False, **looping)
    assert conditioned.text == alone.text
    sound = {**FAST, "sample_len": 20, "compression_ratio_threshold": None}
    assert transcribe(model, noise(70), **sound).text != alone.text, "the prompt makes no difference to this model"


def test_9_repetitions_can_be_forbidden(model):
    features = model.embed_audio(made_up_mel(2))
    for result in decode(
        model, features, language="en", without_timestamps=True, sample_len=60, no_repeat_ngram_size=2
    ):
        text = [token for token in result.tokens if token < 50257]
        pairs = list(pairwise(text))
        assert len(text) > 10
        assert len(set(pairs)) == len(pairs)


def test_10_progress_is_told_and_an_unknown_option_is_named(model):
    """Neither a callback nor an error that helps: PR 2811, discussion 2810."""
    told = []
    transcript = transcribe(model, noise(40), on_segment=told.append, **FAST)
    assert tuple(told) == transcript.segments != ()
    with pytest.raises(OptionError, match=r"unknown option beam_sise; accepted are .*beam_size"):
        transcribe(model, noise(1), beam_sise=5)


def test_11_each_token_has_its_probability(model):
    """Only means over windows: PR 1119, 888, discussion 284."""
    transcript = transcribe(model, noise(3), token_logprobs=True, top_logprobs=2, **FAST)
    for segment in transcript.segments:
        assert len(segment.token_logprobs) == len(segment.top_logprobs) == len(segment.tokens) > 0
        assert all(logprob <= 0 for logprob in segment.token_logprobs)


def test_12_words_to_expect_are_heard_rather(model):
    """No such option: PR 2070, discussion 1477."""
    options = {**FAST, "sample_len": 12}
    assert "London" not in transcribe(model, noise(3), **options).text
    assert "London" in transcribe(model, noise(3), bias={"London": 40.0}, **options).text


def test_13_nothing_is_compiled_to_install_it_and_newer_pythons_are_not_shut_out():
    """A source distribution, numba and a bound on Python: PR 2409."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {requirement.split(">")[0].split("=")[0] for requirement in project["project"]["dependencies"]}
    assert not names & {"numba", "triton", "llvmlite", "more-itertools"}
    assert "<" not in project["project"]["requires-python"]
    assert project["build-system"]["build-backend"] == "hatchling.build"  # no setuptools
    code = "import sys, viska.timing; print({'numba', 'triton', 'setuptools'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def segment_of(text, tokens):
    return Segment(0, 0, 0.0, 9.0, text, tuple(tokens), 0.0, -0.3, 1.0, 0.0)


def test_14_a_segment_that_begins_without_a_space_has_its_own_words(model, tokenizer):
    """Its words go to the segment before: PR 1154."""
    texts = [" He said", "yes, of", " course"]
    own = [tokenizer.encode(text) for text in texts]
    tokens = [token for part in own for token in part]
    starts = np.cumsum([0, *map(len, own)])[:-1].tolist()
    alignment = find_alignment(model, tokenizer, tokens, made_up_mel()[0], 3000, asides=Asides(tuple(starts)))
    merge_punctuations(alignment, "", ".,")
    times = {"offset_s": 0.0, "last_speech_s": 0.0, "settle": True}
    segments = [segment_of(text, part) for text, part in zip(texts, own, strict=True)]
    placed = place_words(segments, [len(part) for part in own], alignment, Pace(0.3, 0.6), **times)
    assert ["".join(word.word for word in segment.words) for segment in placed] == texts
    joined = find_alignment(model, tokenizer, tokens, made_up_mel()[0], 3000)
    assert " saidyes" in [timing.word for timing in joined], "nothing would have been wrong"


def test_14_a_mark_that_moves_to_the_segment_before_takes_no_word_along():
    def alignment():
        return [
            WordTiming(" so", [1, 2], 0, 1, 0.9),
            WordTiming("", [], 1, 1, 0.9),
            WordTiming(" I", [3], 1, 2, 0.9),
            WordTiming(" go", [4], 2, 3, 0.9),
        ]

    segments = [segment_of(" so", [1]), segment_of("! I", [2, 3]), segment_of(" go", [4])]
    times = {"offset_s": 0.0, "last_speech_s": 0.0}
    settled = place_words(segments, [1, 2, 1], alignment(), Pace(0.3, 5), **times, settle=True)
    assert [[word.word for word in segment.words] for segment in settled] == [[" so"], [" I"], [" go"]]
    upstream = place_words(segments, [1, 2, 1], alignment(), Pace(0.3, 5), **times)
    assert [[word.word for word in segment.words] for segment in upstream] == [[" so"], [" I", " go"], []]


def test_14_in_a_transcription_too(model):
    spoken = transcribe(model, noise(200), word_timestamps=True, suppress_regex="^ ", **{**FAST, "sample_len": 40})
    texts = [segment.text for segment in spoken.segments]
    windows = [segment.seek for segment in spoken.segments]
    assert len(set(windows)) < len(windows), "every window is one segment, so nothing was tried"
    assert ["".join(word.word for word in segment.words) for segment in spoken.segments] == texts


@pytest.mark.parametrize(
    ("name", "task", "told"),
    [
        ("large-v3-turbo", "translate", "has never learnt to translate"),
        ("large-v3", "translate", ""),
        ("large-v3-turbo", "transcribe", ""),
        ("small.en", "translate", "translates nothing"),
        ("small.en", "transcribe", ""),
    ],
)
def test_15_who_asks_a_model_to_translate_that_cannot_is_told(name, task, told, caplog):
    """The text comes in the language spoken, without a word: PR 2547."""
    model = find_official(name)
    warn_of_lost_translation(transcribe_options({"task": task}), model.dims, is_multilingual=not name.endswith(".en"))
    assert told in caplog.text
    assert bool(caplog.text) == bool(told)


def test_15_in_a_transcription_too(caplog):
    distilled = made_up_model(n_audio_layer=3, n_text_layer=2)
    transcribe(distilled, noise(1), task="translate", **FAST)
    assert caplog.text.count("has never learnt to translate") == 1


@pytest.mark.parametrize("shape", [(80, 2999), (128, 3000), (3000,), (1, 1500, 17)])
def test_16_features_of_another_shape_are_an_error(model, shape):
    """There the error is returned, not raised."""
    with pytest.raises(OptionError, match=str(shape[-1])):
        decode(model, torch.zeros(shape), language="en")


def test_17_a_text_without_tokens_has_a_score():
    """A division by zero."""
    empty, spoken = torch.arange(0), torch.arange(2)
    assert MaximumLikelihoodRanker(None).rank([[empty, spoken]], [[-1.0, -1.5]]) == [1]


def test_17_decoding_bears_an_empty_text(model):
    features = model.embed_audio(made_up_mel())[0]
    for search in ({}, {"beam_size": 2}, {"temperature": 0.5, "best_of": 2}):
        result = decode(model, features, language="en", **BLANK, **search)
        assert (result.tokens, result.text) == ([], "")


def test_18_failures_show_in_the_exit_status(tmp_path, capsys, monkeypatch):
    """Status 0 after each."""
    monkeypatch.setattr("viska.weights.load_model", lambda *_, **__: made_up_model(ENGLISH))
    (tmp_path / "broken.mp3").write_bytes(b"no sound")
    assert main([str(tmp_path / "broken.mp3"), str(tmp_path / "missing.wav"), "-o", str(tmp_path)]) == 3
    errors = capsys.readouterr().err
    assert errors.count("viska: error: ") == 2
    assert "Traceback" not in errors


def test_18_no_source_text_is_rewritten_at_run_time():
    """The median filter's is."""
    source = "".join(path.read_text() for path in (ROOT / "src" / "viska").rglob("*.py"))
    assert "getsource" not in source
    assert " exec(" not in source


@pytest.mark.parametrize("kind", ["silence", "hum"])
def test_19_half_minutes_without_speech_add_no_text(tiny_en, recordings, kind):
    """Text is made up for them, and repeated: discussions 1762, 2378."""
    speech = load_audio(recordings / "sense_and_sensibility_0870.wav")
    rest = np.zeros(60 * SAMPLE_RATE, np.float32)
    if kind == "hum":
        rest += (0.01 * np.sin(2 * np.pi * 50 * np.arange(len(rest)) / SAMPLE_RATE)).astype(np.float32)
    alone = viska.transcribe(tiny_en, speech)
    transcript = viska.transcribe(tiny_en, np.concatenate([speech, rest]))
    assert len(transcript.text.split()) <= len(alone.text.split()) + 2
    assert "prudently" in transcript.text


# The same answer, however it is asked for


def results_of(model, recordings, **options):
    """The transcripts of recordings: one after the other, once more, and in two threads on one model."""

    def run(audio):
        return json.dumps(transcribe(model, audio, **options).to_dict())

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, recordings))
    return [run(audio) for audio in recordings], [run(audio) for audio in recordings], together


@pytest.mark.parametrize(
    "options", [{}, {"beam_size": 2}, {"temperature": (0.7, 0.9), "best_of": 2}, {"word_timestamps": True}]
)
def test_twice_and_in_two_threads_the_bytes_are_the_same(model, options):
    audios = [noise(40), noise(5), 0.5 * noise(33)]
    once, again, together = results_of(model, audios, **{**FAST, **options})
    assert once == again == together
    assert len(set(once)) == 3


def test_a_real_model_gives_the_same_twice_and_in_two_threads(tiny_en, recordings):
    audios = [load_audio(recordings / f"sense_and_sensibility_{name}") for name in ("0880.flac", "0890.flac")]
    once, again, together = results_of(tiny_en, audios, word_timestamps=True, temperature=0.0)
    assert once == again == together
    assert "young man" in once[0]
