"""How probable it is that a word was said: of ten words with a confidence of 0.8, eight are right.

A logistic regression over what is known of a word and of its window, fitted on half of a corpus of recordings and
measured on the other half (`python -m benchmarks.confidence`, docs/guard.md). Platt (1999); Guo et al. (2017).
"""

from dataclasses import replace
from math import exp, log
from typing import TypeAlias

from viska.result import Segment, Word
from viska.transcription.speech import SpeechTrack

Features: TypeAlias = tuple[float, ...]

AROUND_S = 0.1
"""Of a word: its times are not sharper."""
LEAST_PROBABILITY = 0.001

WORD = (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""What is added to, and the weights of `word_features`."""
SEGMENT = (0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
"""What is added to, and the weights of `segment_features`."""


def with_confidence(segment: Segment, speech: SpeechTrack) -> Segment:
    """The segment and its words, each with a confidence; that of a segment with words is their mean."""
    if segment.words:
        words = tuple(
            replace(word, confidence=confidence(word_features(word, segment, speech), WORD)) for word in segment.words
        )
        mean = sum(word.confidence or 0.0 for word in words) / len(words)
        return replace(segment, words=words, confidence=round(mean, 4))
    return replace(segment, confidence=confidence(segment_features(segment, speech), SEGMENT))


def confidence(features: Features, weights: Features) -> float:
    """The logistic function of the weighted features, 0..1."""
    score = weights[0] + sum(weight * feature for weight, feature in zip(weights[1:], features, strict=True))
    return round(1 / (1 + exp(-max(-20.0, min(score, 20.0)))), 4)


def word_features(word: Word, segment: Segment, speech: SpeechTrack) -> Features:
    """What is known of a word: its probability as log-odds, its length, its speech, and its window."""
    return (
        log_odds(word.probability),
        _oddness(word.end - word.start, word.word),
        speech.share(word.start - AROUND_S, word.end + AROUND_S),
        *_window_features(segment),
    )


def segment_features(segment: Segment, speech: SpeechTrack) -> Features:
    """What is known of a segment: its speech and its window."""
    return (speech.share(segment.start, segment.end), *_window_features(segment))


def _window_features(segment: Segment) -> Features:
    return (
        segment.avg_logprob,
        segment.no_speech_prob,
        min(segment.compression_ratio, 3.0),
        segment.temperature,
    )


def log_odds(probability: float) -> float:
    """The logarithm of the odds of a probability, which is kept away from 0 and 1."""
    probability = min(max(probability, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    return log(probability / (1 - probability))


def _oddness(duration_s: float, text: str) -> float:
    """How far a word is from the length that its letters let expect, as the absolute logarithm of the ratio."""
    letters = len(text.strip())
    return abs(log((max(duration_s, 0.0) + 0.05) / (0.1 + 0.06 * letters)))
