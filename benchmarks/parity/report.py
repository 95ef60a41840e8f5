"""Counting verdicts, and telling them: a table, what differs, and one line of JSON."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.parity.compare import TOLERANCE, Verdict


@dataclass
class Tally:
    """The verdicts of one model and setting."""

    model: str
    setting: str
    counts: Counter[str] = field(default_factory=Counter)
    deviations: dict[str, float] = field(default_factory=dict)

    def add(self, status: str, deviations: dict[str, float]) -> None:
        """Count one verdict, and keep the largest deviations where the tokens are the same."""
        self.counts[status] += 1
        for name, value in deviations.items():
            self.deviations[name] = max(self.deviations.get(name, 0.0), value)


class Report:
    """All verdicts of a run. Passed: it came to its end, something was compared, and nothing was different."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], Tally] = {}
        self.notes: list[str] = []
        self.interrupted = False

    def add(self, model: str, setting: str, label: str, verdict: Verdict) -> None:
        """Count a verdict; whatever is not plainly equal is noted too."""
        tally = self._tallies.setdefault((model, setting), Tally(model, setting))
        tally.add(verdict.status, verdict.deviations)
        if verdict.status != "equal":
            self.notes.append(f"{verdict.status.upper()} {model} {label}: {verdict.detail}")
            print(self.notes[-1], file=sys.stderr, flush=True)

    def total(self, status: str) -> int:
        """How many verdicts of a status there are."""
        return sum(tally.counts[status] for tally in self._tallies.values())

    @property
    def passed(self) -> bool:
        """Whether the run proves anything, and nothing against it."""
        against = any(self.total(status) for status in ("different", "error"))
        return self.total("equal") > 0 and not against and not self.interrupted

    def lines(self) -> Iterable[str]:
        """The table, the notes, and last one line of JSON."""
        yield f"{'model':9}{'setting':28}{'equal':>6}{'listed':>8}{'failed':>8}{'not compared':>14}  largest deviations"
        for tally in self._tallies.values():
            yield self._row(tally)
        yield from self.notes
        yield json.dumps(self.summary())

    def _row(self, tally: Tally) -> str:
        numbers = ", ".join(f"{name} {value:.1e}" for name, value in tally.deviations.items())
        equal, listed, apart = (tally.counts[status] for status in ("equal", "listed", "not compared"))
        failed = tally.counts.total() - equal - listed - apart
        return f"{tally.model:9}{tally.setting:28}{equal:6}{listed:8}{failed:8}{apart:14}  {numbers}"

    def summary(self) -> dict[str, Any]:
        """Counts and largest deviations of the whole run."""
        largest: dict[str, float] = {}
        for tally in self._tallies.values():
            for name, value in tally.deviations.items():
                largest[name] = max(largest.get(name, 0.0), value)
        statuses = ("equal", "listed", "different", "error", "not compared")
        counts = {status.replace(" ", "_"): self.total(status) for status in statuses}
        return {
            "passed": self.passed,
            "interrupted": self.interrupted,
            **counts,
            "tolerance": TOLERANCE,
            "largest_deviations": largest,
        }
