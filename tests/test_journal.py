"""The journal of a long job: what is appended is what is read, whatever was cut off."""

import errno
import json
import os
import string
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
from viska.result import Segment, TokenAlternative, Word
from viska.transcription import TranscribeOptions
from viska.transcription.journal import Checkpoint, Identity, JournalWriter, identity_of, read_journal

JOB = Identity("a" * 64, "b" * 64, "c" * 64, "1.0")

times = st.floats(0, 1e6)
texts = st.text(max_size=20)
tokens = st.lists(st.integers(0, 51865), max_size=9).map(tuple)
words = st.builds(Word, word=texts, start=times, end=times, probability=st.floats(0, 1))
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
)
checkpoints = st.builds(
    Checkpoint,
    seek=st.integers(0, 10**7),
    clip=st.integers(0, 9),
    history=tokens,
    initial_in_reach=st.booleans(),
    last_speech_s=times,
    language=st.none() | st.sampled_from(["en", "yue"]),
    language_probs=st.none()
    | st.dictionaries(st.text(string.ascii_lowercase, max_size=3), st.floats(0, 1), max_size=3),
    segments=st.lists(segments, max_size=3).map(tuple),
)


@st.composite
def jobs(draw):
    """Checkpoints of which most build on the one before, as those of a recording do."""
    found = [draw(checkpoints)]
    for _ in range(draw(st.integers(0, 4))):
        following = draw(checkpoints)
        if draw(st.booleans()):
            last = found[-1]
            following = replace(
                following, history=last.history + following.history, segments=last.segments + following.segments
            )
        found.append(following)
    return found


def written(path, checkpoints, identity=JOB):
    path.unlink(missing_ok=True)
    with JournalWriter(path, identity) as journal:
        for checkpoint in checkpoints:
            journal.append(checkpoint)
    return path.read_bytes()


SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@SHARED_FOLDER
@given(jobs())
def test_what_is_appended_is_what_is_read(tmp_path, job):
    path = tmp_path / "journal"
    path.unlink(missing_ok=True)
    assert read_journal(path, JOB) is None
    with JournalWriter(path, JOB) as journal:
        assert read_journal(path, JOB) is None
        for checkpoint in job:
            journal.append(checkpoint)
            assert read_journal(path, JOB) == checkpoint


@SHARED_FOLDER
@given(jobs(), st.data())
def test_a_file_that_was_cut_anywhere_gives_a_checkpoint_and_can_be_gone_on_with(tmp_path, job, data):
    path = tmp_path / "journal"
    whole = written(path, job)
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    n_whole = sum(end <= cut for end in ends) - 1  # without the first line
    assert read_journal(path, JOB) == (job[n_whole - 1] if n_whole > 0 else None)
    with JournalWriter(path, JOB) as journal:
        for checkpoint in job[max(n_whole, 0) :]:
            journal.append(checkpoint)
    assert path.read_bytes() == whole


@SHARED_FOLDER
@given(jobs(), st.data())
def test_damage_is_never_taken_for_a_checkpoint_of_another_kind(tmp_path, job, data):
    """A wrong byte gives an earlier state, an error, or, where it hits a value, another value; nothing else."""
    path = tmp_path / "journal"
    whole = bytearray(written(path, job))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        checkpoint = read_journal(path, JOB)
    except OptionError:
        return
    assert checkpoint is None or all(isinstance(segment, Segment) for segment in checkpoint.segments)


def test_a_line_has_only_what_is_new(tmp_path):
    path = tmp_path / "journal"
    first = Checkpoint(seek=100, history=(1, 2, 3), language="en", language_probs={"en": 0.9, "de": 0.1})
    second = replace(first, seek=200, history=(1, 2, 3, 4, 5))
    third = replace(second, seek=300, history=(), initial_in_reach=False)
    lines = [json.loads(line) for line in written(path, [first, second, third]).splitlines()]
    assert lines[0] == {
        "viska_journal": 1,
        "audio": JOB.audio,
        "model": JOB.model,
        "options": JOB.options,
        "version": "1.0",
    }
    assert lines[2:] == [
        {"seek": 200, "history": [3, [4, 5]]},
        {"seek": 300, "history": [0, []], "initial_in_reach": False},
    ]
    assert read_journal(path, JOB) == third


@pytest.mark.parametrize("field", ["audio", "model", "options", "version"])
def test_a_journal_serves_no_other_job(tmp_path, field):
    path = tmp_path / "journal"
    before = written(path, [Checkpoint(seek=5)])
    other = replace(JOB, **{field: "other"})
    for touch in (read_journal, JournalWriter):
        with pytest.raises(OptionError, match=f"belongs to another job: its {field} differs; .*remove the journal"):
            touch(path, other)
    assert path.read_bytes() == before


def test_a_journal_of_another_format(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(written(path, []).replace(b'"viska_journal":1', b'"viska_journal":2'))
    with pytest.raises(OptionError, match="its format differs"):
        read_journal(path, JOB)


@pytest.mark.parametrize(
    "content", [b"my diary\n", b"{}\n", b"[]\n", b"\0" * 99, b'{"viska_journal": 1}\n', b"{" * 9999, b"x"]
)
def test_a_file_of_the_user_is_left_alone(tmp_path, content):
    path = tmp_path / "journal"
    path.write_bytes(content)
    for touch in (read_journal, JournalWriter):
        with pytest.raises(OptionError, match="is no journal of Viska's, and is left alone"):
            touch(path, JOB)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0\0\n",
        b"5\n",
        b'{"seek":"x"}\n',
        b'{"seek":true}\n',
        b'{"sought":5}\n',
        b'{"history":[9,[1]]}\n',
        b'{"history":[0,["1"]]}\n',
        b'{"history":5}\n',
        b'{"segments":[0,[{"id":1}]]}\n',
        b'{"segments":[0,[5]]}\n',
        b'{"language_probs":[1]}\n',
        b"[" * 99999 + b"\n",
    ],
    ids=range(12),
)
def test_a_damaged_line_and_all_behind_it_are_done_again(tmp_path, line, caplog):
    path = tmp_path / "journal"
    whole = written(path, [Checkpoint(seek=1), Checkpoint(seek=2)])
    path.write_bytes(whole + line + b'{"seek":4}\n')
    assert read_journal(path, JOB) == Checkpoint(seek=2)
    assert "line 4 is not whole" in caplog.text
    with JournalWriter(path, JOB) as journal:
        journal.append(Checkpoint(seek=3))
    assert path.read_bytes() == whole + b'{"seek":3}\n'


def test_a_journal_that_cannot_be_read_or_written(tmp_path, monkeypatch):
    with pytest.raises(OptionError, match="cannot be read: Is a directory"):
        read_journal(tmp_path, JOB)
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot be read: Not a directory"):
        JournalWriter(tmp_path / "file" / "journal", JOB)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with JournalWriter(tmp_path / "new" / "journal", JOB) as journal:
        journal.append(Checkpoint(seek=1))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="cannot be written: No space left on device"):
            journal.append(Checkpoint(seek=2))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="signals are those of Unix")
def test_what_was_appended_survives_a_kill(tmp_path):
    code = """
from viska.transcription.journal import *
with JournalWriter(sys.argv[1], Identity("a", "m", "o", "v")) as journal:
    journal.append(Checkpoint(seek=7, history=(1, 2)))
    os.kill(os.getpid(), 9)
"""
    child = in_a_child(code, tmp_path / "journal")
    assert child.returncode == -9, child.stderr
    assert read_journal(tmp_path / "journal", Identity("a", "m", "o", "v")) == Checkpoint(seek=7, history=(1, 2))


def test_the_identity_of_a_job():
    model, samples, options = made_up_model(ENGLISH), np.zeros(100, np.float32), TranscribeOptions()
    identity = identity_of(samples, model, options)
    assert identity_of(samples.copy(), made_up_model(ENGLISH), TranscribeOptions()) == identity
    assert identity_of(samples[:-1], model, options).differences(identity) == ["audio"]
    assert identity_of(samples, model, TranscribeOptions(word_timestamps=True)).differences(identity) == ["options"]
    with torch.no_grad():
        model.decoder.ln.bias[0] += 1e-6
    assert identity_of(samples, model, options).differences(identity) == ["model"]
    half = made_up_model(ENGLISH).half()
    assert identity_of(samples, half, options).differences(identity) == ["model"]
    assert identity_of(samples, made_up_model(ENGLISH).bfloat16(), options) != identity_of(samples, half, options)
