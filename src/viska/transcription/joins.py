"""Segments over silence that was left out: they are parted there, so that none claims minutes in which nobody speaks.

The decoder hears what is said before and behind such silence as one, and one segment has both where a sentence goes on.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from viska.result import Segment, Word
from viska.tokenizer import Tokenizer
from viska.transcription.speech import SpeechTrack
from viska.transcription.splitter import text_tokens

LEAST_ON_A_SIDE_S = 0.2
"""Speech on one side of a join that may be a word; with less, the model's times are off."""


def reaches_over(segment: Segment, speech: SpeechTrack, joins_s: Sequence[float]) -> bool:
    """Whether somebody speaks under a segment on both sides of a join: its words are to tell where to part it."""
    return bool(segment.text.strip()) and any(
        min(speech.spoken_s(segment.start, join_s), speech.spoken_s(join_s, segment.end)) >= LEAST_ON_A_SIDE_S
        for join_s in joins_s
        if segment.start < join_s < segment.end
    )


def parted(segment: Segment, joins_s: Sequence[float], tokenizer: Tokenizer) -> list[Segment]:
    """The segment in parts, each with its words on one side of every join, and there alone.

    Itself where it has no words, or where these do not tell its text.
    """
    groups = [tuple(words) for _, words in groupby(segment.words or (), lambda word: bisect(joins_s, _middle_s(word)))]
    cuts = _cuts(groups, segment.tokens, tokenizer)
    if not groups or cuts is None:
        return [segment]
    if not cuts:
        return [_beside_joins(segment, joins_s)]
    bounds = pairwise([0, *cuts, len(segment.tokens)])
    parts = [_part(segment, slice(*tokens), words, tokenizer) for tokens, words in zip(bounds, groups, strict=True)]
    return [_beside_joins(part, joins_s) for part in parts]


def _middle_s(word: Word) -> float:
    return (word.start + word.end) / 2


def _cuts(groups: Sequence[Sequence[Word]], tokens: Sequence[int], tokenizer: Tokenizer) -> list[int] | None:
    """Behind which tokens each group of words but the last ends; None where that cannot be told."""
    text, cuts = "", []
    for words in groups[:-1]:
        text += "".join(word.word for word in words)
        heads = (n for n in range(len(tokens)) if tokenizer.decode(text_tokens(tokens[:n], tokenizer)) == text)
        cut = next(heads, None)
        if cut is None:
            return None
        cuts.append(cut)
    return cuts


def _part(segment: Segment, part: slice, words: tuple[Word, ...], tokenizer: Tokenizer) -> Segment:
    tokens = segment.tokens[part]
    return replace(
        segment,
        start=words[0].start,
        end=words[-1].end,
        text=tokenizer.decode(text_tokens(tokens, tokenizer)),
        tokens=tokens,
        words=words,
        token_logprobs=None if segment.token_logprobs is None else segment.token_logprobs[part],
        top_logprobs=None if segment.top_logprobs is None else segment.top_logprobs[part],
    )


def _beside_joins(segment: Segment, joins_s: Sequence[float]) -> Segment:
    """The segment without what it claims on the other side of a join, where none of its words is."""
    assert segment.words
    number = bisect(joins_s, _middle_s(segment.words[0]))
    return replace(
        segment,
        start=max([segment.start, *joins_s[:number][-1:]]),
        end=min([segment.end, *joins_s[number:][:1]]),
    )
