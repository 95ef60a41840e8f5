"""Jobs that are killed and resumed: every byte is that of a job that was left alone."""

import json
import random
import signal
import subprocess
import sys
import time
import wave
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command import in_a_child
from made_up import made_up_model
from sound_files import riff
from viska.audio import SAMPLE_RATE, load_audio
from viska.cli import run
from viska.engine.lane import Lane
from viska.errors import OptionError, OutOfMemoryError
from viska.formats import FORMATS
from viska.transcription import Transcription, transcribe, transcribe_channels, transcribe_options
from viska.transcription.backend import EngineBackend
from viska.transcription.journal import Journal
from viska.vad import VoiceActivity

FAST = {"short_context": True, "temperature": 0.0, "sample_len": 8, "language": "en", "no_speech_threshold": None}
FAST |= {"logprob_threshold": None, "compression_ratio_threshold": None}  # no window is decoded twice

FAST_COMMAND = ["--beam_size", "None", "--temperature_increment_on_fallback", "None"]

MODES = {
    "in order": {},
    "one text for each window": {"without_timestamps": True, "initial_prompt": "Viska", "carry_initial_prompt": True},
    "as openai/whisper": {"compat": "openai", "clip_timestamps": "0,70"},
    "clips": {"clip_timestamps": "3,20,40,65"},
    "beams": {"beam_size": 2},
    "sampled": {"temperature": (0.0, 0.4, 0.8), "best_of": 2, "compression_ratio_threshold": 1.2},
    "words": {"word_timestamps": True},
    "told language": {"language": None, "languages": ["en", "de", "is"]},
    "several languages": {"language": None, "multilingual": True, "languages": ["en", "de", "is"]},
    "log-probabilities": {"token_logprobs": True, "top_logprobs": 2},
    "speech alone": {"vad_filter": True},
    "batch": {"batch_size": 3},
    "batch of speech with words": {"batch_size": 3, "vad_filter": True, "word_timestamps": True},
    "batch of several languages": {"batch_size": 2, "multilingual": True, "language": None, "without_timestamps": True},
    "sampled batch": {"batch_size": 2, "temperature": (0.4, 0.8), "best_of": 2, "compression_ratio_threshold": 1.2},
}


class Killed(BaseException):
    """Nobody catches it, as nobody catches SIGKILL."""


@pytest.fixture(scope="module")
def model():
    model = made_up_model()
    model.compute_type = "int8"
    return model


@pytest.fixture(scope="module")
def float_model():
    model = made_up_model()
    model.compute_type = "float32"
    return model


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


SOUND = noise(75)


@pytest.fixture(autouse=True)
def speech(request, monkeypatch):
    """Somebody speaks all the time, with a pause of 3 s every 20 s."""
    if request.node.get_closest_marker("slow") is not None:
        return
    probabilities = torch.full((2400,), 0.9)
    for pause in range(625, 2400, 625):
        probabilities[pause - 94 : pause] = 0.05
    activity = VoiceActivity(probabilities, 2400 * 512)
    monkeypatch.setattr("viska.transcription.cutting.voice_activity", lambda _: activity)


@pytest.fixture
def kill_after(monkeypatch):
    """Lets the process die, so to speak, at the n-th call from now on."""
    left = [10**9]

    def counted(method):
        def call(*arguments, **keywords):
            result = method(*arguments, **keywords)
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return result

        return call

    def watch(owner, name):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
        return lambda n: left.__setitem__(0, n)

    return watch


def outputs(transcript):
    """What every format makes of it, and all else that there is."""
    return {name: to(transcript) for name, to in FORMATS.items()} | {"itself": transcript}


def lives(model, path, options, moments, kill):
    """Run a job that is killed at these moments; the transcript of the last life, and what it told."""
    told = []
    for moment in [*moments, 10**9]:
        kill(moment)
        told.clear()
        try:
            transcript = transcribe(model, SOUND, journal=path, on_segment=told.append, **options)
        except Killed:
            continue
        return transcript, told
    raise AssertionError("it was killed at the end")


def uninterrupted(model, tmp_path, options):
    """With a journal too: with one, a batch is decoded in rounds."""
    return transcribe(model, SOUND, journal=tmp_path / "uninterrupted", **options)


def moments(options):
    """After every line in turn; a batch begins a round anew where it was not at its end."""
    return [1, 3, 7, 7] if "batch_size" in options else [1] * 30


# Nothing lost, nothing twice


@pytest.mark.parametrize("mode", MODES)
def test_killed_after_every_window_in_turn(model, tmp_path, kill_after, mode):
    options = {**FAST, **MODES[mode]}
    alone = uninterrupted(model, tmp_path, options)
    assert len(alone.segments) > 1, alone
    path = tmp_path / "journal"
    transcript, told = lives(model, path, options, moments(options), kill_after(Journal, "append"))
    assert outputs(transcript) == outputs(alone)
    assert told == list(alone.segments)
    assert len(path.read_bytes().splitlines()) > 3


@pytest.mark.parametrize("mode", ["batch", "batch of speech with words"])
def test_a_batch_of_floats_has_the_windows_that_it_had(float_model, tmp_path, kill_after, mode):
    """The last bits of a sum depend on how many rows are multiplied at once."""
    options = {**FAST, **MODES[mode], "batch_size": 2}
    alone, _ = lives(float_model, tmp_path / "alone", options, [], kill_after(Lane, "step"))
    n_lines = len((tmp_path / "alone").read_bytes().splitlines())
    for moment in range(1, n_lines, 2):
        path = tmp_path / str(moment)
        transcript, _ = lives(float_model, path, options, [moment], kill_after(Journal, "append"))
        assert outputs(transcript) == outputs(alone)


@pytest.mark.guarded
@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"vad_filter": True, "word_timestamps": True}])
def test_what_the_guard_did_is_told_once(model, tmp_path, kill_after, options):
    options = {**FAST, **options}
    alone = uninterrupted(model, tmp_path, options)
    assert alone.record
    transcript, _ = lives(model, tmp_path / "journal", options, moments(options), kill_after(Journal, "append"))
    assert outputs(transcript) == outputs(alone)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=4)
@given(mode=st.sampled_from(sorted(MODES)), moments=st.lists(st.integers(1, 40), max_size=4), cut=st.integers(0, 200))
def test_killed_at_any_step_of_the_decoder_and_while_a_line_was_written(
    model, tmp_path_factory, kill_after, mode, moments, cut
):
    """The journal moreover lacks its end, as it does where that was being written."""
    folder = tmp_path_factory.mktemp("job")
    options, path, kill = {**FAST, **MODES[mode]}, folder / "journal", kill_after(Lane, "step")
    kill(10**9)
    alone = uninterrupted(model, folder, options)
    for moment in moments:
        kill(moment)
        with suppress(Killed):
            transcribe(model, SOUND, journal=path, **options)
        whole = path.read_bytes()
        path.write_bytes(whole[: max(len(whole) - cut, whole.index(b"\n") + 1)])
    kill(10**9)
    assert outputs(transcribe(model, SOUND, journal=path, **options)) == outputs(alone)


def test_nothing_is_decoded_that_was_decided(model, tmp_path, monkeypatch):
    options = {**FAST, "language": None}
    alone = transcribe(model, SOUND, journal=tmp_path / "journal", **options)
    for name in ("encode", "decode", "lane", "detect_language"):
        monkeypatch.setattr(EngineBackend, name, lambda *_: pytest.fail("decoded all the same"))
    again = Transcription(model, SOUND, transcribe_options(options), journal=tmp_path / "journal")
    assert tuple(again) == alone.segments
    assert again.transcript() == alone
    assert again.language_probs
    before = (tmp_path / "journal").read_bytes()
    assert transcribe(model, SOUND, journal=tmp_path / "journal", **options) == alone
    assert (tmp_path / "journal").read_bytes() == before


@pytest.mark.parametrize("batch_size", [1, 2])
def test_cancelled_or_failed_it_goes_on_too(model, tmp_path, monkeypatch, batch_size):
    options, path = {**FAST, "batch_size": batch_size}, tmp_path / "journal"
    alone = uninterrupted(model, tmp_path, options)
    job = Transcription(model, SOUND, transcribe_options(options), journal=path)
    for _ in job:
        job.cancel()
    assert len(job.transcript().segments) < len(alone.segments)
    with monkeypatch.context() as patch:
        patch.setattr(Lane, "step", lambda _: (_ for _ in ()).throw(OutOfMemoryError("no more")))
        with pytest.raises(OutOfMemoryError):
            transcribe(model, SOUND, journal=path, **options)
    assert transcribe(model, SOUND, journal=path, **options) == alone


def test_each_channel_has_its_journal(model, tmp_path, kill_after):
    both = np.stack([SOUND, SOUND[::-1]])[:, : 40 * SAMPLE_RATE]
    alone = transcribe_channels(model, both, **FAST)
    kill = kill_after(Journal, "append")
    for moment in [1] * 20:
        kill(moment)
        with suppress(Killed):
            transcribe_channels(model, both, journal=tmp_path / "journal", **FAST)
    kill(10**9)
    assert transcribe_channels(model, both, journal=tmp_path / "journal", **FAST) == alone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.0", "journal.1"]


def test_the_journal_of_another_job(model, tmp_path):
    path = tmp_path / "journal"
    transcribe(model, SOUND, journal=path, **FAST)
    before = path.read_bytes()
    with pytest.raises(OptionError, match=r"another job \(beam_size was None and is 2\): ask for that job again"):
        transcribe(model, SOUND, journal=path, beam_size=2, **FAST)
    with pytest.raises(OptionError, match=r"another job \(another recording; another cut into windows\)"):
        transcribe(model, SOUND[1000:], journal=path, **FAST)
    assert path.read_bytes() == before


# The command line


@pytest.fixture
def talk(tmp_path, monkeypatch):
    """A file, of whose windows the command decodes a few tokens."""

    def short(flags, options_of=run.options_of):
        options = options_of(flags)
        return replace(options, decoding=replace(options.decoding, sample_len=8))

    monkeypatch.setattr(run, "options_of", short)
    path = tmp_path / "talk.wav"
    path.write_bytes(riff((SOUND * 30000).astype("<i2")))
    return path


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def resumed(command, kill, *arguments):
    """Killed after every window in turn, or every round, it is asked for again until it ends; the number of times."""
    for life in range(1, 40):
        kill(6 if "--batch_size" in arguments else 1)
        try:
            assert command(*arguments).status == 0
        except Killed:
            continue
        return life
    raise AssertionError("it never ended")


@pytest.mark.parametrize("flags", [[], ["--channel", "all"], ["--batch_size", "2"], ["--word_timestamps", "True"]])
def test_the_command_goes_on(command, talk, tmp_path, kill_after, flags):
    flags = ["--no_speech_threshold", "None", *flags]
    plain = command(talk, *flags, *(["--resume"] if "--batch_size" in flags else []))
    alone, command.folder = files_of(command.folder), tmp_path / "resumed"
    assert resumed(command, kill_after(Journal, "append"), talk, "--resume", *flags) >= (
        2 if "--batch_size" in flags else 4
    )
    assert files_of(command.folder) == alone
    assert alone["talk.txt"].strip()
    kill_after(Journal, "append")(10**9)
    assert command(talk, "--resume", *flags).out == plain.out
    assert files_of(command.folder) == alone


def test_of_several_inputs_none_is_repeated(command, talk, tmp_path, monkeypatch):
    second = tmp_path / "second.wav"
    second.write_bytes(riff((SOUND[: 20 * SAMPLE_RATE] * 30000).astype("<i2")))
    command(talk, second)

    def in_the_second(journal, number, checkpoint, append=Journal.append):
        if journal.path.name.startswith(".second"):
            raise Killed
        append(journal, number, checkpoint)

    alone, command.folder = files_of(command.folder), tmp_path / "resumed"
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", in_the_second)
        with pytest.raises(Killed):
            command(talk, second, "--resume")
    names = {path.name for path in command.folder.iterdir()}
    assert names == {"talk.txt", ".talk.viska-journal", ".second.viska-journal"}
    decoded = []
    decode = EngineBackend.encode
    monkeypatch.setattr(EngineBackend, "encode", lambda *given: decoded.append(1) or decode(*given))
    assert command(talk, second, "--resume").status == 0
    assert 1 <= len(decoded) <= 2  # those of the second
    assert files_of(command.folder) == alone


def test_journals_stay_until_all_inputs_are_there(command, talk, tmp_path):
    missing = tmp_path / "missing.wav"
    assert command(talk, missing, "--resume").status == 3
    assert (command.folder / ".talk.viska-journal").exists()
    missing.write_bytes(talk.read_bytes())
    assert command(talk, missing, "--resume").status == 0
    assert {path.name for path in command.folder.iterdir()} == {"talk.txt", "missing.txt"}


def test_a_long_name_has_a_journal_too(command, talk, kill_after):
    named = talk.with_name("ü" * 120 + ".wav")
    talk.rename(named)
    kill = kill_after(Journal, "append")
    kill(1)
    with pytest.raises(Killed):
        command(named, "--resume")
    kill(10**9)
    assert len(list(command.folder.glob(".*.viska-journal"))) == 1
    assert command(named, "--resume").status == 0
    assert [path.name for path in command.folder.iterdir()] == [f"{named.stem}.txt"]


def test_another_command_is_refused_and_the_journal_kept(command, talk, tmp_path, kill_after):
    kill = kill_after(Journal, "append")
    kill(1)
    with pytest.raises(Killed):
        command(talk, "--resume")
    kill(10**9)
    journal = command.folder / ".talk.viska-journal"
    before = journal.read_bytes()
    outcome = command(talk, "--resume", "--initial_prompt", "Viska")
    assert outcome.status == 2
    assert outcome.err == (
        f"viska: error: the journal {journal} belongs to another job (initial_prompt was None and is 'Viska'): ask for "
        "that job again as it was begun, or remove the journal to begin anew\n"
    )
    assert journal.read_bytes() == before
    assert command(talk, "--initial_prompt", "Viska").status == 0  # without --resume nobody looks at it
    assert journal.read_bytes() == before
    assert command(talk, "--resume", "--max_line_width", "None", "-f", "srt").status == 0  # other files of the same
    assert not journal.exists()


def test_without_room_for_the_files_the_journal_stays(command, talk):
    (command.folder / "talk.txt").mkdir(parents=True)
    assert command(talk, "--resume").status == 5
    assert (command.folder / ".talk.viska-journal").exists()
    (command.folder / "talk.txt").rmdir()
    assert command(talk, "--resume").status == 0
    assert [path.name for path in command.folder.iterdir()] == ["talk.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_while_the_files_were_written(talk, tmp_path):
    """Of five files three are there, the fourth is half there under a name of its own."""
    flags = ["-o", tmp_path / "results", *FAST_COMMAND, "--resume"]
    code = """
use_made_up_model()
replace, left = Path.replace, [5]  # the first is that of the journal
def one_less(*paths):
    left[0] -= 1
    return replace(*paths) if left[0] else os.kill(os.getpid(), 9)
Path.replace = one_less
main(sys.argv[1:])
"""
    assert in_a_child(code, talk, *flags).returncode == -signal.SIGKILL
    left = sorted(files_of(tmp_path / "results"))
    assert [name for name in left if not name.endswith(".part")] == [
        ".talk.viska-journal",
        "talk.srt",
        "talk.txt",
        "talk.vtt",
    ]
    assert len(left) == 5
    child = in_a_child("use_made_up_model(); sys.exit(main(sys.argv[1:]))", talk, *flags)
    assert child.returncode == 0, child.stderr
    found = files_of(tmp_path / "results")
    flags[1] = tmp_path / "alone"
    assert in_a_child("use_made_up_model(); sys.exit(main(sys.argv[1:]))", talk, *flags[:-1]).returncode == 0
    alone = files_of(tmp_path / "alone")
    assert len(alone) == 5
    assert {name: found[name] for name in found if not name.endswith(".part")} == alone


# The command line, for an hour


def command_line(sound, folder, *flags):
    code = [sys.executable, "-m", "viska", str(sound), "--model", "tiny.en", "--threads", "2", "-o", str(folder)]
    greedy = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "--verbose", "False"]
    return [*code, *greedy, "--offline", *flags]


def an_hour(corpus, path, seconds=3600):
    """English recordings of the corpus, one behind the other in some order, again and again."""
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    names = [row["path"] for row in rows if row["language"] == "en" and row["text"] and "raw_format" not in row]
    draw, n_samples = random.Random(7), 0
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        while n_samples < seconds * SAMPLE_RATE:
            samples = load_audio(corpus / draw.choice(names))[: seconds * SAMPLE_RATE - n_samples]
            file.writeframes((samples * 32767).astype("<i2").tobytes())
            n_samples += len(samples)
    return path


def n_lines(journal):
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def kill(process, journal, draw):
    """SIGKILL after some more windows, or before there are any; whether it was still there to be killed."""
    wanted = n_lines(journal) + draw.randrange(16)
    while n_lines(journal) < wanted and process.poll() is None:
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 2))
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_an_hour_killed_at_ten_random_moments(corpus, tiny_en, tmp_path):
    sound, draw = an_hour(corpus, tmp_path / "hour.wav"), random.Random(11)
    began = time.monotonic()
    subprocess.run(command_line(sound, tmp_path / "alone"), check=True, timeout=3600)
    print(f"alone: {time.monotonic() - began:.0f} s")
    journal = tmp_path / "killed" / ".hour.viska-journal"
    command = command_line(sound, tmp_path / "killed", "--resume")
    for number in range(10):
        assert kill(subprocess.Popen(command), journal, draw)
        print(f"killed {number + 1} times: {n_lines(journal)} lines after {time.monotonic() - began:.0f} s")
    assert n_lines(journal) > 20
    assert [path.name for path in journal.parent.iterdir()] == [journal.name]
    subprocess.run(command, check=True, timeout=3600)
    print(f"done after {time.monotonic() - began:.0f} s")
    found, wanted = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("killed", "alone")
    )
    assert found == wanted
    assert sorted(wanted) == [f"hour.{name}" for name in ("json", "srt", "tsv", "txt", "vtt")]
    assert len(json.loads(wanted["hour.json"])["text"].split()) > 5000
