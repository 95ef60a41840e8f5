"""Manifests and hypotheses: what is read, and what is refused with which words."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viska.errors import AudioError, OptionError
from viska.evaluation.hypothesis import from_transcript, read_hypotheses
from viska.evaluation.manifest import Clip, Phrase, RawFormat, read_manifest
from viska.evaluation.run import raw_as_wav, read_samples
from viska.result import Segment, Transcript, Word


def write(folder, *records):
    file = folder / "manifest.jsonl"
    file.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in records), encoding="utf-8")
    return file


def test_all_fields(tmp_path):
    record = {"path": "a/b.raw", "kind": "long", "language": "mul", "languages": ["en", "de"], "text": None}
    record |= {"partial_text": "so it goes", "duration": 3, "segments": [[0, 1.5, "so it", "speaker 1"]], "other": {}}
    record |= {"raw_format": {"sample_rate": 8000, "channels": 2, "encoding": "u8"}, "notes": "n", "sha256": "00"}
    (clip,) = read_manifest(write(tmp_path, record))
    assert clip == Clip(
        path="a/b.raw",
        file=tmp_path / "a/b.raw",
        kind="long",
        language="mul",
        languages=("en", "de"),
        partial_text="so it goes",
        duration=3.0,
        phrases=(Phrase(0.0, 1.5, "so it"),),
        raw_format=RawFormat(8000, 2, "u8"),
        notes="n",
        sha256="00",
    )
    assert clip.reference == "so it goes"
    assert clip.free_ends


def test_a_path_is_enough(tmp_path):
    (clip,) = read_manifest(write(tmp_path, "", {"path": "a.wav"}, "  "))
    assert (clip.kind, clip.language, clip.reference, clip.silent) == ("speech", None, None, False)


def test_a_byte_order_mark_and_separators_within_texts(tmp_path):
    file = tmp_path / "manifest.jsonl"
    line = json.dumps({"path": "a.wav", "text": "one\u2028two\x85three"}, ensure_ascii=False)
    file.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    assert read_manifest(file)[0].text == "one\u2028two\x85three"


@pytest.mark.parametrize(
    ("facts", "silent"),
    [
        ({"kind": "noise"}, True),
        ({"kind": "music", "notes": "instrumental music without speech"}, True),
        ({"kind": "silence", "language": "sv", "notes": "prompt was to be silent"}, True),
        ({"kind": "music", "text": "[Music]"}, True),
        ({"text": "[noise] (laughter) ..."}, True),
        ({"text": "(laughter) Yes."}, False),
        ({"partial_text": ""}, False),
        ({"kind": "noise", "partial_text": ""}, True),
        ({"kind": "noise", "language": "en", "notes": "Song with sung English lyrics over music"}, False),
        ({"kind": "noise", "notes": "music and some speech; not speech-free"}, False),
        ({"kind": "noise", "notes": "not speech-free"}, False),
        ({"kind": "noise", "text": "one two"}, False),
        ({"kind": "noise", "speech": True}, False),
        ({"kind": "short", "speech": False}, True),
        ({"kind": "short", "text": ""}, True),
        ({"kind": "short", "text": None}, False),
        ({"kind": "short", "text": "one"}, False),
    ],
)
def test_where_nothing_is_said(tmp_path, facts, silent):
    assert read_manifest(write(tmp_path, {"path": "a.wav", **facts}))[0].silent is silent


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[" * 100_000, "line 2: no JSON"),
        ("3", "line 2: 3 is no object"),
        ({}, "line 2: path is None"),
        ({"path": ""}, "line 2: path is ''"),
        ({"path": "a\0b"}, "line 2: path is"),
        ({"path": 5}, "line 2: path is 5; accepted is a text"),
        ({"path": "first.wav"}, "line 2: 'first.wav' is in line 1 already"),
        ({"path": "a", "language": "zho"}, r"line 2: unknown language 'zho': give .* a code .*too are 'mul' .* null"),
        ({"path": "a", "language": "xx-YY"}, "line 2: unknown language 'xx'"),
        ({"path": "a", "languages": ["x y"]}, "line 2: unknown language 'x y'"),
        ({"path": "a", "languages": [["en"]]}, "line 2: languages is"),
        ({"path": "a", "languages": "en"}, "line 2: languages is 'en'; accepted is a list"),
        ({"path": "a", "text": ["x"]}, "line 2: text is"),
        ({"path": "a", "duration": "3"}, "line 2: duration is '3'; accepted are seconds, 0 or more"),
        ({"path": "a", "duration": -1}, "line 2: duration is -1"),
        ({"path": "a", "duration": 0}, "line 2: duration is 0; accepted are seconds, more than 0, or null"),
        ({"path": "a", "duration": True}, "line 2: duration is True"),
        ('{"path": "a", "duration": NaN}', "line 2: duration is nan"),
        ('{"path": "a", "duration": 1' + "0" * 400 + "}", "line 2: duration is 1000"),
        ('{"path": "a", "duration": 1' + "0" * 5000 + "}", "line 2: no JSON"),
        ({"path": "a", "segments": [[1, 2]]}, r"line 2: segments has \[1, 2\]; accepted are lists of"),
        ({"path": "a", "segments": [[2, 1, "x"]]}, "must not lie before its start"),
        ({"path": "a", "segments": [[None, 1, "x"]]}, "must not lie before its start"),
        ({"path": "a", "segments": [["0", 1, "x"]]}, "a time of segments is '0'"),
        ({"path": "a", "raw_format": {"sample_rate": 0, "channels": 1, "encoding": "u8"}}, "line 2: raw_format is"),
        (
            {"path": "a", "raw_format": {"sample_rate": 1, "channels": 1, "encoding": ["u8"]}},
            "accepted are sample_rate",
        ),
        ({"path": "a", "speech": "no"}, "line 2: speech is 'no'; accepted is true, false or null"),
        ({"path": "a", "text": "x", "partial_text": "x"}, "line 2: text and partial_text are both given"),
        ({"path": "a", "text": "", "partial_text": "x"}, "line 2: text and partial_text are both given"),
        ({"path": "a", "text": "one", "speech": False}, "line 2: speech is false, and the reference is 'one'"),
        ({"path": "a", "partial_text": "one", "speech": False}, "line 2: speech is false, and the reference is 'one'"),
        ({"path": "a", "text": "bad \ud800 text"}, r"line 2: '\\ud800' is half of a surrogate pair.*; give"),
        ({"path": "a", "\udcff": 1}, r"line 2: '\\udcff' is half of a surrogate pair"),
    ],
)
def test_what_is_refused(tmp_path, record, message):
    with pytest.raises(OptionError, match=message):
        read_manifest(write(tmp_path, {"path": "first.wav"}, record))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("de", "de"),
        ("German", "de"),
        ("zh-Hant-TW", "zh"),
        ("pt_BR", "pt"),
        ("yue", "yue"),
        ("mul", "mul"),
        (None, None),
    ],
)
def test_languages_are_those_of_whisper(tmp_path, given, code):
    record = {"path": "a", "language": given, "languages": [given] if given else None}
    (clip,) = read_manifest(write(tmp_path, record))
    assert clip.language == code
    assert clip.languages == ((code,) if code else ())


def test_whole_surrogate_pairs_are_characters(tmp_path):
    assert read_manifest(write(tmp_path, r'{"path": "a", "text": "\ud83d\ude00"}'))[0].text == "\N{GRINNING FACE}"


def test_files_that_are_no_manifests(tmp_path):
    with pytest.raises(AudioError, match="cannot be read"):
        read_manifest(tmp_path / "missing.jsonl")
    with pytest.raises(AudioError, match="cannot be read"):
        read_manifest(tmp_path)
    with pytest.raises(AudioError, match="cannot be read"):
        read_manifest("a\0b")
    with pytest.raises(OptionError, match="names no recordings"):
        read_manifest(write(tmp_path, ""))
    (tmp_path / "latin").write_bytes(b'{"path": "\xe9.wav"}')
    with pytest.raises(OptionError, match="not UTF-8"):
        read_manifest(tmp_path / "latin")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
fields = [
    "path",
    "kind",
    "language",
    "languages",
    "text",
    "partial_text",
    "duration",
    "segments",
    "raw_format",
    "speech",
]


@given(st.dictionaries(st.sampled_from(fields), json_values))
def test_any_object_is_read_or_refused(tmp_path_factory, record):
    folder = tmp_path_factory.getbasetemp()
    for path in ("a.wav", record.get("path")):
        try:
            (clip,) = read_manifest(write(folder, {**record, "path": path}))
            assert clip.silent in (True, False)
        except OptionError as error:
            if "line 1" not in str(error):
                raise


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "bytes.jsonl"
    file.write_bytes(content)
    for read in (read_manifest, read_hypotheses):
        try:
            read(file)
        except OptionError as error:
            if str(file) not in str(error):
                raise


def test_the_corpus(corpus):
    clips = read_manifest(corpus / "manifest.jsonl")
    assert all(clip.file.is_file() for clip in clips)
    silent = {clip.path for clip in clips if clip.silent}
    assert len(silent) == 11
    assert "noise/musanmix.mp3" not in silent
    assert "silence/se10x016-08071999-1334_u0016001.wav" in silent
    assert sum(clip.free_ends for clip in clips) == 3


@pytest.mark.parametrize(
    ("encoding", "dtype", "scale"), [("s16le", "<i2", 2**15), ("f32le", "<f4", 1), ("u8", "u1", 128)]
)
def test_headerless_samples(tmp_path, encoding, dtype, scale):
    wave = np.sin(np.arange(800) / 9) * 0.5
    stored = wave * scale + (128 if dtype == "u1" else 0)
    file = tmp_path / "a.raw"
    file.write_bytes(stored.astype(dtype).tobytes() + b"\0" * (np.dtype(dtype).itemsize - 1))
    clip = Clip("a.raw", file, raw_format=RawFormat(16000, 1, encoding))
    assert raw_as_wav(clip)[:4] == b"RIFF"
    np.testing.assert_allclose(read_samples(clip), wave, atol=0.01 if encoding == "u8" else 1e-4)


def test_headerless_channels_are_mixed(tmp_path):
    frames = np.array([[1000, 3000]] * 160, dtype="<i2")
    (tmp_path / "a.raw").write_bytes(frames.tobytes())
    clip = Clip("a.raw", tmp_path / "a.raw", raw_format=RawFormat(16000, 2, "s16le"))
    samples = read_samples(clip)
    assert len(samples) == 160
    assert abs(samples[80] - 2000 / 2**15) < 1e-3
    with pytest.raises(AudioError, match="check the path in the manifest"):
        raw_as_wav(Clip("b.raw", tmp_path / "b.raw", raw_format=clip.raw_format))


def test_hypotheses_of_another_engine(tmp_path):
    whole = {"path": "a.wav", "text": " one two", "language": "en", "seconds": 2, "other": 1}
    whole |= {"segments": [{"start": 0, "end": 1, "text": " one two", "words": [{"word": " one", "probability": 0.5}]}]}
    found = read_hypotheses(write(tmp_path, whole, {"path": "b.wav"}, {"path": "c.wav", "error": "out of memory"}))
    assert list(found) == ["a.wav", "b.wav", "c.wav"]
    assert found["a.wav"].words[0].probability == 0.5
    assert found["a.wav"].words[0].start is None
    assert found["a.wav"].segments[0].end == 1.0
    assert found["b.wav"].text == ""
    assert found["c.wav"].error == "out of memory"


def test_text_of_segments_where_there_is_no_other(tmp_path):
    record = {"path": "a.wav", "segments": [{"text": " one"}, {"text": " two"}]}
    assert read_hypotheses(write(tmp_path, record))["a.wav"].text == " one two"


def test_words_are_a_text_and_an_empty_error_is_none(tmp_path):
    words = [{"word": " Hello"}, {"word": " there."}]
    found = read_hypotheses(write(tmp_path, {"path": "a.wav", "words": words, "error": ""}))["a.wav"]
    assert (found.text, found.error) == ("Hello there.", None)


@pytest.mark.parametrize(
    ("told", "code"), [("German", "de"), ("EN", "en"), ("pt-BR", "pt"), ("gsw", "gsw"), ("", ""), (None, None)]
)
def test_a_language_that_was_told_is_compared_by_its_code(tmp_path, told, code):
    assert read_hypotheses(write(tmp_path, {"path": "a.wav", "language": told}))["a.wav"].language == code


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "x"}, "path is None"),
        ({"path": "first"}, "'first' has a hypothesis already"),
        ({"path": "a", "text": 3}, "text is 3"),
        ({"path": "a", "seconds": "1"}, "seconds is '1'; accepted is a number"),
        ('{"path": "a", "seconds": Infinity}', "seconds is inf"),
        ('{"path": "a", "seconds": 1' + "0" * 400 + "}", "seconds is 1000"),
        ({"path": "a", "segments": {"text": "x"}}, "segments is"),
        ({"path": "a", "words": ["x"]}, "words is"),
        ({"path": "a", "pred_text": "what was heard"}, "none of text, segments, words, error is there"),
        ({"path": "a", "text": "x", "seconds": -5}, "seconds is -5"),
        (
            {"path": "a", "words": [{"word": "x", "probability": 95}]},
            "probability is 95; accepted is a number from 0 to 1",
        ),
        ({"path": "a", "text": "bad \udfff"}, r"line 2: '\\udfff' is half of a surrogate pair"),
    ],
)
def test_hypotheses_that_are_refused(tmp_path, record, message):
    with pytest.raises(OptionError, match=message):
        read_hypotheses(write(tmp_path, {"path": "first"}, record))


def test_our_own_transcripts():
    word = Word(" one", 0.1, 0.4, 0.9)
    segment = Segment(0, 0, 0.0, 1.0, " one", (50364, 472, 50414), 0.0, -0.1, 1.0, 0.0, words=(word,))
    heard = from_transcript(Transcript(" one", (segment,), "en"), None, 1.5)
    assert (heard.text, heard.language, heard.seconds) == (" one", None, 1.5)
    assert heard.words[0].end == 0.4
    assert heard.segments[0].start == 0.0
