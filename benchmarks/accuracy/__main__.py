"""Are Viska's transcripts as good as its rivals', in every mode? What is computed is kept, so that a run can go on."""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.accuracy.contenders import MODES, RIVALS
from benchmarks.accuracy.hear import hear
from benchmarks.accuracy.report import judge, show
from benchmarks.speed.engines import Engines
from benchmarks.speed.recordings import evenly

from viska.evaluation.hypothesis import Hypothesis
from viska.evaluation.manifest import Clip, read_manifest
from viska.evaluation.run import evaluate, stored_engine
from viska.evaluation.storage import Report


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST", help="speech, and sound without speech")
    parser.add_argument("--model", default="base")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", metavar="WORD", help="contenders with this in their name alone")
    parser.add_argument(
        "--most",
        type=int,
        nargs="+",
        default=[None],
        help="so many recordings of each language and kind, evenly from all; of each manifest, or one number for all",
    )
    parser.add_argument("--longest", type=float, help="no recording that is longer (s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit status: 0 only where no mode of Viska's is above the rivals."""
    args = parse(arguments)
    most = args.most * len(args.manifests) if len(args.most) == 1 else args.most
    chosen = [choose(read_manifest(path), n, args.longest) for path, n in zip(args.manifests, most, strict=True)]
    clips = [clip for each in chosen for clip in each]
    engines = Engines(args.model, args.threads)
    rivals, modes = (
        [
            report(contender.name, hear(contender, clips, engines), clips)
            for contender in group
            if not args.only or args.only in contender.name
        ]
        for group in (RIVALS, MODES)
    )
    print(show([*rivals, *modes]))
    if not (rivals and modes):
        return 0
    verdicts = [judge(mode, rivals) for mode in modes]
    for verdict in verdicts:
        print(verdict.line())
    print(json.dumps([verdict.to_dict() for verdict in verdicts]))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def choose(clips: Sequence[Clip], most: int | None, longest: float | None) -> list[Clip]:
    """At most so many of each group, evenly from all, and none that is longer than this (s)."""
    groups: defaultdict[tuple[str | None, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        if longest is None or (clip.duration or 0.0) <= longest:
            groups[clip.language, clip.kind].append(clip)
    return [clip for group in groups.values() for clip in evenly(group, most or len(group))]


def report(name: str, hypotheses: Mapping[str, Hypothesis], clips: Sequence[Clip]) -> Report:
    """The scores of one contender."""
    return Report(name, tuple(evaluate(clips, stored_engine(hypotheses))))


if __name__ == "__main__":
    sys.exit(main())
