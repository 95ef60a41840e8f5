"""Decoding a window again, hotter, until its text looks sound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from viska.decoding import DecodingResult


@dataclass(frozen=True)
class Thresholds:
    """What text must pass; None switches a test off."""

    compression_ratio: float | None
    logprob: float | None
    no_speech: float | None

    def repetitive(self, result: DecodingResult) -> bool:
        """Whether the text compresses too well to be speech."""
        return self.compression_ratio is not None and result.compression_ratio > self.compression_ratio

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
        unsound = self.repetitive(result) or self.improbable(result)
        hopeless = self.no_speech is not None and result.no_speech_prob > self.no_speech and self.improbable(result)
        return unsound and not hopeless


def decode_with_fallback(
    attempt: Callable[[float], DecodingResult],
    temperatures: Sequence[float],
    thresholds: Thresholds,
    *,
    keep_last: bool = False,
) -> DecodingResult:
    """The first result that passes the thresholds, trying one temperature after the other.

    Where all fail: with `keep_last` the last one, as in openai/whisper, else the best one.
    """
    failures: list[DecodingResult] = []
    for temperature in temperatures:
        result = attempt(temperature)
        if not thresholds.failed(result):
            return result
        failures.append(result)
    return failures[-1] if keep_last else best_of_failures(failures, thresholds)


def best_of_failures(failures: Sequence[DecodingResult], thresholds: Thresholds) -> DecodingResult:
    """The most probable of those that do not repeat themselves, or of all where all do; the first of equals."""
    candidates = [result for result in failures if not thresholds.repetitive(result)] or failures
    return max(candidates, key=lambda result: result.avg_logprob)
