"""Bodies and events: pure functions of transcripts."""

import json

from hypothesis import given
from hypothesis import strategies as st

from serving import letters, segment
from viska.result import GuardEvent, Transcript
from viska.server.answers import json_body, plain_body, seconds, verbose_json
from viska.server.fields import Wanted
from viska.server.recogniser import Job
from viska.server.stream import END, EventWriter, TextStream, frame


def spoken(*texts: str, words: bool = False) -> Transcript:
    return Transcript("".join(texts), tuple(segment(i, text, words) for i, text in enumerate(texts)), "en")


def asked(response_format: str = "json", granularities=("segment",), **more) -> Wanted:
    return Wanted("transcribe", "base", response_format, granularities=frozenset(granularities), **more)


def test_json_has_the_text_and_what_would_be_billed():
    body = json_body(spoken(" One.", " Two."), asked(), 4.0, letters)
    assert body == {"text": "One. Two.", "usage": {"type": "duration", "seconds": 4.0}}


def test_log_probabilities_come_with_their_tokens_as_text_and_bytes():
    body = json_body(spoken(" é"), asked(logprobs=True), 2.0, letters)
    assert [entry["bytes"] for entry in body["logprobs"]] == [[32], [0xC3], [0xA9]]
    assert body["logprobs"][0] == {"token": " ", "logprob": -0.5, "bytes": [32]}
    assert body["logprobs"][1]["token"] == "\ufffd"


def test_tokens_without_text_have_no_log_probability_to_show():
    body = json_body(spoken(" A"), asked(logprobs=True), 2.0, lambda token: b"" if token == 32 else bytes([token]))
    assert [entry["token"] for entry in body["logprobs"]] == ["A"]


def test_verbose_json_has_what_was_asked_for():
    transcript = spoken(" One two.", words=True)
    for granularities in (["segment"], ["word"], ["word", "segment"]):
        body = verbose_json(transcript, asked("verbose_json", granularities), 2.0)
        assert ("segments" in body, "words" in body) == ("segment" in granularities, "word" in granularities)
    assert body["language"] == "english"
    assert body["duration"] == 2.0
    assert body["words"][0] == {"word": "One", "start": 0.0, "end": 1.0, "probability": 0.9}
    assert body["segments"][0]["text"] == " One two."
    assert body["segments"][0]["tokens"] == list(b" One two.")
    assert list(body["segments"][0]) == [
        *("id", "seek", "start", "end", "text", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"),
        "tokens",
    ]


def test_verbose_json_tells_what_was_dropped_and_stands_a_recording_without_speech():
    event = GuardEvent(1.0, 2.0, "dropped", "no speech there", " Thank you.")
    body = verbose_json(Transcript("", (), "", (event,)), asked("verbose_json"), 2.0)
    assert body["record"] == [event.to_dict()]
    assert (body["language"], body["text"], body["segments"]) == ("", "", [])


def test_plain_bodies():
    transcript = spoken(" One.", " Two.")
    assert plain_body(transcript, "text") == "One. Two.\n"
    assert plain_body(transcript, "srt").startswith("1\n00:00:00,000 --> 00:00:02,000\nOne.\n\n2\n")
    assert plain_body(transcript, "vtt").startswith("WEBVTT\n\n00:00.000 --> 00:02.000\nOne.\n")


def test_seconds_are_rounded_to_the_millisecond():
    assert seconds(6.960000038146973) == 6.96


@given(st.lists(st.binary(max_size=6), max_size=8))
def test_pieces_of_a_stream_join_to_the_text_of_all_tokens(parts):
    stream = TextStream(letters)
    pieces = [stream.feed(tuple(part)) for part in parts]
    pieces.append(stream.feed((), final=True))
    assert "".join(pieces) == b"".join(parts).decode("utf-8", errors="replace").strip()
    assert all(piece == piece.rstrip() for piece in pieces)


def test_a_character_in_two_segments_comes_whole():
    stream = TextStream(letters)
    assert [stream.feed(b" na"), stream.feed(b"\xc3"), stream.feed(b"\xafve")] == ["na", "", "ïve"]


def events_of(wanted: Wanted, transcript: Transcript) -> list[dict]:
    job = Job(b"", "base", {})
    job.token_bytes, job.duration_s = letters, 4.0
    writer = EventWriter(wanted, job)
    events = [event for part in transcript.segments for event in writer.segment(part)]
    events += [event for event in [writer.progress()] if event]
    return [*events, *writer.done(transcript)]


def test_a_stream_is_deltas_and_one_end():
    events = events_of(asked(), spoken(" One.", " ", " Two. "))
    assert [event["type"] for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert [event.get("delta") for event in events] == ["One.", "  Two.", None]
    assert events[-1] == {
        "type": "transcript.text.done",
        "text": "One.  Two.",
        "usage": {"type": "duration", "seconds": 4.0},
    }


def test_a_verbose_stream_tells_segments_words_and_progress():
    transcript = spoken(" One.", words=True)
    events = events_of(asked("verbose_json", ["word", "segment"]), transcript)
    assert events[0]["segment"]["words"][0]["word"] == "One."
    assert events[1] == {"type": "transcript.progress", "position": 0.0, "duration": 4.0}
    assert events[-1]["segments"][0]["text"] == " One."
    assert events[-1]["text"] == "One."


def test_log_probabilities_stream_with_their_deltas_and_come_all_at_the_end():
    events = events_of(asked(logprobs=True), spoken(" A", " B"))
    assert [len(event["logprobs"]) for event in events] == [2, 2, 4]


@given(st.text())
def test_a_frame_is_one_line_and_reads_back(text):
    lines = frame({"type": "x", "delta": text}).decode().split("\n")
    assert len(lines) == 3
    assert json.loads(lines[0].removeprefix("data: "))["delta"] == text
    assert END == b"data: [DONE]\n\n"
