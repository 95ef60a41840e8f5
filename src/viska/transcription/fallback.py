"""Decoding a window again, hotter, until its text looks sound."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from viska.decoding import DecodingResult

A = TypeVar("A")


@dataclass(frozen=True)
class Thresholds:
    """What text must pass; None switches a test off.

    `looping` tells text that goes round in circles. `speechless` says that nobody speaks in the window: improbable text
    is what one expects then, and not worth a second decoding.
    """

    compression_ratio: float | None
    logprob: float | None
    no_speech: float | None
    looping: Callable[[DecodingResult], bool] | None = None
    speechless: bool = False

    def repetitive(self, result: DecodingResult) -> bool:
        """Whether the text compresses too well to be speech, or goes round in circles."""
        compressible = self.compression_ratio is not None and result.compression_ratio > self.compression_ratio
        return compressible or (self.looping is not None and self.looping(result))

    def improbable(self, result: DecodingResult) -> bool:
        """Whether the model itself thinks little of the text."""
        return self.logprob is not None and result.avg_logprob < self.logprob

    def silent(self, result: DecodingResult) -> bool:
        """Whether the window is to be skipped: probably no speech, and no text that says otherwise with confidence."""
        if self.no_speech is None or not result.no_speech_prob > self.no_speech:
            return False
        return self.logprob is None or not result.avg_logprob > self.logprob

    def failed(self, result: DecodingResult) -> bool:
        """Whether the text is to be decoded again; improbable text of a window without speech is not worth it."""
        unsound = not self.speechless and (self.repetitive(result) or self.improbable(result))
        hopeless = self.no_speech is not None and result.no_speech_prob > self.no_speech and self.improbable(result)
        return unsound and not hopeless


def decode_with_fallback(
    attempts: Iterable[A], thresholds: Thresholds, *, keep_last: bool = False
) -> Generator[A, DecodingResult, DecodingResult]:
    """The first result that passes the thresholds: yields one attempt after the other and is sent what came of it.

    Where all fail: with `keep_last` the last one, as in openai/whisper, else the best one.
    """
    failures: list[DecodingResult] = []
    for attempt in attempts:
        result = yield attempt
        if not thresholds.failed(result):
            return result
        failures.append(result)
    return failures[-1] if keep_last else best_of_failures(failures, thresholds)


def best_of_failures(failures: Sequence[DecodingResult], thresholds: Thresholds) -> DecodingResult:
    """The most probable of those that do not repeat themselves, or of all where all do; the first of equals."""
    candidates = [result for result in failures if not thresholds.repetitive(result)] or failures
    return max(candidates, key=lambda result: result.avg_logprob)
