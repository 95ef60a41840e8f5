"""Text, tables and JSON."""

import json
from collections.abc import Mapping
from typing import Any

from viska.formats.channels import with_marks
from viska.formats.cues import milliseconds
from viska.result import DictView


def to_txt(transcript: Mapping[str, Any]) -> str:
    """One segment a line."""
    return "".join(f"{segment['text'].strip()}\n" for segment in with_marks(transcript["segments"]))


def to_tsv(transcript: Mapping[str, Any]) -> str:
    """Start and end in whole milliseconds, and the text with its tabs made spaces; the first line names the columns."""
    rows = ["start\tend\ttext\n"]
    for segment in with_marks(transcript["segments"]):
        start, end = milliseconds(segment["start"]), milliseconds(segment["end"])
        rows.append(f"{start}\t{end}\t{segment['text'].strip().replace(chr(9), ' ')}\n")
    return "".join(rows)


def to_json(transcript: Mapping[str, Any]) -> str:
    """The whole result on one line of ASCII."""
    return json.dumps(transcript, default=_plain)


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, DictView):
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
