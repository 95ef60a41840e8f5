"""Two answers to the same question: equal, close to a tie of the rival's own, or different.

Every function takes the rival's answer first. Tokens, texts and times must be equal; probabilities may differ by
`TOLERANCE`. Tokens may differ only where the rival itself held both choices within `TOLERANCE` of each other.
"""

import math
from dataclasses import dataclass, field
from typing import Any

TOLERANCE = 1e-4
WINDOW_EXACT = ("text", "language", "temperature", "compression_ratio")
WINDOW_CLOSE = ("avg_logprob", "no_speech_prob")
SEGMENT_EXACT = ("id", "seek", "start", "end", "tokens", "text", "temperature", "compression_ratio")


@dataclass(frozen=True)
class Verdict:
    """`status`: equal, different, or tokens (they differ: the rival's margin will tell); `detail` says how."""

    status: str
    detail: str = ""
    deviations: dict[str, float] = field(default_factory=dict)


def deviation(expected: float, found: float) -> float:
    """How far apart two numbers are; two that are both not a number are equal, one alone is infinitely far."""
    if math.isnan(expected) or math.isnan(found):
        return 0.0 if math.isnan(expected) and math.isnan(found) else math.inf
    return abs(expected - found)


def _deviations(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, float]:
    return {name: deviation(expected[name], found[name]) for name in WINDOW_CLOSE}


def _judge(wrong: list[str], deviations: dict[str, float]) -> Verdict:
    wrong = [*wrong, *(f"{name} off by {value:.3g}" for name, value in deviations.items() if not value <= TOLERANCE)]
    return Verdict("different" if wrong else "equal", "; ".join(wrong), deviations)


def compare_window(expected: dict[str, Any], found: dict[str, Any]) -> Verdict:
    """One decoded window against the rival's."""
    if list(expected["tokens"]) != list(found["tokens"]) and expected["language"] == found["language"]:
        return Verdict("tokens", f"tokens {expected['tokens']} against {found['tokens']}")
    wrong = [f"{n} {expected[n]!r} against {found[n]!r}" for n in WINDOW_EXACT if expected[n] != found[n]]
    return _judge(wrong, _deviations(expected, found))


def compare_languages(expected: dict[str, Any], found: dict[str, Any]) -> Verdict:
    """The probabilities of the languages of one window."""
    ours, theirs = found["language_probs"], expected["language_probs"]
    if set(ours) != set(theirs):
        return Verdict("different", f"languages {sorted(set(ours) ^ set(theirs))} on one side only")
    return _judge([], {"language_probs": max(deviation(theirs[code], ours[code]) for code in theirs)})


def compare_transcripts(expected: dict[str, Any], found: dict[str, Any]) -> Verdict:
    """Two transcripts, segment by segment; the detail names the first segment that differs."""
    largest = dict.fromkeys(WINDOW_CLOSE, 0.0)
    pairs = list(zip(expected["segments"], found["segments"], strict=False))
    for theirs, ours in pairs:
        wrong = [f"{n} {theirs[n]!r} against {ours[n]!r}" for n in SEGMENT_EXACT if not _same(theirs[n], ours[n])]
        deviations = _deviations(theirs, ours)
        verdict = _judge(wrong, deviations)
        if verdict.status != "equal":
            return Verdict("different", f"segment {theirs['id']}: {verdict.detail}", deviations)
        largest = {name: max(largest[name], deviations[name]) for name in largest}
    counts = [len(side["segments"]) for side in (expected, found)]
    wrong = [] if counts[0] == counts[1] else [f"{counts[0]} segments against {counts[1]}"]
    wrong += [f"{n} {expected[n]!r} against {found[n]!r}" for n in ("language", "text") if expected[n] != found[n]]
    return _judge(wrong, largest)


def _same(expected: Any, found: Any) -> bool:
    if isinstance(expected, list):
        return expected == list(found)
    if isinstance(expected, float):
        return math.isclose(expected, found, abs_tol=1e-9)
    return bool(expected == found)


def compare_answers(kind: str, expected: Any, found: Any) -> list[Verdict]:
    """A verdict for each window of a case, or one for its transcript."""
    if kind == "transcribe":
        return [compare_transcripts(expected, found)]
    compare = compare_languages if kind == "detect" else compare_window
    return [compare(theirs, ours) for theirs, ours in zip(expected, found, strict=True)]


def margin(score: dict[str, Any], options: dict[str, Any]) -> float:
    """How close the rival holds two token sequences, from its teacher-forced log-probabilities (job `score`).

    Greedy: the difference of the two tokens at the place where the sequences part. Beam search: the difference of the
    two whole sequences' scores, as it ranks them.
    """
    if not options.get("beam_size"):
        first, second = score["rivals"]
    else:
        first, second = (_ranked(steps, options.get("length_penalty")) for steps in score["steps"])
    return deviation(first, second)


def _ranked(steps: list[float], length_penalty: float | None) -> float:
    length = len(steps) - 1
    return sum(steps) / (max(length, 1) if length_penalty is None else ((5 + length) / 6) ** length_penalty)
