"""Segments to the events of a streamed answer, and events to the lines of `text/event-stream`."""

import codecs
import json
from collections.abc import Iterator
from typing import Any

from viska.result import Segment, Transcript
from viska.server.answers import json_body, logprobs_of, segment_json, usage, verbose_json, word_json
from viska.server.fields import Wanted
from viska.server.recogniser import Job, TokenBytes

Event = dict[str, Any]
END = b"data: [DONE]\n\n"
STILL_HERE = b": working\n\n"


def frame(event: Event) -> bytes:
    """An event on its line."""
    return b"data: " + json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


class TextStream:
    """Tokens to text, piece by piece; joined, the pieces are the text of all tokens, stripped.

    Space at the end is held back until more follows, and so are the first bytes of a character that is cut in two.
    """

    def __init__(self, token_bytes: TokenBytes) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._begun = False

    def feed(self, tokens: Iterator[int] | tuple[int, ...], *, final: bool = False) -> str:
        """The text that is certain by now, and was not given before."""
        text = self._held + self._decoder.decode(b"".join(map(self._token_bytes, tokens)), final)
        if not self._begun:
            text = text.lstrip()
        piece = text.rstrip()
        self._held = text[len(piece) :]
        self._begun = self._begun or bool(piece)
        return piece


class EventWriter:
    """The events of one job, in order: text as it comes, and at the end all of it once more."""

    def __init__(self, wanted: Wanted, job: Job) -> None:
        self.wanted = wanted
        self.job = job
        self.verbose = wanted.response_format == "verbose_json"
        self._text = TextStream(lambda token: job.token_bytes(token))
        self._sent: list[str] = []

    def segment(self, segment: Segment) -> Iterator[Event]:
        """A segment, if it has text."""
        if piece := self._text.feed(segment.tokens):
            yield self._delta(piece, segment)

    def progress(self) -> Event | None:
        """How far it is, for those who asked for everything."""
        if not self.verbose:
            return None
        return {"type": "transcript.progress", "position": self.job.position_s, "duration": self.job.duration_s}

    def done(self, transcript: Transcript) -> Iterator[Event]:
        """What was held back, and the whole."""
        if rest := self._text.feed((), final=True):
            yield self._delta(rest, None)
        event: Event = {"type": "transcript.text.done", "text": "".join(self._sent)}
        if self.verbose:
            event |= {**verbose_json(transcript, self.wanted, self.job.duration_s), "text": event["text"]}
        elif self.wanted.logprobs:
            event |= {"logprobs": json_body(transcript, self.wanted, 0.0, self.job.token_bytes)["logprobs"]}
        yield {**event, "usage": usage(self.job.duration_s)}

    def _delta(self, piece: str, segment: Segment | None) -> Event:
        self._sent.append(piece)
        event: Event = {"type": "transcript.text.delta", "delta": piece}
        if segment is None:
            return event
        if self.wanted.logprobs:
            event["logprobs"] = list(logprobs_of([segment], self.job.token_bytes))
        if self.verbose:
            event["segment"] = segment_json(segment)
            if segment.words is not None:
                event["segment"]["words"] = [word_json(word) for word in segment.words]
        return event
