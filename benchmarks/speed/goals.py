"""What is to be reached: ratios of medians of one run, rival over Viska, so that more is better."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.speed.engines import FASTER, OPENAI, VISKA
from benchmarks.speed.race import Race, Result


@dataclass(frozen=True)
class Goal:
    """A ratio's name, what it must be at least, and what it is meant to become."""

    ratio: str
    must: float
    aim: float


GOALS = (
    Goal(f"long greedy: {FASTER}", 1.5, 2.0),
    Goal(f"long beam 5: {FASTER}", 1.5, 2.0),
    Goal(f"sequential greedy: {FASTER}", 2.0, 2.5),
    Goal(f"sequential beam 5: {FASTER}", 2.0, 2.5),
    Goal(f"sequential greedy: {OPENAI}", 2.5, 2.5),
    Goal(f"sequential beam 5: {OPENAI}", 5.0, 5.0),
    Goal(f"short greedy: {FASTER}", 2.0, 1 / 0.35),
    Goal(f"short beam 5: {FASTER}", 2.0, 1 / 0.35),
    Goal(f"cold: {FASTER}", 1.0, 1.0),
    Goal(f"many: {FASTER}", 3.0, 5.0),
)


def ratios(races: Iterable[Race]) -> dict[str, float]:
    """For each race and rival: the time of its fastest configuration over that of Viska as it is."""
    found = {}
    for race in races:
        for name in sorted({result.contender.rival for result in race.finished} - {VISKA}):
            rival = race.fastest(name)
            if rival is not None and race.baseline is not None:
                found[f"{race.key}: {name}"] = time_of(race, rival) / time_of(race, race.baseline)
    return found


def time_of(race: Race, result: Result) -> float:
    """What is compared: the median latency of short clips, else the median of the rounds."""
    latencies = result.latencies() if race.key.startswith("short") else []
    return latencies[len(latencies) // 2] if latencies else result.typical


def verdicts(found: Mapping[str, float]) -> list[str]:
    """A line for each ratio, with its goal where it has one."""
    goals = {goal.ratio: goal for goal in GOALS}
    return [f"{name:42} {value:6.2f}{_verdict(value, goals.get(name))}" for name, value in found.items()]


def _verdict(value: float, goal: Goal | None) -> str:
    if goal is None:
        return ""
    word = "reached" if value >= goal.aim else "enough" if value >= goal.must else "NOT ENOUGH"
    return f"   must {goal.must:.2f}, aim {goal.aim:.2f}   {word}"
