"""Make sound without speech, to measure how many words are made up in it: wav files and a manifest for `viska eval`."""

import argparse
import json
import sys
from itertools import chain
from pathlib import Path

from benchmarks.nonspeech.make import room_tones, synthesised, write


def main() -> int:
    """Write the folder; the last line on stdout is JSON."""
    parser = argparse.ArgumentParser(prog="scripts/make_nonspeech", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--minutes", type=float, default=30, help="of synthesised sound at least (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument(
        "--corpus", type=Path, help="with manifest.jsonl: recordings whose pauses give room tone as well"
    )
    flags = parser.parse_args()
    rooms = room_tones(flags.corpus) if flags.corpus else iter(())
    lines = write(chain(synthesised(flags.minutes, flags.seed), rooms), flags.folder)
    if flags.corpus is None:
        print("no room tone: name a folder of recordings with --corpus", file=sys.stderr)
    seconds: dict[str, float] = {}
    for line in lines:
        kind = str(line["kind"])
        seconds[kind] = seconds.get(kind, 0) + float(str(line["duration"]))
    print(json.dumps({"files": len(lines), "minutes": {kind: round(value / 60, 1) for kind, value in seconds.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
