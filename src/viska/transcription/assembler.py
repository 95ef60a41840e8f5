"""Segments of many windows to one transcript."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from viska.result import GuardEvent, Segment, Transcript
from viska.tokenizer import Tokenizer


class Assembler:
    """Counts the segments, fits them into the recording, and makes the transcript of them.

    With `compat` segments stay as openai/whisper leaves them: blank ones are kept, and ends may lie behind the end of
    the recording.
    """

    def __init__(self, tokenizer: Tokenizer, duration_s: float, *, compat: bool = False) -> None:
        self.tokenizer = tokenizer
        self.duration_s = duration_s
        self.compat = compat
        self.segments: list[Segment] = []
        self.events: list[GuardEvent] = []

    def add(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """The segments of the next window as they stand in the transcript."""
        for segment in segments:
            if not self.compat:
                if not segment.text:
                    continue
                start = min(segment.start, self.duration_s)
                segment = replace(segment, start=start, end=max(start, min(segment.end, self.duration_s)))
            numbered = replace(segment, id=len(self.segments))
            self.segments.append(numbered)
            yield numbered

    def transcript(self, language: str, *, guarded: bool = False) -> Transcript:
        """All that was said so far, and what the guard saw to where there is one."""
        # Decoded together, since a character may be cut in two between segments.
        tokens = [token for segment in self.segments for token in segment.tokens]
        record = tuple(self.events) if guarded else None
        return Transcript(self.tokenizer.decode(tokens), tuple(self.segments), language, record)
