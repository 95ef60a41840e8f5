"""Code written for the `whisper` package: the names it imports, and `import whisper` itself."""

import importlib
import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import viska
from made_up import made_up_model
from viska import timing
from viska.drop_in import OPENAI_VERSION, Whisper, alignment_dumps, download_openai, openai_addresses
from viska.errors import DownloadError
from viska.faster_whisper import REFUSED
from viska.tokenizer import get_tokenizer
from viska.weights.registry import find_official

ROOT = Path(__file__).resolve().parent.parent

# What each module of openai/whisper 20250625 defines itself, without what it only imports.
PUBLIC = {
    "audio": """CHUNK_LENGTH FRAMES_PER_SECOND HOP_LENGTH N_FFT N_FRAMES N_SAMPLES N_SAMPLES_PER_TOKEN SAMPLE_RATE
        TOKENS_PER_SECOND load_audio log_mel_spectrogram mel_filters pad_or_trim""",
    "decoding": """ApplyTimestampRules BeamSearchDecoder DecodingOptions DecodingResult DecodingTask GreedyDecoder
        Inference LogitFilter MaximumLikelihoodRanker PyTorchInference SequenceRanker SuppressBlank SuppressTokens
        TokenDecoder compression_ratio decode detect_language""",
    "model": """AudioEncoder Conv1d LayerNorm Linear ModelDimensions MultiHeadAttention ResidualAttentionBlock
        TextDecoder Whisper disable_sdpa sinusoids""",
    "timing": """WordTiming add_word_timestamps backtrace dtw dtw_cpu dtw_cuda find_alignment median_filter
        merge_punctuations""",
    "tokenizer": "LANGUAGES TO_LANGUAGE_CODE Tokenizer get_encoding get_tokenizer",
    "transcribe": "cli transcribe",
    "utils": """ResultWriter SubtitlesWriter WriteJSON WriteSRT WriteTSV WriteTXT WriteVTT compression_ratio exact_div
        format_timestamp get_end get_start get_writer make_safe optional_float optional_int str2bool""",
}

MEMBERS = {
    "decoding.DecodingTask": "run",
    "decoding.PyTorchInference": "logits rearrange_kv_cache cleanup_caching",
    "decoding.BeamSearchDecoder": "reset update finalize",
    "decoding.GreedyDecoder": "reset update finalize",
    "model.Whisper": """alignment_heads decode detect_language device embed_audio forward install_kv_cache_hooks
        is_multilingual logits num_languages set_alignment_heads transcribe""",
    "tokenizer.Tokenizer": """all_language_codes all_language_tokens decode decode_with_timestamps encode eot
        language_token no_speech no_timestamps non_speech_tokens sot sot_lm sot_prev sot_sequence
        sot_sequence_including_notimestamps split_to_word_tokens split_tokens_on_spaces split_tokens_on_unicode
        timestamp_begin to_language_token transcribe translate""",
}


def module_named(name: str):
    importlib.import_module(f"viska.{name}")
    return sys.modules[f"viska.{name}"]  # the attribute `viska.transcribe` is the function


@pytest.mark.parametrize("submodule", PUBLIC)
def test_the_names_of_each_submodule_are_there(submodule):
    module = module_named(submodule)
    assert [name for name in PUBLIC[submodule].split() if not hasattr(module, name)] == []


@pytest.mark.parametrize("dotted", MEMBERS)
def test_the_members_of_each_class_are_there(dotted):
    submodule, name = dotted.split(".")
    found = getattr(module_named(submodule), name)
    assert [member for member in MEMBERS[dotted].split() if not hasattr(found, member)] == []


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("load_model", ["device", "download_root", "in_memory"]),
        ("log_mel_spectrogram", ["audio", "n_mels", "padding", "device"]),
        ("pad_or_trim", ["array", "length", "axis"]),
        ("decode", ["model", "mel", "options", "kwargs"]),
        ("detect_language", ["model", "mel", "tokenizer"]),
        ("transcribe", ["model", "audio", "verbose", "temperature", "clip_timestamps", "word_timestamps", "fp16"]),
    ],
)
def test_functions_are_called_as_those_of_whisper(function, parameters):
    found = list(inspect.signature(getattr(viska, function)).parameters)
    assert [name for name in found if name in parameters] == parameters


def in_a_new_process(code: str) -> str:
    """What the code prints, in an interpreter of its own: what is imported as `whisper` stays so in a process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_whisper_is_viska_in_every_spelling():
    code = """
import viska
installed = viska.install_as_whisper()
import whisper, whisper.audio, whisper.decoding, whisper.normalizers.english, whisper.timing, whisper.utils
import whisper.model as model
from whisper import _ALIGNMENT_HEADS, _MODELS, _download, audio, normalizers, tokenizer
from whisper.transcribe import cli, transcribe
from whisper.version import __version__
assert whisper is installed is viska.install_as_whisper()
assert whisper.audio is audio is viska.audio and whisper.tokenizer is tokenizer is viska.tokenizer
assert whisper.transcribe is transcribe and callable(cli) and callable(_download)
assert model.Whisper is whisper.Whisper and issubclass(whisper.Whisper, viska.Whisper)
assert model.TextDecoder is viska.model.TextDecoder and model.SDPA_AVAILABLE
assert set(_MODELS) <= set(_ALIGNMENT_HEADS) <= set(whisper.available_models())
assert whisper.available_models() == viska.available_models() and set(_MODELS) < set(whisper.available_models())
assert __version__ == whisper.__version__ >= "20240930"
assert normalizers.BasicTextNormalizer()("A, b!").split() == ["a", "b"]
for name in ("load_audio", "log_mel_spectrogram", "pad_or_trim", "decode", "detect_language", "DecodingOptions"):
    assert getattr(whisper, name) is getattr(viska, name), name
try:
    import whisper.no_such_module
except ModuleNotFoundError as error:
    assert "whisper.no_such_module" in str(error)
else:
    raise SystemExit("imported what is not there")
"""
    in_a_new_process(code)


def test_whisper_is_found_by_those_who_look_before_they_import():
    code = """
import importlib.metadata, importlib.util
import viska
viska.install_as_whisper()
assert importlib.util.find_spec("whisper") is not None
assert importlib.util.find_spec("whisper.audio") is not None
assert importlib.util.find_spec("whisper.model") is not None
assert importlib.metadata.version("openai-whisper") == importlib.metadata.version("openai_whisper") == "20250625"
assert importlib.metadata.distribution("openai-whisper").read_text("direct_url.json") is None
assert importlib.metadata.version("numpy") != "20250625"
try:
    importlib.metadata.version("no-such-distribution")
except importlib.metadata.PackageNotFoundError:
    print("found where it should")
"""
    assert in_a_new_process(code) == "found where it should\n"


def test_another_whisper_is_not_pushed_aside():
    code = """
import sys, types
import viska
other = sys.modules["whisper"] = types.ModuleType("whisper")
other.__file__ = "/somewhere/whisper/__init__.py"
try:
    viska.install_as_whisper()
except viska.ViskaError as error:
    assert sys.modules["whisper"] is other
    print(error)
"""
    message = in_a_new_process(code)
    assert "/somewhere/whisper/__init__.py" in message
    assert "before anything that imports it" in message


@pytest.fixture(scope="module")
def as_whisper(tiny_en):
    """tiny.en with the verbs that `import whisper` gives it."""
    model = Whisper(tiny_en.dims)
    model.load_state_dict(tiny_en.state_dict())
    model.alignment_heads = tiny_en.alignment_heads
    return model.eval()


def test_results_are_dicts_that_may_be_written_into(as_whisper, tiny_en, recordings):
    recording = recordings / "sense_and_sensibility_0880.flac"
    result = as_whisper.transcribe(str(recording), word_timestamps=True, fp16=False)
    expected = viska.transcribe(tiny_en, recording, word_timestamps=True, compat="openai")
    assert result == expected.to_dict() == json.loads(json.dumps(result))
    result["segments"][0]["words"][0]["start"] = 0.25
    result["segments"].append({"text": "more"})
    result["language_probs"] = {"en": 1.0}


def test_the_behaviour_is_that_of_openai_whisper_unless_told_otherwise(as_whisper):
    silence = np.zeros(16000, dtype=np.float32)
    settings = {"temperature": 0.0, "no_speech_threshold": None, "logprob_threshold": None}
    exact = as_whisper.transcribe(silence, **settings)["segments"]
    own = as_whisper.transcribe(silence, compat=None, **settings)["segments"]
    assert all(segment["end"] <= 1.0 for segment in own)
    assert [segment["end"] for segment in exact] != [segment["end"] for segment in own]


def test_alignment_heads_may_be_assigned():
    plain = made_up_model()
    model = Whisper(plain.dims)
    layers, heads = model.dims.n_text_layer, model.dims.n_text_head
    flags = torch.zeros(layers, heads, dtype=torch.bool)
    flags[0, heads - 1] = True
    for given in (flags, flags.to_sparse()):
        model.alignment_heads = given
        assert model.alignment_heads.indices().T.tolist() == [[0, heads - 1]]
    model.alignment_heads = None
    assert torch.equal(model.alignment_heads.to_dense(), plain.alignment_heads.to_dense())


def test_addresses_carry_their_digest_and_the_download_checks_it(tmp_path, monkeypatch):
    monkeypatch.setenv("VISKA_OPENAI_URL", "http://127.0.0.1:9")
    addresses = openai_addresses()
    assert addresses["turbo"] == addresses["large-v3-turbo"]
    digests = {address.split("/")[-2] for address in addresses.values()}
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in digests)
    with pytest.raises(DownloadError, match="could not be fetched"):
        download_openai(addresses["tiny.en"], str(tmp_path / "new"), in_memory=False)

    content = b"a model"
    digest = "e3bd8f1a8a9f4e9ed9b0d1d9f8a1c3a1b0f9d9e4b5c6d7e8f90123456789abcd"
    (tmp_path / "tiny.en.pt").write_bytes(content)
    with pytest.raises(DownloadError):
        download_openai(f"http://127.0.0.1:9/{digest}/tiny.en.pt", str(tmp_path), in_memory=True)


@pytest.mark.parametrize("name", ["tiny.en", "base", "large-v3", "turbo"])
def test_packages_that_build_a_model_find_its_alignment_heads(name):
    official = find_official(name)
    with torch.device("meta"):
        model = viska.Whisper(official.dims)
    model._alignment_heads = model._default_alignment_heads().to("cpu")
    model.set_alignment_heads(alignment_dumps()[name])
    assert model.alignment_pairs == sorted(official.alignment_heads)


def test_a_file_that_is_there_is_not_downloaded_again(tmp_path):
    import hashlib

    content = b"a model"
    (tmp_path / "tiny.en.pt").write_bytes(content)
    url = f"http://127.0.0.1:9/{hashlib.sha256(content).hexdigest()}/tiny.en.pt"
    assert download_openai(url, str(tmp_path), in_memory=True) == content
    assert download_openai(url, str(tmp_path), in_memory=False) == str(tmp_path / "tiny.en.pt")


def test_words_are_added_to_the_dicts_of_a_window(tiny_en, recordings):
    recording = recordings / "sense_and_sensibility_0870.wav"
    expected = viska.transcribe(tiny_en, recording, word_timestamps=True, compat="openai").to_dict()["segments"]
    segments = viska.transcribe(tiny_en, recording, compat="openai").to_dict()["segments"]
    assert not any("words" in segment for segment in segments)
    mel = viska.log_mel_spectrogram(recording, padding=viska.audio.N_SAMPLES)
    n_frames = mel.shape[-1] - viska.audio.N_FRAMES
    timing.add_word_timestamps(
        segments=segments,
        model=tiny_en,
        tokenizer=get_tokenizer(multilingual=False),
        mel=viska.pad_or_trim(mel[:, :n_frames], viska.audio.N_FRAMES),
        num_frames=n_frames,
        last_speech_timestamp=0.0,
    )
    assert [segment["words"] for segment in segments] == [segment["words"] for segment in expected]
    assert segments == expected


def test_without_segments_there_are_no_words_to_add():
    segments = []
    timing.add_word_timestamps(
        segments=segments, model=None, tokenizer=None, mel=None, num_frames=0, last_speech_timestamp=0.0
    )
    assert segments == []


@pytest.mark.parametrize("size", [(10, 20), (32, 16), (123, 400)])
def test_a_path_that_was_hidden_in_noise_is_found_on_any_device(size):
    """A staircase from corner to corner is made cheaper than any detour; every name of `dtw` must give it back."""
    rng = np.random.default_rng(sum(size))
    n, m = size
    steps = rng.permutation([(1, 0)] * (n - 1) + [(0, 1)] * (m - 1))
    # A turn of the stairs would cost one cell more than cutting the corner, so corners are cut here too.
    path = [(0, 0)]
    skip = False
    for step, following in zip(steps, [*steps[1:], steps[-1]], strict=True):
        if skip:
            skip = False
            continue
        skip = tuple(step) != tuple(following)
        path.append(tuple(np.add(path[-1], np.add(step, following) if skip else step)))
    costs = rng.random(size, dtype=np.float32)
    for cell in path:
        costs[cell] -= 2
    expected = np.array(path).T
    assert np.array_equal(timing.dtw_cpu(costs), expected)
    assert np.array_equal(timing.dtw_cuda(torch.from_numpy(costs)), expected)
    assert np.array_equal(timing.dtw_cuda(torch.from_numpy(costs), BLOCK_SIZE=256), expected)


def test_the_version_named_is_the_one_that_parity_is_measured_with():
    environments = (ROOT / "benchmarks" / "parity" / "environments.py").read_text()
    assert f"openai-whisper=={OPENAI_VERSION}" in environments


@pytest.mark.parametrize("name", ["tiny.en", pytest.param("base", marks=pytest.mark.slow)])
def test_a_famous_sentence_is_heard_and_its_words_are_timed(name, request, corpus):
    model = request.getfixturevalue(name.replace(".", "_"))
    recording = corpus / "openai-whisper" / "jfk.flac"
    language = "en" if name.endswith(".en") else None
    result = model.transcribe(str(recording), language=language, temperature=0.0, word_timestamps=True)
    assert result["language"] == "en"
    assert result["text"] == "".join(segment["text"] for segment in result["segments"])
    for phrase in ("my fellow americans", "what your country can do for you"):
        assert phrase in result["text"].lower()
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    tokens = [token for segment in result["segments"] for token in segment["tokens"]]
    assert tokenizer.decode(tokens) == result["text"]
    assert tokenizer.decode_with_timestamps(tokens).startswith("<|0.00|>")
    words = [word for segment in result["segments"] for word in segment["words"]]
    assert all(word["start"] < word["end"] for word in words)
    americans = next(word for word in words if word["word"].strip(" ,") == "Americans")
    assert americans["start"] <= 1.8 <= americans["end"]


MOVING = (ROOT / "docs" / "moving.md").read_text()


def test_the_snippets_for_those_who_move_run(tiny_en):
    snippets = re.findall(r"```python\n(.*?)```", MOVING, re.S)
    assert len(snippets) == 4
    printed = in_a_new_process("\n".join(snippets))
    assert printed.startswith(" He was not an")
    assert re.search(r"\nen 1.0 2.99\n1 0\.\d+ 2\.\d+ ", printed)


def test_a_program_is_started_with_viska_in_the_place_of_whisper(tmp_path):
    (command,) = re.findall(r"```sh\npython (-c '.*') ARGUMENTS\n```", MOVING)
    (tmp_path / "program.py").write_text("import sys, whisper; print(__name__, whisper.__viska__, sys.argv[1:])")
    option, code = shlex.split(command.replace("PACKAGE", "program"))
    started = [sys.executable, option, code, "--model", "tiny.en"]
    done = subprocess.run(started, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == f"__main__ {viska.__version__} ['--model', 'tiny.en']\n"


def test_the_page_for_those_who_move_tells_what_is_refused():
    assert [name for name in REFUSED if f"`{name}`" not in MOVING] == []
