"""Rows of figures, and whether a mode keeps what is promised of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.speed.engines import OPENAI

from viska.evaluation.compare import compare
from viska.evaluation.storage import Report
from viska.evaluation.table import COLUMNS, rate, rows, table

SHOWN = ("group", "clips", "min", "error %", "mean %", "sub", "del", "ins", "lost", "made up/h", "loops", "lang %")
LEAST_CLIPS = 5
INVENTED_SHARE = 0.1
"""Of openai-whisper's invented words, at most so many."""


@dataclass(frozen=True)
class Verdict:
    """What a mode promises, and whether it keeps it; `worse` names the groups with an error rate shown to be higher."""

    name: str
    invented: int
    most_invented: float
    loops: int
    lost: int
    most_lost: int
    failed: int
    worse: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all of it is kept."""
        sound = not (self.loops or self.failed or self.worse)
        return sound and self.invented <= self.most_invented and self.lost <= self.most_lost

    def line(self) -> str:
        """For people."""
        worse = ", ".join(self.worse) or "none"
        return (
            f"{'kept  ' if self.passed else 'BROKEN'} {self.name}: invented {self.invented} "
            f"(at most {self.most_invented:g}), loops {self.loops}, lost {self.lost} (at most {self.most_lost}), "
            f"failed {self.failed}, worse groups: {worse}"
        )

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "passed": self.passed}


def show(reports: Sequence[Report]) -> str:
    """Each contender's figures over all recordings, and the error rates of each group side by side."""
    places = [list(COLUMNS).index(name) for name in SHOWN]
    found = {report.name: report.summaries() for report in reports}
    whole = [[name, *(rows([summaries[0]])[0][place] for place in places[1:])] for name, summaries in found.items()]
    groups = {one.name: one for summaries in found.values() for one in summaries}
    by_group = [
        [group, str(groups[group].n_clips)] + [rate(_of(summaries, group).error_rate) for summaries in found.values()]
        for group in groups
        if groups[group].n_scored
    ]
    head = ["group", "clips", *(str(place) for place in range(1, len(found) + 1))]
    legend = "\n".join(f"{place}: {name}" for place, name in enumerate(found, 1))
    return f"{table(['', *SHOWN[1:]], whole)}\n\n{table(head, by_group)}\n{legend}\n"


def _of(summaries: Sequence[Any], group: str) -> Any:
    return next(one for one in summaries if one.name == group)


def judge(mode: Report, rivals: Sequence[Report]) -> Verdict:
    """Hold a mode against the better of its rivals in each figure."""
    ours = mode.summaries()[0]
    theirs: Mapping[str, Any] = {report.name: report.summaries()[0] for report in rivals}
    most_invented = min(
        one.invented * (INVENTED_SHARE if name.startswith(OPENAI) else 1) for name, one in theirs.items()
    )
    return Verdict(
        name=mode.name,
        invented=ours.invented,
        most_invented=most_invented,
        loops=ours.loops,
        lost=ours.lost_units,
        most_lost=min(one.lost_units for one in theirs.values()),
        failed=ours.n_failed,
        worse=tuple(worse_groups(mode, rivals)),
    )


def worse_groups(mode: Report, rivals: Sequence[Report]) -> list[str]:
    """The groups of five recordings or more in which the paired bootstrap shows more errors than the better rival's."""
    sides = [compare(rival, mode) for rival in rivals]
    found = []
    for group in zip(*sides, strict=True):
        if group[0].first.n_scored < LEAST_CLIPS:
            continue
        better = min(group, key=lambda one: one.first.error_rate.value if one.first.error_rate else 0.0)
        if better.verdict == "worse" and better.error_rate is not None:
            found.append(f"{better.first.name} ({rate(better.error_rate, sign='+')})")
    return found
