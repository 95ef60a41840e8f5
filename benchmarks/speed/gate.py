"""A gate to run by hand: are the ratios to the rivals still what they were?

    python -m benchmarks.speed --quick > run.txt
    python -m benchmarks.speed.gate run.txt            # exit status 1 where a ratio fell by more than a tenth
    python -m benchmarks.speed.gate run.txt --store    # take this run's ratios as those to keep

Ratios are kept for each kind of run (quick or full) and instruction set: times of different machines do not compare.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STORED = Path(__file__).with_name("ratios.json")
TOLERANCE = 0.1


def read_run(path: Path) -> dict[str, Any]:
    """The last line of what a run printed."""
    return dict(json.loads(path.read_text().splitlines()[-1]))


def kind_of(run: Mapping[str, Any]) -> str:
    """Which stored ratios a run is compared with."""
    return f"{run['model']} {'quick' if run['quick'] else 'full'} {run['isa']}"


def fallen(kept: Mapping[str, float], now: Mapping[str, float], tolerance: float = TOLERANCE) -> list[str]:
    """A line for each ratio that is lower than it was by more than the tolerance."""
    return [
        f"{name}: {kept[name]:.2f} -> {value:.2f}"
        for name, value in now.items()
        if name in kept and value < kept[name] * (1 - tolerance)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, or store."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.gate", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="what a run printed")
    parser.add_argument("--store", action="store_true", help="keep this run's ratios")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="by how much of itself a ratio may fall")
    parser.add_argument("--stored", type=Path, default=STORED)
    args = parser.parse_args(arguments)
    run = read_run(args.run)
    kept = json.loads(args.stored.read_text()) if args.stored.is_file() else {}
    kind = kind_of(run)
    if args.store:
        kept[kind] = {**kept.get(kind, {}), **{name: round(value, 3) for name, value in run["ratios"].items()}}
        args.stored.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
        return 0
    if kind not in kept:
        print(f"No ratios are stored for {kind}: run with --store first.", file=sys.stderr)
        return 2
    lines = fallen(kept[kind], run["ratios"], args.tolerance)
    compared = [name for name in run["ratios"] if name in kept[kind]]
    print("\n".join(lines) or f"{len(compared)} ratios are as good as they were.")
    return 1 if lines or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
