"""From single recordings to figures of groups: all, and each language and kind."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from viska.evaluation.bootstrap import Estimate, macro, micro
from viska.evaluation.calibration import Calibration, calibration
from viska.evaluation.score import Score

SMALL = 5
"""Groups of fewer recordings say little by themselves, and are pooled."""


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Distances of phrase boundaries from the reference, in seconds."""

    n: int
    mean: float
    median: float
    p90: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one group; None where nothing in it can tell.

    Rates are shares of the reference's units, not percent. `invented_per_hour` is over recordings without speech,
    `lost_*` over those with a reference. `real_time_factor` is seconds of work a second of sound.
    """

    name: str
    n_clips: int
    n_scored: int
    n_failed: int
    duration: float
    n_reference: int
    error_rate: Estimate | None
    mean_error_rate: Estimate | None
    substitutions: float | None
    deletions: float | None
    insertions: float | None
    inserted: int
    silent_duration: float
    invented: int
    invented_per_hour: float | None
    lost_units: int
    lost_runs: int
    lost_seconds: float
    loops: int
    n_languages_told: int
    language_accuracy: float | None
    boundaries: Boundaries | None
    real_time_factor: float | None
    probability: Calibration | None
    confidence: Calibration | None


def summaries(scores: Sequence[Score]) -> list[Summary]:
    """All recordings together, then each language and kind."""
    return [summary("all", scores), *(summary(name, group) for name, group in groups(scores).items())]


def groups(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """The recordings of each language and kind, large groups first; small ones pooled by whether there is speech."""
    by_name: defaultdict[str, list[Score]] = defaultdict(list)
    for one in scores:
        by_name[f"{one.language or '-'} {one.kind}"].append(one)
    found = {name: group for name, group in by_name.items() if len(group) >= SMALL}
    found = dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))
    for group in by_name.values():
        if len(group) < SMALL:
            for one in group:
                found.setdefault("others without speech" if one.silent else "others", []).append(one)
    return found


def summary(name: str, scores: Sequence[Score]) -> Summary:
    """The figures of some recordings."""
    heard = [one for one in scores if one.error is None]
    scored = [one for one in heard if one.scored]
    silent = [one for one in heard if one.silent]
    told = [one.language_right for one in heard if one.language_right is not None]
    timed = [one for one in heard if one.seconds is not None]
    errors, totals = [one.n_errors for one in scored], [one.n_reference for one in scored]
    silent_duration = sum(one.duration for one in silent)
    invented = sum(one.invented for one in silent)
    words = [word for one in heard for word in one.words]
    return Summary(
        name=name,
        n_clips=len(scores),
        n_scored=len(scored),
        n_failed=len(scores) - len(heard),
        duration=sum(one.duration for one in scores),
        n_reference=sum(totals),
        error_rate=micro(errors, totals) if scored else None,
        mean_error_rate=macro(errors, totals) if scored else None,
        substitutions=_share(scored, "substitution"),
        deletions=_share(scored, "deletion"),
        insertions=_share(scored, "insertion"),
        inserted=sum(one.inserted for one in scored),
        silent_duration=silent_duration,
        invented=invented,
        invented_per_hour=_ratio(3600 * invented, silent_duration),
        lost_units=sum(run.units for one in scored for run in one.lost),
        lost_runs=sum(len(one.lost) for one in scored),
        lost_seconds=sum(run.seconds for one in scored for run in one.lost),
        loops=sum(one.loops for one in heard),
        n_languages_told=len(told),
        language_accuracy=_ratio(sum(told), len(told)),
        boundaries=_boundaries([abs(error) for one in heard for error in one.boundary_errors]),
        real_time_factor=_ratio(sum(one.seconds or 0 for one in timed), sum(one.duration for one in timed)),
        probability=calibration(words, "probability"),
        confidence=calibration(words, "confidence"),
    )


def _share(scored: Sequence[Score], kind: str) -> float | None:
    return _ratio(sum(one.counts.get(kind, 0) for one in scored), sum(one.n_reference for one in scored))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _boundaries(distances: Sequence[float]) -> Boundaries | None:
    if not distances:
        return None
    median, p90 = np.quantile(distances, [0.5, 0.9])
    return Boundaries(len(distances), float(np.mean(distances)), float(median), float(p90))
