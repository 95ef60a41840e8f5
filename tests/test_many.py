"""Many recordings at once: each says what it says alone, and one that fails does not keep the others."""

import json
from pathlib import Path

import numpy as np
import pytest

import viska
from made_up import made_up_model
from viska.audio import SAMPLE_RATE
from viska.cli import main
from viska.engine.lane import Lane
from viska.errors import AudioError, OptionError
from viska.transcription import transcribe, transcribe_many

FAST = {"short_context": True, "temperature": 0.0, "sample_len": 16, "language": "en", "guard": False}
FLAGS = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "--batch_size", "4"]


@pytest.fixture(scope="module")
def model():
    model = made_up_model()
    model.compute_type = "float32"
    return model


def noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def tokens(transcript: viska.Transcript) -> list[tuple[float, tuple[int, ...]]]:
    return [(segment.start, tuple(segment.tokens)) for segment in transcript.segments]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("options", [{}, {"beam_size": 2}, {"condition_on_previous_text": True}])
def test_each_recording_says_what_it_says_alone(model, batch_size, options):
    recordings = [noise(seconds, seed) for seed, seconds in enumerate((40, 3, 70, 9, 0))]
    found = list(transcribe_many(model, recordings, batch_size=batch_size, **FAST, **options))
    assert sorted(id(one.audio) for one in found) == sorted(map(id, recordings))
    for one in found:
        assert one.error is None
        alone = transcribe(model, one.audio, batch_size=batch_size, **FAST, **options)
        assert tokens(one.transcript) == tokens(alone)


def test_windows_of_different_recordings_share_steps(model, monkeypatch):
    sizes, step = [], Lane.step
    monkeypatch.setattr(Lane, "step", lambda lane: sizes.append(len(lane.sittings)) or step(lane))
    list(transcribe_many(model, [noise(3, seed) for seed in range(6)], batch_size=4, **FAST))
    assert max(sizes) == 4


def test_one_that_cannot_be_read_is_told_and_the_others_go_on(model, tmp_path):
    (tmp_path / "empty.wav").touch()
    given = [noise(3, 0), tmp_path / "missing.wav", tmp_path / "empty.wav", noise(3, 1)]
    found = list(transcribe_many(model, given, **FAST))
    assert len(found) == 4
    failed = {Path(one.audio).name: one.error for one in found if one.transcript is None}
    assert set(failed) == {"missing.wav", "empty.wav"}
    assert all(isinstance(error, AudioError) for error in failed.values())


def test_recordings_are_asked_for_as_there_is_room(model):
    asked = []

    def endless():
        for seed in range(1000):
            asked.append(seed)
            yield noise(3, seed)

    found = transcribe_many(model, endless(), batch_size=2, **FAST)
    next(found)
    assert len(asked) <= 4


@pytest.mark.parametrize(
    ("recordings", "options", "message"),
    [
        ("talk.wav", {}, "recordings is one str; give a list"),
        (5, {}, "recordings is one int; give a list"),
        (Path("talk.wav"), {}, "give a list"),
        (b"RIFF", {}, "give a list"),
        (["talk.wav"], {"compat": "openai"}, "compat is 'openai', which takes one recording at a time: use transcribe"),
        (["talk.wav"], {"journal": "j"}, "unknown option journal"),
        (["talk.wav"], {"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_is_refused(model, recordings, options, message):
    with pytest.raises(OptionError, match=message):
        transcribe_many(model, recordings, **options)


# The command line


@pytest.fixture
def loaded(tiny_en, monkeypatch):
    monkeypatch.setattr("viska.weights.load_model", lambda *_, **__: tiny_en)


def test_inputs_of_the_command_line_share_batches(loaded, recordings, tmp_path, capsys, monkeypatch):
    names = ["sense_and_sensibility_0870.wav", "sense_and_sensibility_0880.flac"]
    inputs, sizes, step = [str(recordings / name) for name in names], [], Lane.step
    monkeypatch.setattr(Lane, "step", lambda lane: sizes.append(len(lane.sittings)) or step(lane))
    assert main([*inputs, inputs[0], "-f", "txt", "-o", str(tmp_path / "together"), *FLAGS]) == 0
    assert max(sizes) == 3
    assert capsys.readouterr().out.count("John Dashwood had then leisure") == 2
    for one in inputs:
        assert main([one, "-f", "txt", "-o", str(tmp_path / "apart"), *FLAGS]) == 0
    together, apart = (
        {path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("together", "apart")
    )
    assert together.items() >= apart.items()
    assert together["sense_and_sensibility_0870-2.txt"] == together["sense_and_sensibility_0870.txt"]


def test_one_input_that_fails_does_not_keep_the_others(loaded, recordings, tmp_path, capsys):
    good, missing = str(recordings / "sense_and_sensibility_0870.wav"), str(tmp_path / "missing.wav")
    assert main([missing, good, "--json", "-f", "txt", "-o", str(tmp_path), *FLAGS]) == 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["audio"], line["exit_status"]) for line in lines if line["type"] == "error"] == [(missing, 3)]
    assert [line["files"] for line in lines if line["type"] == "transcript"] == [
        [str(tmp_path / "sense_and_sensibility_0870.txt")]
    ]


def test_a_folder_that_takes_no_files_does_not_lose_the_texts(loaded, recordings, tmp_path, capsys):
    inputs = [str(recordings / f"sense_and_sensibility_{name}") for name in ("0870.wav", "0880.flac")]
    (tmp_path / "sense_and_sensibility_0870.txt").mkdir()
    assert main([*inputs, "--verbose", "False", "-f", "txt", "-o", str(tmp_path), *FLAGS]) == 5
    assert "leisure" in capsys.readouterr().out
    assert (tmp_path / "sense_and_sensibility_0880.txt").is_file()


def test_each_input_that_memory_runs_out_for_is_told(loaded, recordings, tmp_path, capsys, monkeypatch):
    inputs = [str(recordings / f"sense_and_sensibility_{name}") for name in ("0870.wav", "0880.flac")]

    def step(_):
        raise MemoryError

    monkeypatch.setattr(Lane, "step", step)
    assert main([*inputs, "--json", "-o", str(tmp_path), *FLAGS]) == 6
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["audio"], line["exit_status"]) for line in lines] == [(one, 6) for one in inputs]


def test_a_model_that_cannot_be_had_is_told_once(recordings, tmp_path, capsys):
    inputs = [str(recordings / f"sense_and_sensibility_{name}") for name in ("0870.wav", "0880.flac")]
    assert main([*inputs, "--model", "enormous", "-o", str(tmp_path), *FLAGS]) == 4
    assert capsys.readouterr().err.count("enormous") == 1
