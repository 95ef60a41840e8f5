"""Recordings whose phrases people timed: the corpus' manifest tells them as `segments` [start, end, text, ...]."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from benchmarks.words.joined import Phrase, Truth


def human_truths(folder: Path, audio: Callable[[str], Path]) -> Iterator[Truth]:
    """Every recording of a manifest that has phrase times; `audio` gives the samples of a path as a file.

    Silence is what lies between two phrases; what lies outside all of them may hold speech that nobody timed.
    """
    for line in map(json.loads, (folder / "manifest.jsonl").read_text().splitlines()):
        if not line.get("segments"):
            continue
        phrases = tuple(Phrase(start, end, text) for start, end, text, *_ in line["segments"])
        gaps = tuple((before.end, behind.start) for before, behind in pairwise(phrases) if behind.start > before.end)
        yield Truth(Path(line["path"]).stem, line["language"], audio(line["path"]), phrases, gaps)
