"""What came of a run, for people as Markdown and for programs as one line of JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.speed.goals import time_of
from benchmarks.speed.race import Race, Result

MIB = 2**20
GIGA = 1e9
NOISE = 0.1  # of one processor, from which on it is told
RACE_HEAD = ("", "median s", "rounds", "times real time", "times Viska's time", "word errors %", "peak MiB")
SHORT_HEAD = ("", "median ms", "95 % ms", "rounds", "times Viska's time", "word errors %", "peak MiB")
STAGE_HEAD = ("stage", "ms", "calls", "share %", "floor ms", "floor / time %", "from memory %")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown, in columns that line up."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [" | ".join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(row)) for row in cells]
    rule = " | ".join("-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths))
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))


def race_table(race: Race) -> str:
    """All contenders of a race, the failed ones with the first line of their error."""
    short = race.key.startswith("short")
    rows = [_short_cells(race, result) if short else _cells(race, result) for result in race.finished]
    failed = [
        f"\n{result.contender.name}: {(result.failure or '').splitlines()[0]}"
        for result in race.results
        if result.failure
    ]
    noise = (
        f"\n\nOther processes took up to {100 * race.disturbed:.0f} % of one processor."
        if race.disturbed > NOISE
        else ""
    )
    return table(SHORT_HEAD if short else RACE_HEAD, rows) + "".join(failed) + (noise if race.disturbed > NOISE else "")


def _cells(race: Race, result: Result) -> list[str]:
    speed = race.audio_s / result.typical
    return [_name(result), f"{result.typical:.2f}", str(len(result.seconds)), f"{speed:.1f}", *_common(race, result)]


def _short_cells(race: Race, result: Result) -> list[str]:
    latencies = result.latencies()
    tail = latencies[min(int(0.95 * len(latencies)), len(latencies) - 1)]
    times = (f"{1000 * time_of(race, result):.0f}", f"{1000 * tail:.0f}", str(len(result.seconds)))
    return [_name(result), *times, *_common(race, result)]


def _common(race: Race, result: Result) -> list[str]:
    ratio = "" if race.baseline is None else f"{time_of(race, result) / time_of(race, race.baseline):.2f}"
    peak = f"{result.peak_bytes / MIB:.0f}" if result.peak_bytes else ""
    return [ratio, f"{100 * result.error_rate:.1f}", peak]


def _name(result: Result) -> str:
    return f"**{result.contender.name}**" if result.contender.is_baseline else result.contender.name


def race_json(race: Race) -> dict[str, Any]:
    """All numbers of a race."""
    return {
        result.contender.name: {
            "options": result.contender.options,
            "seconds": [round(seconds, 4) for seconds in result.seconds],
            "time": round(time_of(race, result), 4),
            "cpu_seconds": [round(seconds, 2) for seconds in result.cpu_seconds],
            "disturbed": [round(part, 2) for part in result.disturbed],
            "audio_s": round(race.audio_s, 2),
            "word_error_rate": round(result.error_rate, 5),
            "peak_bytes": result.peak_bytes,
        }
        for result in race.finished
    }


def ceilings_table(found: Mapping[str, Any]) -> str:
    """The machine's limits."""
    rates = [
        [f"largest product, {name}", f"{found[name] / GIGA:.0f} Gop/s"] for name in ("float32", "bfloat16", "int8")
    ]
    reads = [[f"reading {size} again and again", f"{rate / GIGA:.1f} GB/s"] for size, rate in found["read"].items()]
    return table(("ceiling", "measured"), [*rates, *reads])


def stage_table(run: Mapping[str, Any]) -> str:
    """The stages of one setting; a stage without a floor is overhead."""
    rows = []
    for name, stage in run["stages"].items():
        taken, floor = stage["seconds"], stage["floor"]
        numbers = (f"{1000 * taken:.1f}", str(stage["calls"]), f"{100 * stage['share']:.1f}")
        memory = f"{100 * stage['from_memory'] / taken:.0f}" if "from_memory" in stage else ""
        rows.append([name, *numbers, f"{1000 * floor:.1f}", f"{100 * floor / taken:.0f}" if taken else "", memory])
    return table(STAGE_HEAD, rows)


def encoder_line(found: Mapping[str, float]) -> str:
    """The float32 encoder beside the machine's own product."""
    reached, possible = found["encoder"] / GIGA, found["product"] / GIGA
    rates = f"{reached:.0f} of {possible:.0f} Gop/s, {100 * reached / possible:.0f} % (medians)"
    return f"The encoder in float32 alone, a whole window, in turns with the largest product: {rates}."


def memory_lines(found: Mapping[str, Any]) -> str:
    """What was found about memory."""
    lines = [
        f"{one['hours']:.2f} h of mostly silence: peak {one['peak_bytes'] / MIB:.0f} MiB" for one in found["length"]
    ]
    lines.append(f"slope {found['slope_bytes_an_hour'] / MIB:.1f} MiB an hour")
    for name, unit in (("jobs", "jobs"), ("threads", "rounds of 8 threads")):
        if name in found:
            one = found[name]
            marks = " -> ".join(f"{one[f'{mark}_bytes'] / MIB:.0f}" for mark in ("first", "middle", "last"))
            lines.append(f"{one['times']} {unit}: {marks} MiB held after a tenth, half and all")
    return "\n".join(f"- {line}" for line in lines)
