"""The figures as text for a terminal."""

from collections.abc import Sequence

from viska.evaluation.bootstrap import Estimate
from viska.evaluation.calibration import Calibration
from viska.evaluation.compare import Comparison
from viska.evaluation.summary import Summary

COLUMNS = {
    "group": "language and kind",
    "clips": "recordings",
    "min": "minutes of sound",
    "error %": "errors over units of the reference, with the 95 % interval",
    "mean %": "mean of the error rates of the recordings",
    "sub": "% substituted",
    "del": "% deleted",
    "ins": "% inserted",
    "lost": "units more said than heard, where that is three words or more (seconds)",
    "made up/h": "words invented per hour without speech",
    "loops": "phrases repeated back to back, more often than they were said",
    "lang %": "languages told right",
    "bounds s": "median distance of phrase boundaries from the reference",
    "RTF": "seconds of work a second of sound",
    "failed": "recordings without a transcript",
}


def rows(found: Sequence[Summary]) -> list[list[str]]:
    """The cells of each group, in the order of `COLUMNS`."""
    return [
        [
            one.name,
            str(one.n_clips),
            f"{one.duration / 60:.1f}",
            rate(one.error_rate),
            percent(one.mean_error_rate.value if one.mean_error_rate else None),
            percent(one.substitutions),
            percent(one.deletions),
            percent(one.insertions),
            f"{one.lost_units} ({one.lost_seconds:.1f})" if one.n_scored else "-",
            number(one.invented_per_hour, 0),
            str(one.loops),
            percent(one.language_accuracy),
            number(one.boundaries.median if one.boundaries else None, 2),
            number(one.real_time_factor, 3),
            str(one.n_failed) if one.n_failed else "-",
        ]
        for one in found
    ]


COMPARED = ("group", "clips", "first %", "second %", "difference", "verdict", "lost", "made up/h", "loops", "RTF")


def comparison_rows(found: Sequence[Comparison]) -> list[list[str]]:
    """The cells of each group of two runs, in the order of `COMPARED`."""
    return [
        [
            one.first.name,
            str(one.first.n_clips),
            percent(one.first.error_rate.value if one.first.error_rate else None),
            percent(one.second.error_rate.value if one.second.error_rate else None),
            rate(one.error_rate, sign="+"),
            one.verdict,
            f"{one.first.lost_units} > {one.second.lost_units}",
            f"{number(one.first.invented_per_hour, 0)} > {number(one.second.invented_per_hour, 0)}",
            f"{one.first.loops} > {one.second.loops}",
            f"{number(one.first.real_time_factor, 3)} > {number(one.second.real_time_factor, 3)}",
        ]
        for one in found
    ]


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Columns of one width each, the first one to the left and the others to the right."""
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    lines = []
    for row in [head, ["-" * width for width in widths], *body]:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def calibration_line(name: str, found: Calibration) -> str:
    """The three figures of a confidence."""
    return (
        f"{name} of {found.n} words: calibration error {found.expected_error:.3f}, Brier score {found.brier:.3f}, "
        f"area under the ROC curve {number(found.area, 3)}"
    )


def rate(estimate: Estimate | None, sign: str = "") -> str:
    """A share in percent with its interval."""
    if estimate is None:
        return "-"
    value = f"{100 * estimate.value:{sign}.1f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{100 * estimate.low:{sign}.1f}, {100 * estimate.high:{sign}.1f}]"


def percent(share: float | None) -> str:
    """A share in percent, or a dash."""
    return number(None if share is None else 100 * share, 1)


def number(value: float | None, digits: int) -> str:
    """A number with so many digits behind the point, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"
