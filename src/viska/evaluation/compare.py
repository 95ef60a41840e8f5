"""Two runs over the same recordings, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from viska.errors import OptionError
from viska.evaluation.bootstrap import Estimate, mean_difference, micro_difference
from viska.evaluation.score import Score
from viska.evaluation.storage import Report
from viska.evaluation.summary import Summary, groups, summary


@dataclass(frozen=True, slots=True)
class Comparison:
    """A group in both runs. The differences are second minus first, with intervals of a paired bootstrap."""

    first: Summary
    second: Summary
    error_rate: Estimate | None
    mean_error_rate: Estimate | None

    @property
    def verdict(self) -> str:
        """What the interval of the error rate's difference says of the second run."""
        difference = self.error_rate
        if difference is None or difference.low is None or difference.high is None:
            return "-"
        if difference.low > 0:
            return "worse"
        return "better" if difference.high < 0 else "no difference shown"


RULES = ("unit", "language", "free_ends", "silent")
"""Fields of a score that say by which rules it was counted."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The paths of recordings that cannot be set side by side, by the reason; one that failed twice is in both."""

    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    failed_first: tuple[str, ...]
    failed_second: tuple[str, ...]

    def __len__(self) -> int:
        return len({path for name in self.__slots__ for path in getattr(self, name)})

    def line(self) -> str:
        """For people: how many, and why."""
        reasons = {
            "in the first run alone": self.only_first,
            "in the second run alone": self.only_second,
            "failed in the first run": self.failed_first,
            "failed in the second run": self.failed_second,
        }
        told = ", ".join(f"{len(paths)} {reason}" for reason, paths in reasons.items() if paths)
        return f"left out: {len(self)} recordings ({told})"


def left_out(first: Report, second: Report) -> LeftOut:
    """The recordings that `compare` leaves out."""
    paths, others = ({one.path for one in report.scores} for report in (first, second))
    return LeftOut(
        only_first=tuple(one.path for one in first.scores if one.path not in others),
        only_second=tuple(one.path for one in second.scores if one.path not in paths),
        failed_first=tuple(one.path for one in first.scores if one.error is not None and one.path in others),
        failed_second=tuple(one.path for one in second.scores if one.error is not None and one.path in paths),
    )


def compare(first: Report, second: Report, seed: int = 0) -> list[Comparison]:
    """All recordings that both runs have a transcript of, then each group.

    Raises OptionError where there are none, and where one was not counted by the same rules.
    """
    by_path = {one.path: one for one in second.scores if one.error is None}
    both = [(one, by_path[one.path]) for one in first.scores if one.error is None and one.path in by_path]
    if not both:
        why = f"; {lacking.line()}" if len(lacking := left_out(first, second)) else ""
        raise OptionError(
            f"{first.name!r} and {second.name!r} have no transcript of one recording in common{why}; "
            "compare runs of one manifest"
        )
    for one, other in both:
        if one.reference != other.reference:
            raise OptionError(f"{one.path} has another reference in {second.name!r}; score both with one manifest")
        for rule in RULES:
            if (here := getattr(one, rule)) != (there := getattr(other, rule)):
                raise OptionError(
                    f"{one.path} was counted by other rules in {second.name!r}: {rule} is {here!r} in the first run "
                    f"and {there!r} in the second; score both with one manifest"
                )
    named = {"all": [one for one, _ in both], **groups(one for one, _ in both)}
    others = {one.path: other for one, other in both}
    return [_comparison(name, group, [others[one.path] for one in group], seed) for name, group in named.items()]


def _comparison(name: str, first: Sequence[Score], second: Sequence[Score], seed: int) -> Comparison:
    scored = [(one, other) for one, other in zip(first, second, strict=True) if one.scored and other.scored]
    counts = [[(one.n_errors, one.n_reference) for one in run] for run in zip(*scored, strict=True)]
    rates = [[errors / units for errors, units in run] for run in counts]
    return Comparison(
        summary(name, first),
        summary(name, second),
        micro_difference(counts[0], counts[1], seed) if scored else None,
        mean_difference(rates[0], rates[1], seed) if scored else None,
    )
