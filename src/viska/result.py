"""The one result type: what Python, the command line and every writer get.

Frozen dataclasses that also read like the dicts of openai/whisper: `result["segments"][0]["text"]`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


class DictView(Mapping[str, Any]):
    """A dataclass that reads like a dict of its fields; a field that is None and optional is absent."""

    __slots__ = ()
    _absent_when_none: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Any:
        if key not in set(self):
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if field.name in self._absent_when_none and getattr(self, field.name) is None:
                continue
            yield field.name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, in the layout of openai/whisper's results, ready for `json.dumps`."""
        return {key: _plain(self[key]) for key in self}


def _plain(value: Any) -> Any:
    if isinstance(value, DictView):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True, slots=True, eq=True)
class Word(DictView):
    """One word; `start` and `end` in seconds, `word` with its leading space, `probability` in 0..1.

    `probability` is the model's own; `confidence` is how often words like it are right, where the guard is on.
    """

    _absent_when_none = ("confidence",)

    word: str
    start: float
    end: float
    probability: float
    confidence: float | None = None


@dataclass(frozen=True, slots=True, eq=True)
class TokenAlternative(DictView):
    """A token that could stand at a place: `id`, `text` (the name of a control or timestamp), log-probability."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True, eq=True)
class Segment(DictView):
    """A stretch of speech with its text.

    `start` and `end` are seconds; `seek` is the mel frame (10 ms) at which its window began; `tokens` include the
    timestamp tokens. `temperature`, `avg_logprob`, `compression_ratio` and `no_speech_prob` are those of the window and
    shared by all its segments. What was not asked for is None: `words`; the `language` (a code), which a recording with
    several of them has per window; for each token its log-probability and the likeliest tokens in its place; and the
    `channel`, counted from 0, where each was transcribed apart. `confidence` is the share of its words that one may
    expect to be right, where the guard is on.
    """

    _absent_when_none = ("words", "language", "token_logprobs", "top_logprobs", "channel", "confidence")

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] | None = None
    language: str | None = None
    token_logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[tuple[TokenAlternative, ...], ...] | None = None
    channel: int | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, eq=True)
class GuardEvent(DictView):
    """Something that the guard saw to, between two times in seconds.

    `action` is "dropped" for text that is not in the transcript, "decoded again" for text that was replaced,
    "recovered" for speech whose text was found at a second look, and "left" for speech without any sound text. `reason`
    says why, and `text` is what was dropped, replaced or recovered. `channel`, from 0, is there where each was
    transcribed apart.
    """

    _absent_when_none = ("channel",)

    start: float
    end: float
    action: str
    reason: str
    text: str
    channel: int | None = None


@dataclass(frozen=True, slots=True, eq=True)
class Transcript(DictView):
    """The text of a recording, its segments in order, and its language (a code such as "en").

    `record` is what the guard saw to, in order; None where it was off.
    """

    _absent_when_none = ("record",)

    text: str
    segments: tuple[Segment, ...]
    language: str
    record: tuple[GuardEvent, ...] | None = None

    @property
    def words(self) -> tuple[Word, ...]:
        """All words in order; none where they were not asked for."""
        return tuple(word for segment in self.segments for word in segment.words or ())

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write it in the format of the path's ending; see `viska.formats.save`, which takes the same options.

        >>> transcript.save("talk.srt", preset="tv")
        """
        from viska.formats import save

        return save(self, path, **options)
