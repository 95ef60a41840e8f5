"""One window's tokens to segments with times, and how much of the window they settle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from viska.audio import FRAMES_PER_SECOND
from viska.decoding import DecodingResult
from viska.result import Segment
from viska.tokenizer import Tokenizer
from viska.transcription.planner import Window

FRAMES_PER_TIMESTAMP = 2  # timestamps count 20 ms, mel frames 10 ms
SECONDS_PER_TIMESTAMP = 0.02


@dataclass(frozen=True)
class Split:
    """The segments of a window, and the frames of it that need no second look.

    `ends_closed` says that nothing follows the last segment within the window.
    """

    segments: tuple[Segment, ...]
    consumed: int
    ends_closed: bool


def split(result: DecodingResult, window: Window, tokenizer: Tokenizer, *, least_rest: int = 0) -> Split:
    """Cut a window's tokens where one segment's closing timestamp meets the next one's opening one.

    A window that breaks off within a segment is consumed up to that segment's start, so that the next window hears it
    whole. Where fewer than `least_rest` frames would be left to hear again, what was begun there is a segment too.
    Without a cut the whole window is one segment. Radford et al. (2022), section 4.5.
    """
    tokens = result.tokens
    is_timestamp = [tokenizer.timestamp_begin <= token < tokenizer.timestamp_end for token in tokens]
    cuts = [i + 1 for i, (this, following) in enumerate(pairwise(is_timestamp)) if this and following]
    ends_closed = is_timestamp[-2:] == [False, True]
    if not cuts:
        duration = _last_timestamp(tokens, is_timestamp, tokenizer) * SECONDS_PER_TIMESTAMP or window.duration_s
        segment = _segment(slice(None), window.start_s, window.start_s + duration, result, window, tokenizer)
        return Split((segment,), window.size, ends_closed)

    consumed = (tokens[cuts[-1] - 1] - tokenizer.timestamp_begin) * FRAMES_PER_TIMESTAMP
    if ends_closed:
        cuts.append(len(tokens))  # nothing is said after the last segment
    segments = [
        _segment(
            slice(begin, end),
            window.start_s + (tokens[begin] - tokenizer.timestamp_begin) * SECONDS_PER_TIMESTAMP,
            window.start_s + (tokens[end - 1] - tokenizer.timestamp_begin) * SECONDS_PER_TIMESTAMP,
            result,
            window,
            tokenizer,
        )
        for begin, end in pairwise([0, *cuts])
    ]
    if not ends_closed and window.size - consumed < least_rest:
        begun = slice(cuts[-1], None)
        start = window.start_s + consumed / FRAMES_PER_SECOND
        segments.append(_segment(begun, start, window.start_s + window.duration_s, result, window, tokenizer))
    if ends_closed or window.size - consumed < least_rest:
        return Split(tuple(segments), window.size, ends_closed=True)
    return Split(tuple(segments), consumed, ends_closed)


def _last_timestamp(tokens: Sequence[int], is_timestamp: Sequence[bool], tokenizer: Tokenizer) -> int:
    """The position of the last timestamp, in units of 20 ms; 0 where there is none."""
    positions = [token - tokenizer.timestamp_begin for token, stamp in zip(tokens, is_timestamp, strict=True) if stamp]
    return positions[-1] if positions else 0


def _segment(
    part: slice, start: float, end: float, result: DecodingResult, window: Window, tokenizer: Tokenizer
) -> Segment:
    tokens = result.tokens[part]
    return Segment(
        id=0,  # counted by the assembler
        seek=window.start,
        start=start,
        end=end,
        text=tokenizer.decode(text_tokens(tokens, tokenizer)),
        tokens=tuple(tokens),
        temperature=result.temperature,
        avg_logprob=result.avg_logprob,
        compression_ratio=result.compression_ratio,
        no_speech_prob=result.no_speech_prob,
        token_logprobs=None if result.token_logprobs is None else result.token_logprobs[part],
        top_logprobs=None if result.top_logprobs is None else result.top_logprobs[part],
    )


def text_tokens(tokens: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The tokens that are text: no timestamps and no controls."""
    return [token for token in tokens if token < tokenizer.eot or token >= tokenizer.timestamp_end]


def blanked(segment: Segment) -> Segment:
    """The segment, emptied where it takes no time or says nothing."""
    if segment.start != segment.end and segment.text.strip():
        return segment
    per_token = {"words": segment.words, "token_logprobs": segment.token_logprobs, "top_logprobs": segment.top_logprobs}
    emptied: dict[str, Any] = {name: () for name, values in per_token.items() if values is not None}
    return replace(segment, text="", tokens=(), **emptied)
