"""A transcript as the bodies that the clients of the hosted API read. Pure functions."""

from collections.abc import Iterable, Iterator
from typing import Any

from viska.formats import to_srt, to_vtt
from viska.languages import LANGUAGES
from viska.result import Segment, Transcript, Word
from viska.server.fields import Wanted
from viska.server.recogniser import TokenBytes

SEGMENT_FIELDS = (
    "id",
    "seek",
    "start",
    "end",
    "text",
    "temperature",
    "avg_logprob",
    "compression_ratio",
    "no_speech_prob",
)
CONTENT_TYPES = {
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


def plain_body(transcript: Transcript, response_format: str) -> str:
    """The body of text, srt or vtt."""
    if response_format == "srt":
        return to_srt(transcript)
    if response_format == "vtt":
        return to_vtt(transcript)
    return transcript.text.strip() + "\n"


def json_body(transcript: Transcript, wanted: Wanted, duration_s: float, token_bytes: TokenBytes) -> dict[str, Any]:
    """The body of json or verbose_json."""
    if wanted.response_format == "verbose_json":
        return verbose_json(transcript, wanted, duration_s)
    body: dict[str, Any] = {"text": transcript.text.strip()}
    if wanted.logprobs:
        body["logprobs"] = list(logprobs_of(transcript.segments, token_bytes))
    return {**body, "usage": usage(duration_s)}


def verbose_json(transcript: Transcript, wanted: Wanted, duration_s: float) -> dict[str, Any]:
    """Everything, with segments and words as far as they were asked for.

    `record` is ours: what was left out, replaced or found at a second look.
    """
    body: dict[str, Any] = {
        "task": wanted.task,
        "language": LANGUAGES.get(transcript.language, transcript.language),  # none where there was no speech
        "duration": seconds(duration_s),
        "text": transcript.text.strip(),
    }
    if "segment" in wanted.granularities:
        body["segments"] = [segment_json(segment) for segment in transcript.segments]
    if "word" in wanted.granularities:
        body["words"] = [word_json(word) for segment in transcript.segments for word in segment.words or ()]
    if transcript.record:
        body["record"] = [event.to_dict() for event in transcript.record]
    return {**body, "usage": usage(duration_s)}


def segment_json(segment: Segment) -> dict[str, Any]:
    """A segment; its times to the millisecond."""
    body = {name: segment[name] for name in SEGMENT_FIELDS}
    return {**body, "start": seconds(segment.start), "end": seconds(segment.end), "tokens": list(segment.tokens)}


def word_json(word: Word) -> dict[str, Any]:
    """A word without the space before it; `probability` is ours."""
    return {
        "word": word.word.strip(),
        "start": seconds(word.start),
        "end": seconds(word.end),
        "probability": round(word.probability, 4),
    }


def logprobs_of(segments: Iterable[Segment], token_bytes: TokenBytes) -> Iterator[dict[str, Any]]:
    """The log-probability of each token that has text."""
    for segment in segments:
        for token, logprob in zip(segment.tokens, segment.token_logprobs or (), strict=False):
            if raw := token_bytes(token):
                yield {"token": raw.decode("utf-8", errors="replace"), "logprob": logprob, "bytes": list(raw)}


def usage(duration_s: float) -> dict[str, Any]:
    """What would be billed."""
    return {"type": "duration", "seconds": seconds(duration_s)}


def seconds(value: float) -> float:
    """Seconds to the millisecond."""
    return round(float(value), 3)
