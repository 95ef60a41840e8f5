"""How probable it is that a word was said: of ten words with a confidence of 0.8, eight are right.

A logistic regression over what is known of a word and of the words around it, fitted on half of a corpus of recordings
and measured on the other half (`python -m benchmarks.confidence`, docs/guard.md). Platt (1999); Guo et al. (2017).
"""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log, prod
from typing import TypeAlias

from viska.result import Segment
from viska.timing import WordTiming
from viska.transcription.lexicon import lexicon
from viska.transcription.speech import SpeechTrack

Features: TypeAlias = tuple[float, ...]

LEAST_PROBABILITY = 0.001
LEAST_S = 0.02
"""A word takes one position of the audio at least."""
NEAR = 4
"""Words on either side of one that say how well it could be heard there."""

WORD: Features = (0.071, 0.595, 0.346, 0.138, 0.401, 0.475, 0.436, -0.248, -3.36)
"""What is added to, and the weights of `word_features`."""
SEGMENT: Features = (3.56, 0.728, 5.39)
"""What is added to, and the weights of `segment_features`."""


def rate_words(timings: Sequence[WordTiming], language: str | None) -> None:
    """Give the words of a window, written in a language, their confidence. What was put to other words has none."""
    words = [timing for timing in timings if timing.word and timing.sureness]
    for number, timing in enumerate(words):
        timing.confidence = confidence(word_features(words, number, language), WORD)


def with_confidence(segment: Segment, speech: SpeechTrack) -> Segment:
    """The segment with a confidence: the mean of its words', where these have one."""
    rated = [word.confidence for word in segment.words or () if word.confidence is not None]
    if rated:
        return replace(segment, confidence=round(sum(rated) / len(rated), 4))
    return replace(segment, confidence=confidence(segment_features(segment, speech), SEGMENT))


def confidence(features: Features, weights: Features) -> float:
    """The logistic function of the weighted features, 0..1."""
    score = weights[0] + sum(weight * feature for weight, feature in zip(weights[1:], features, strict=True))
    return round(1 / (1 + exp(-max(-20.0, min(score, 20.0)))), 4)


def word_features(words: Sequence[WordTiming], number: int, language: str | None) -> Features:
    """What is known of one of these words of a language.

    How sure the model is of it (log-odds that all of its tokens are right), how sure of the words around it (mean, and
    least), the logarithm of the seconds that it takes, how many tokens, whether it is a number (of which a model seems
    less sure than it is: "7" shares its probability with "seven"), whether a mark follows, and whether the language
    lacks it.
    """
    timing = words[number]
    text = timing.word.strip()
    near = [_sure(word) for word in words[max(number - NEAR, 0) : number + NEAR + 1]]
    beside = [_sure(word) for word in words[max(number - 1, 0) : number + 2]]
    return (
        _sure(timing),
        sum(near) / len(near),
        min(beside),
        log(max(timing.end - timing.start, LEAST_S)),
        float(len(timing.sureness)),
        float(any(letter.isdigit() for letter in text)),
        float(not text[-1:].isalnum()),
        float(lexicon().lacks(text, language)),
    )


def segment_features(segment: Segment, speech: SpeechTrack) -> Features:
    """What is known of a segment without words: how much of it is speech, and how probable its window's text is."""
    return (speech.share(segment.start, segment.end), segment.avg_logprob)


def log_odds(probability: float) -> float:
    """The logarithm of the odds of a probability, which is kept away from 0 and 1."""
    probability = min(max(probability, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    return log(probability / (1 - probability))


def _sure(timing: WordTiming) -> float:
    return log_odds(prod(timing.sureness))
