"""Command line: `python -m benchmarks.speed`, which `scripts/bench` calls. The last line is JSON."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.parity.environments import ROOT
from benchmarks.speed import contenders, docs, goals, machine, memory, report
from benchmarks.speed.cold import cold_starts
from benchmarks.speed.contenders import Contender
from benchmarks.speed.engines import ISAS, Engines
from benchmarks.speed.race import Race, race
from benchmarks.speed.recordings import LONG_S, Recording, Recordings, seconds_of

SEARCHES = {"greedy": 1, "beam 5": 5}
QUICK_SEARCHES = {"greedy": 1}
DEFAULT_MODES = ("long", "sequential", "short", "cold", "many", "stages", "ladder")
QUICK_MODES = DEFAULT_MODES[:-1]


@dataclass(frozen=True)
class Sizes:
    """How much is asked: seconds of long recordings, batched and in order; numbers of clips; rounds of cold starts."""

    long_s: float
    sequential_s: float
    short: int
    small: int
    cold: int
    rounds: int


QUICK = Sizes(long_s=150, sequential_s=60, short=6, small=6, cold=2, rounds=1)
FULL = Sizes(long_s=150, sequential_s=60, short=16, small=32, cold=5, rounds=2)


@dataclass
class Run:
    """One run: what it is about, and what came of it."""

    engines: Engines
    recordings: Recordings
    sizes: Sizes
    quick: bool
    races: list[Race] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def searches(self) -> dict[str, int]:
        """Names of searches and their beams."""
        return QUICK_SEARCHES if self.quick else SEARCHES

    def add(self, one: Race) -> None:
        """Show a race, and keep it."""
        self.races.append(one)
        self.show(one.key, f"{one.title}, {one.audio_s / 60:.1f} minutes of sound", report.race_table(one))

    def show(self, name: str, title: str, text: str) -> None:
        """Print a part of the report, and keep it for the page."""
        self.parts[name] = text
        print(f"\n## {title}\n\n{text}", flush=True)


def long(run: Run) -> None:
    """Long recordings in batches."""
    _both_searches(run, "long", "Long recordings, batched", contenders.batched, run.sizes.long_s)


def sequential(run: Run) -> None:
    """Long recordings in order."""
    _both_searches(run, "sequential", "Long recordings, in order", contenders.sequential, run.sizes.sequential_s)


def _both_searches(run: Run, key: str, title: str, choose: Callable[[int], list[Contender]], seconds: float) -> None:
    heard = about(run.recordings.long(), seconds)
    for name, beam_size in run.searches.items():
        _race(run, f"{key} {name}", f"{title}, {name}", choose(beam_size), heard, run.sizes.rounds)


def ladder(run: Run) -> None:
    """The full temperature ladder, conditioned on the text before."""
    heard = about(run.recordings.long(), run.sizes.sequential_s)
    _race(run, "ladder", "Long recordings in order, with fallback and the text before", contenders.ladder(), heard, 1)


def short(run: Run) -> None:
    """Latency of clips."""
    heard, rounds = run.recordings.short(run.sizes.short), max(run.sizes.rounds, 2)
    for name, beam_size in run.searches.items():
        _race(run, f"short {name}", f"Short clips, model warm, {name}", contenders.short(beam_size), heard, rounds)


def busy(run: Run) -> None:
    """Clips where another program is at work as well."""
    heard = run.recordings.short(run.sizes.short)
    with machine.beside_another_program():
        chosen = contenders.essential(contenders.sequential(beam_size=1))
        _race(run, "busy", "Short clips, beside a program that takes a core, greedy", chosen, heard, run.sizes.rounds)


def many(run: Run) -> None:
    """Many small files."""
    heard = run.recordings.small(run.sizes.small)
    title = f"{len(heard)} small files, language told by the model, greedy"
    _race(run, "many", title, contenders.many(), heard, min(run.sizes.rounds, 2))


def _race(run: Run, key: str, title: str, chosen: list[Contender], heard: Sequence[Recording], rounds: int) -> None:
    """All warm up on a clip, or where long recordings are to come on the shortest of those."""
    short = run.quick or heard[0].duration_s < LONG_S
    warm_up = run.recordings.short(1) if short else run.recordings.long()[-1:]
    chosen = contenders.essential(chosen) if run.quick else chosen
    run.add(race(key, title, chosen, run.engines, heard, warm_up, rounds))


def cold(run: Run) -> None:
    """Whole processes."""
    run.add(cold_starts(run.engines, run.recordings.short(3)[1], run.sizes.cold))


def stages(run: Run) -> None:
    """Ceilings, and how far each stage is from its floor."""
    audio = about(run.recordings.long(), run.sizes.sequential_s)[0].path
    command = [sys.executable, "-m", "benchmarks.speed.stages", f"--model={run.engines.name}", f"--audio={audio}"]
    command += [f"--threads={run.engines.threads}", *(["--compute-types=auto"] if run.quick else [])]
    variables = run.engines.variables
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=variables, cwd=ROOT).stdout
    found = json.loads(out)
    run.found |= found
    run.show("ceilings", "Ceilings of the machine", report.ceilings_table(found["ceilings"]))
    tables = [f"{name}, {one['seconds']:.2f} s:\n\n{report.stage_table(one)}" for name, one in found["stages"].items()]
    run.show("stages", "Stages of a transcription", "\n\n".join([*tables, report.encoder_line(found["encoder"])]))


def memory_use(run: Run) -> None:
    """Peak memory by length, and growth."""
    speech = run.recordings.short(3)[1].path
    run.found["memory"] = memory.ask(run.engines, speech, quick=run.quick)
    run.show("memory", "Memory", report.memory_lines(run.found["memory"]))


MODES: dict[str, Callable[[Run], None]] = {
    "stages": stages,
    "long": long,
    "sequential": sequential,
    "short": short,
    "busy": busy,
    "cold": cold,
    "many": many,
    "ladder": ladder,
    "memory": memory_use,
}


def about(recordings: Sequence[Recording], seconds: float) -> list[Recording]:
    """Of recordings, the longest first, those that come to about so many seconds, or where all are longer the last."""
    chosen: list[Recording] = []
    for recording in recordings:
        if seconds_of([*chosen, recording]) <= 1.15 * seconds:
            chosen.append(recording)
    return chosen or list(recordings[-1:])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="How fast is Viska beside its rivals?")
    corpus = os.environ.get("VISKA_CORPUS", ROOT.parent / "shared" / "corpus")
    parser.add_argument("--quick", action="store_true", help="minutes instead of twenty: less sound, one round")
    parser.add_argument("--modes", help=f"parted by commas, of {', '.join(MODES)} (default: all but busy and memory)")
    parser.add_argument("--rounds", type=int, help=f"how often each contender is asked (default: {FULL.rounds})")
    parser.add_argument("--long-seconds", type=float, help=f"of long recordings, batched (default: {FULL.long_s:.0f})")
    parser.add_argument(
        "--small-files", type=int, help=f"how many; a number above theirs takes all (default: {FULL.small})"
    )
    parser.add_argument("--model", default="base")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", choices=ISAS, default="native", help="leave what the processor has beyond it unused")
    parser.add_argument("--corpus", type=Path, default=corpus, help="a folder of recordings with manifest.jsonl")
    parser.add_argument("--write-docs", action="store_true", help="put the numbers into docs/performance.md")
    args = parser.parse_args(arguments)
    args.modes = args.modes.split(",") if args.modes else list(QUICK_MODES if args.quick else DEFAULT_MODES)
    if unknown := set(args.modes) - set(MODES):
        parser.error(f"no such modes: {', '.join(sorted(unknown))}; there are {', '.join(MODES)}")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0 where every goal that was measured is met."""
    args = parse(arguments)
    sizes = QUICK if args.quick else FULL
    given = {"rounds": args.rounds, "long_s": args.long_seconds, "small": args.small_files}
    sizes = replace(sizes, **{name: value for name, value in given.items() if value})
    run = Run(Engines(args.model, args.threads, args.isa), Recordings(args.corpus), sizes, args.quick)
    here = machine.describe(args.isa)
    run.show("machine", "Machine", ", ".join(f"{name} {value}" for name, value in here.items()))
    start = time.monotonic()
    for mode in MODES:
        if mode in args.modes:
            MODES[mode](run)
    found = goals.ratios(run.races)
    lines = goals.verdicts(found)
    if lines:
        run.show("goals", "Ratios of medians, rival over Viska", "\n".join(["```", *lines, "```"]))
    if args.write_docs:
        docs.write(run.parts)
    told = {"model": args.model, "quick": args.quick, "isa": args.isa, "minutes": (time.monotonic() - start) / 60}
    told |= {
        "machine": here,
        "ratios": found,
        "races": {one.key: report.race_json(one) for one in run.races},
        **run.found,
    }
    print(f"\n{json.dumps(told)}")
    return 1 if any("NOT ENOUGH" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
