"""Command line: `python -m benchmarks.fuzz`, which `scripts/fuzz` calls."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent.parent
STARTS = 20  # of one target, whose process was killed by what it was given


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Hostile bytes against Viska's own parsers.")
    parser.add_argument("--runs", type=int, default=100_000, help="executions of each target (default: 100000)")
    parser.add_argument("--targets", default=",".join(TARGETS), help="names, parted by commas (default: all)")
    parser.add_argument("--folder", type=Path, default=ROOT / ".fuzz", help="where inputs are kept and continued from")
    parser.add_argument("--report-only", action="store_true", help="fuzz nothing, and report on what the folder holds")
    return parser.parse_args(arguments)


def executions(folder: Path) -> int:
    """How often a target was run so far."""
    counter = folder / "executions"
    return int(counter.read_text()) if counter.exists() else 0


def fuzz(name: str, folder: Path, runs: int) -> None:
    """Run one target so often, starting again where an input kills its process."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = executions(folder) + runs
    for _ in range(STARTS):
        left = wanted - executions(folder)
        if left < 256:  # the grain of the counter
            return
        command = [sys.executable, "-m", "benchmarks.fuzz.worker", name, str(folder), f"-runs={left}"]
        with (folder / "log").open("ab") as log:
            subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)


def branches(folder: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Covered and all branches of the source files of these targets, by file."""
    report = folder / "coverage.json"
    subprocess.run([sys.executable, "-m", "benchmarks.fuzz.replay", str(folder), str(report)], cwd=ROOT, check=True)
    files = json.loads(report.read_text())["files"]
    wanted = {source for name in names for source in TARGETS[name].sources}
    found = {}
    for path, facts in files.items():
        source = path.partition("viska/")[2]
        if any(source == one or (one.endswith("/") and source.startswith(one)) for one in wanted):
            found[source] = facts["summary"]["covered_branches"], facts["summary"]["num_branches"]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz and report; the status is 1 where something was found."""
    options = parse(arguments)
    names = options.targets.split(",")
    for name in [] if options.report_only else names:
        started = time.monotonic()
        fuzz(name, options.folder / name, options.runs)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    rows = []
    for name in names:
        folder = options.folder / name
        findings = sorted(path.name for path in (folder / "findings").glob("*") if path.suffix != ".txt")
        inputs = len(list((folder / "corpus").glob("*")))
        rows.append({"target": name, "executions": executions(folder), "inputs": inputs, "findings": findings})
        print(f"{name:<20}{rows[-1]['executions']:>10} executions {inputs:>6} inputs {len(findings):>3} findings")
    covered = branches(options.folder, names)
    for source, (hit, all_) in sorted(covered.items()):
        print(f"{source:<32}{hit:>5} of {all_:>4} branches {hit / all_ if all_ else 1:>6.0%}")
    total = sum(row["executions"] for row in rows)
    print(json.dumps({"executions": total, "targets": rows, "branches": covered}))
    return int(any(row["findings"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
