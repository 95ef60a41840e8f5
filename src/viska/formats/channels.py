"""Transcripts of several channels: who speaks is told in the text, since most formats have no other place for it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any


def mark(segment: Mapping[str, Any]) -> str:
    """What stands before the text of a segment to tell its channel; nothing where it has none."""
    channel = segment.get("channel")
    return "" if channel is None else f" [CHANNEL_{channel}]:"


def with_marks(segments: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The segments, each behind one of another channel with a mark before its text, and before its first word."""
    marks = [mark(segment) for segment in segments]
    turns = [True, *(before != after for before, after in pairwise(marks))]
    return [
        _marked(segment, label) if label and turn and segment["text"].strip() else segment
        for segment, label, turn in zip(segments, marks, turns, strict=False)
    ]


def by_channel(transcript: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The transcript with marks: a part for each channel; itself where there are none."""
    segments = transcript["segments"]
    channels = {segment.get("channel"): None for segment in segments}  # in order
    if not set(channels) - {None}:
        yield transcript
        return
    marked = with_marks(segments)
    for channel in channels:
        yield {**transcript, "segments": [segment for segment in marked if segment.get("channel") == channel]}


def _marked(segment: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    changes: dict[str, Any] = {"text": label + _spaced(segment["text"])}
    if words := segment.get("words"):
        first = {**words[0], "word": label + _spaced(words[0]["word"])}
        changes["words"] = [first, *words[1:]]
    return {**segment, **changes}


def _spaced(text: str) -> str:
    return text if text[:1].isspace() else f" {text}"
