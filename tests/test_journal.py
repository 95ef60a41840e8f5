"""The journal of a long job: what is appended is what is read, whatever was cut off."""

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command import in_a_child
from made_up import ENGLISH, made_up_model
from viska.errors import OptionError, OutputError
from viska.recording import LogMel, Recording
from viska.result import GuardEvent, Segment, TokenAlternative, Word
from viska.transcription import TranscribeOptions, transcribe_options
from viska.transcription.cutting import whole
from viska.transcription.journal import Checkpoint, Journal, identity_of

JOB = {"version": "1.0", "recording": "sha256:aa", "model": "sha256:bb", "beam_size": "5"}
NEW = Checkpoint(0, 1, (), True, False, "en", 0.0, (), ())

times = st.floats(0, 1e6)
texts = st.text(max_size=20)
tokens = st.lists(st.integers(0, 51865), max_size=9).map(tuple)
shares = st.floats(0, 1)
words = st.builds(Word, word=texts, start=times, end=times, probability=shares, confidence=st.none() | shares)
alternatives = st.builds(TokenAlternative, id=st.integers(0, 51865), text=texts, logprob=st.floats(-99, 0))
segments = st.builds(
    Segment,
    id=st.integers(0, 999),
    seek=st.integers(0, 10**7),
    start=times,
    end=times,
    text=texts,
    tokens=tokens,
    temperature=st.sampled_from([0.0, 0.2, 1.0]),
    avg_logprob=st.floats(-9, 0),
    compression_ratio=st.floats(0, 99),
    no_speech_prob=st.floats(0, 1),
    words=st.none() | st.lists(words, max_size=3).map(tuple),
    language=st.none() | st.sampled_from(["en", "de"]),
    token_logprobs=st.none() | st.lists(st.floats(-99, 0), max_size=3).map(tuple),
    top_logprobs=st.none() | st.lists(st.lists(alternatives, max_size=2).map(tuple), max_size=2).map(tuple),
    channel=st.none() | st.integers(0, 1),
    confidence=st.none() | shares,
)
events = st.builds(GuardEvent, start=times, end=times, action=texts, reason=texts, text=texts)
checkpoints = st.builds(
    Checkpoint,
    seek=st.integers(0, 10**7),
    clips_left=st.integers(0, 9),
    history=tokens,
    initial_in_reach=st.booleans(),
    spoke=st.booleans(),
    language=st.sampled_from(["en", "yue"]),
    last_speech_s=times,
    segments=st.lists(segments, max_size=3).map(tuple),
    events=st.lists(events, max_size=2).map(tuple),
    finished=st.booleans(),
)


@st.composite
def jobs(draw):
    """Checkpoints of some stretches, of which most build on the one before, as those of a recording do."""
    found, last = [], {}
    for _ in range(draw(st.integers(0, 6))):
        number, following = draw(st.integers(0, 2)), draw(checkpoints)
        before = last.get(number)
        if before is not None and draw(st.booleans()):
            following = replace(
                following,
                history=before.history + following.history,
                segments=before.segments + following.segments,
                events=before.events + following.events,
            )
        last[number] = following
        found.append((number, following))
    return found


def written(path, job, identity=JOB):
    path.unlink(missing_ok=True)
    journal = Journal(path, identity)
    for number, checkpoint in job:
        journal.append(number, checkpoint)
    return path.read_bytes()


SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@SHARED_FOLDER
@given(jobs())
def test_what_is_appended_is_what_is_read(tmp_path, job):
    path = tmp_path / "journal"
    path.unlink(missing_ok=True)
    journal = Journal(path, JOB)
    for n, (number, checkpoint) in enumerate(job, start=1):
        journal.append(number, checkpoint)
        assert Journal(path, JOB).checkpoints == journal.checkpoints == dict(job[:n])


@SHARED_FOLDER
@given(jobs(), st.data())
def test_a_file_that_was_cut_anywhere_gives_what_is_whole_and_can_be_gone_on_with(tmp_path, job, data):
    path = tmp_path / "journal"
    whole = written(path, job)
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    cut = data.draw(st.integers(ends[0], len(whole)))
    path.write_bytes(whole[:cut])
    n_whole = sum(end <= cut for end in ends) - 1  # without the first line
    journal = Journal(path, JOB)
    assert journal.checkpoints == dict(job[:n_whole])
    for number, checkpoint in job[n_whole:]:
        journal.append(number, checkpoint)
    assert path.read_bytes() == whole


@SHARED_FOLDER
@given(jobs(), st.data())
def test_damage_gives_an_earlier_state_or_an_error(tmp_path, job, data):
    path = tmp_path / "journal"
    whole = bytearray(written(path, job))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        found = Journal(path, JOB).checkpoints
    except OptionError:
        assert place <= whole.find(b"\n") or place < 300
        return
    assert found in [dict(job[:n]) for n in range(len(job))]


def test_a_line_has_only_what_is_new(tmp_path):
    path = tmp_path / "journal"
    said = Segment(0, 0, 0.0, 1.0, " Said.", (7, 8, 9) * 1000, 0.0, -0.1, 1.0, 0.0)
    first = replace(NEW, seek=100, history=said.tokens, segments=(said,))
    second = replace(first, seek=200, history=(*first.history, 4, 5))
    third = replace(second, seek=300, history=(), initial_in_reach=False)
    lines = written(path, [(0, first), (0, second), (0, third)]).splitlines()
    assert len(lines[1]) > 6000
    assert b'"history": [3000, [4, 5]]' in lines[2]
    assert b'"history": [0, []]' in lines[3]
    assert all(len(line) < 300 for line in lines[2:])
    assert Journal(path, JOB).checkpoints == {0: third}


def test_two_at_once_spoil_nothing(tmp_path):
    """Both write what they decided at their own place; the other's lines are not taken for one's own."""
    path = tmp_path / "journal"
    one, other = Journal(path, JOB), Journal(path, JOB)
    one.append(0, replace(NEW, seek=1))
    one.append(0, replace(NEW, seek=2))
    other.append(0, replace(NEW, seek=1))
    assert Journal(path, JOB).checkpoints == {0: replace(NEW, seek=1)}
    one.append(0, replace(NEW, seek=3))
    assert Journal(path, JOB).checkpoints == {0: replace(NEW, seek=1)}


def test_the_language_that_was_told(tmp_path):
    path = tmp_path / "journal"
    assert Journal(path, JOB).language_probs is None
    Journal(path, JOB).hear({"en": 0.75, "de": 0.25})
    journal = Journal(path, JOB)
    journal.append(0, NEW)
    assert Journal(path, JOB).language_probs == {"en": 0.75, "de": 0.25}


def test_parts_of_what_belongs_together_are_forgotten(tmp_path):
    done = replace(NEW, finished=True)
    journal = Journal(tmp_path / "journal", JOB)
    for number, checkpoint in enumerate([done, done, done, NEW, done]):
        journal.append(number, checkpoint)
    journal.forget_parts(2, 5)
    assert sorted(journal.checkpoints) == [0, 1, 4]
    journal.append(2, NEW)
    assert Journal(tmp_path / "journal", JOB).checkpoints[2] == NEW


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("version", r"version was 1\.0 and is 2"),
        ("recording", "another recording"),
        ("model", "another model"),
        ("beam_size", "beam_size was 5 and is 2"),
        ("added", "added was None and is 2"),
    ],
)
def test_a_journal_serves_no_other_job(tmp_path, name, told):
    path = tmp_path / "journal"
    before = written(path, [(0, NEW)])
    other = {**JOB, name: "sha256:cc" if name in ("recording", "model") else "2"}
    with pytest.raises(OptionError, match=rf"belongs to another job \({told}\): ask for .* or remove the journal"):
        Journal(path, other)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"my diary\n", b"{}\n", b"\0" * 99, b'00000000 {"viska_journal": 1}\n', b"{" * 9999, b"x"]
)
def test_a_file_of_the_user_is_left_alone(tmp_path, content):
    path = tmp_path / "journal"
    path.write_bytes(content)
    with pytest.raises(OptionError, match="is no journal of Viska's, and is left alone"):
        Journal(path, JOB)
    assert path.read_bytes() == content


def test_what_is_behind_the_last_whole_line_is_overwritten(tmp_path, caplog):
    path = tmp_path / "journal"
    whole = written(path, [(0, NEW), (1, NEW)])
    path.write_bytes(whole + b'12345678 {"stretch": 0}\n' + bytes(5000))
    journal = Journal(path, JOB)
    assert "line 4 is not whole" in caplog.text
    journal.append(2, NEW)
    assert path.read_bytes() == written(path, [(0, NEW), (1, NEW), (2, NEW)])


def test_a_journal_that_cannot_be_read_or_written(tmp_path, monkeypatch):
    with pytest.raises(OptionError, match="cannot be read: Is a directory"):
        Journal(tmp_path, JOB)
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot be read: Not a directory"):
        Journal(tmp_path / "file" / "journal", JOB)
    with pytest.raises(OutputError, match="shorter name"):
        Journal(tmp_path / "too" / ("long" * 99), JOB)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = Journal(tmp_path / "new" / "journal", JOB)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="cannot be written: No space left"):
            journal.append(0, NEW)
    journal.append(1, NEW)  # there is room again; what was begun is overwritten
    assert Journal(tmp_path / "new" / "journal", JOB).checkpoints == {1: NEW}
    journal.path.unlink()
    journal.append(1, NEW)  # what the job goes on to decide is not lost with it
    with pytest.raises(OptionError, match="journal is 5; accepted is the path of a file, or None"):
        Journal(5, JOB)
    with pytest.raises(OptionError, match=r"cannot be read: .*embedded null"):
        Journal(str(tmp_path / "a\0b"), JOB)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other locks")
def test_a_journal_that_another_process_writes_is_refused(tmp_path):
    path = tmp_path / "journal"
    code = """
from viska.transcription.journal import *
from viska.errors import OptionError
try:
    Journal(sys.argv[1], {"a": "1"})
except OptionError as error:
    print(error)
"""
    journal = Journal(path, {"a": "1"})
    journal.append(0, NEW)
    told = in_a_child(code, path).stdout
    assert "is being written by another process: let it end, or name another" in told
    assert "remove" not in told
    journal.append(1, NEW)
    del journal
    assert in_a_child(code, path).stdout == ""
    assert Journal(path, {"a": "1"}).checkpoints == {0: NEW, 1: NEW}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="signals are those of Unix")
def test_what_was_appended_survives_a_kill(tmp_path):
    code = """
from viska.transcription.journal import *
Journal(sys.argv[1], {"a": "1"}).append(0, Checkpoint(7, 1, (1, 2), True, True, "en", 0.5, (), ()))
os.kill(os.getpid(), 9)
"""
    child = in_a_child(code, tmp_path / "journal")
    assert child.returncode == -9, child.stderr
    (found,) = Journal(tmp_path / "journal", {"a": "1"}).checkpoints.values()
    assert (found.seek, found.history, found.last_speech_s) == (7, (1, 2), 0.5)


# What a job is known by


def identity(samples=None, model=None, **options):
    recording = Recording(np.zeros(3200, np.float32) if samples is None else samples)
    stretches = [whole(LogMel(recording, 80), (0.0,))]
    return identity_of(recording, model or made_up_model(ENGLISH), transcribe_options(options), stretches)


def differences(**asked):
    plain, other = identity(), identity(**asked)
    return sorted(name for name in plain if plain[name] != other[name])


def test_the_identity_of_a_job():
    assert differences() == []
    assert differences(samples=np.zeros(6400, np.float32)[::2]) == []
    assert differences(samples=np.full(3200, 1e-6, np.float32)) == ["recording"]
    assert differences(samples=np.zeros(3199, np.float32)) == ["cut into windows", "recording"]
    assert differences(word_timestamps=True, beam_size=2) == ["beam_size", "word_timestamps"]
    assert differences(languages={"de", "en"}) == ["languages"]
    assert {name for name in vars(TranscribeOptions()) if name != "decoding"} < set(identity())


def test_the_identity_of_a_model():
    model = made_up_model(ENGLISH)
    with torch.no_grad():
        model.decoder.ln.bias[0] += 1e-6
    assert differences(model=model) == ["model"]
    model = made_up_model(ENGLISH)
    model.use_alignment_heads([(1, 1)])
    assert differences(model=model) == ["model"]
    assert differences(model=made_up_model(ENGLISH).bfloat16()) == ["model"]
    model = made_up_model(ENGLISH)
    model.compute_type = "float32"
    assert differences(model=model) == ["compute_type"]


def test_a_recording_on_the_disk_is_known_by_its_sound(tmp_path, recordings):
    from viska.audio import load_audio

    path = recordings / "sense_and_sensibility_0870.wav"
    model, options = made_up_model(ENGLISH), TranscribeOptions()
    by_path, by_samples = (identity_of(Recording(audio), model, options, []) for audio in (path, load_audio(path)))
    assert by_path == by_samples
