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


def compare(first: Report, second: Report, seed: int = 0) -> list[Comparison]:
    """All recordings that both runs have a transcript of, then each group. Raises OptionError where there are none."""
    by_path = {one.path: one for one in second.scores if one.error is None}
    both = [(one, by_path[one.path]) for one in first.scores if one.error is None and one.path in by_path]
    if not both:
        raise OptionError(
            f"{first.name!r} and {second.name!r} have no recording in common; compare runs of one manifest"
        )
    for one, other in both:
        if one.reference != other.reference:
            raise OptionError(f"{one.path} has another reference in {second.name!r}; score both with one manifest")
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
