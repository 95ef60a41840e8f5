"""Cases through both sides, and their verdicts into a report."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.parity.cases import Case
from benchmarks.parity.compare import TOLERANCE, Verdict, compare_answers, margin
from benchmarks.parity.report import Report
from benchmarks.parity.rival import Answer

Ask = Callable[[list[dict[str, Any]]], list[Answer]]
"""Gives the rival's answers to jobs, one for each, in order."""


class Answering(Protocol):
    """What gives Viska's answer to a case."""

    def answer(self, case: Case) -> Any:
        """The answer in the rival's layout."""


@dataclass(frozen=True)
class Parting:
    """A window whose tokens differ: what is needed to ask the rival how close its choice was."""

    case: Case
    audio: Path
    label: str
    expected: dict[str, Any]
    found: dict[str, Any]

    def job(self) -> dict[str, Any]:
        """The rival's job that scores both sequences."""
        options = {**self.case.options, "language": self.expected["language"]}
        sequences = [list(side["tokens"]) for side in (self.expected, self.found)]
        job = {"kind": "score", "options": options, "sequences": sequences, "audio": [str(self.audio)]}
        return {**job, "label": f"score {self.label}"}


def compare_model(name: str, cases: Sequence[Case], ours: Answering, rival: Ask, report: Report) -> None:
    """Run every case on both sides, the rival first, and add a verdict for each window or transcript."""
    jobs = [case.jobs() for case in cases]
    answers = iter(rival([job for group in jobs for job in group]))
    for number, (case, group) in enumerate(zip(cases, jobs, strict=True), 1):
        for label, verdict in _compare_case(case, [next(answers) for _ in group], ours, rival):
            report.add(name, case.setting.name, label, verdict)
        print(f"viska {name} {number}/{len(cases)} {case.label}", file=sys.stderr, flush=True)


def _compare_case(case: Case, theirs: list[Answer], ours: Answering, rival: Ask) -> list[tuple[str, Verdict]]:
    """Labels and verdicts of one case; where tokens differ, the rival is asked how close its choice was."""
    kind = case.setting.kind
    if errors := [answer.error for answer in theirs if answer.error]:
        return [(case.label, Verdict("not compared", f"the rival stopped with {errors[0]}"))]
    if kind == "transcribe" and "sampled" in theirs[0].result:
        return [(case.label, Verdict("not compared", "the rival falls back to sampling"))]
    expected = theirs[0].result if kind == "transcribe" else [one for answer in theirs for one in answer.result]
    try:
        found = ours.answer(case)
    except Exception as error:  # one case that fails must not hide what the others show
        return [(case.label, Verdict("error", f"{type(error).__name__}: {error}"))]
    verdicts = []
    for i, verdict in enumerate(compare_answers(kind, expected, found)):
        label = f"{case.setting.name} {case.clips[i].path}"
        if verdict.status == "tokens":
            parting = Parting(case, case.audio[i], label, expected[i], found[i])
            verdict = judge_parting(parting, rival([parting.job()])[0])
        verdicts.append((label, verdict))
    return verdicts


def judge_parting(parting: Parting, answer: Answer) -> Verdict:
    """`listed` where the rival holds both sequences within the tolerance of each other, else `different`."""
    if answer.error:
        return Verdict("different", f"tokens differ, and the rival cannot score them: {answer.error}")
    score = answer.result[0]
    gap, fork = margin(score, parting.case.options), score["fork"]
    heads = [list(side["tokens"])[fork : fork + 3] for side in (parting.expected, parting.found)]
    texts = [side["text"] for side in (parting.expected, parting.found)]
    detail = f"margin {gap:.3g}, token {fork}: {heads[0]} against {heads[1]}; {texts[0]!r} against {texts[1]!r}"
    return Verdict("listed" if gap < TOLERANCE else "different", detail)
