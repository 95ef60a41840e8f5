"""Command line: `python -m benchmarks.parity`, which `scripts/parity` calls."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from benchmarks.parity import expectations, settings, witness
from benchmarks.parity.cases import Case, decode_cases, transcribe_cases
from benchmarks.parity.clips import Arrays, Clip, choose, read_manifest
from benchmarks.parity.environments import ROOT, WORK, faster_whisper_python, oracle_python
from benchmarks.parity.ours import Ours
from benchmarks.parity.report import Report
from benchmarks.parity.rival import Rival, save_checkpoint
from benchmarks.parity.run import Ask, compare_model

import viska

QUICK_CLIPS = 12
WITNESS_MODEL = "base"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, `--quick` spelled out."""
    parser = argparse.ArgumentParser(prog="scripts/parity", description="Does Viska give openai-whisper's tokens?")
    corpus = os.environ.get("VISKA_CORPUS", ROOT.parent / "shared" / "corpus")
    parser.add_argument("--part", choices=("decode", "transcribe", "witness", "all"), default="all")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CLIPS} clips, greedy and beam search only")
    parser.add_argument("--models", default="base,tiny.en", help="names, parted by commas")
    parser.add_argument("--settings", help="names of settings, parted by commas (default: all)")
    parser.add_argument("--clips", type=int, default=104, help="how many clips, the most varied first")
    parser.add_argument("--corpus", type=Path, default=corpus, help="a folder of recordings with manifest.jsonl")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--oracle-only", action="store_true", help="fill the rival's cache, and stop")
    parser.add_argument(
        "--store-expectations",
        action="store_true",
        help="write the rival's results on recordings/ to tests/expected/, and stop",
    )
    args = parser.parse_args(arguments)
    if args.quick:
        args.part, args.clips = "decode", QUICK_CLIPS
        args.settings = args.settings or ",".join(settings.QUICK)
    return args


def chosen_settings(names: str | None, table: Sequence[settings.Setting]) -> list[settings.Setting]:
    """The settings of a table with the given names, or all of them; a name that no table has is an error."""
    wanted = names.split(",") if names else [setting.name for setting in table]
    known = {setting.name for setting in (*settings.DECODE, *settings.TRANSCRIBE)}
    if unknown := set(wanted) - known:
        sys.exit(f"No such settings: {', '.join(sorted(unknown))}. There are: {', '.join(sorted(known))}.")
    return [setting for setting in table if setting.name in wanted]


def cases_to_compare(args: argparse.Namespace, clips: list[Clip], arrays: Arrays, multilingual: bool) -> list[Case]:
    """All cases for one model; one that knows only English hears the English clips only."""
    cases: list[Case] = []
    if args.part in ("decode", "all"):
        heard = [clip for clip in choose(clips, args.clips) if multilingual or clip.language == "en"]
        cases += decode_cases(chosen_settings(args.settings, settings.DECODE), heard, arrays, multilingual)
    if args.part in ("transcribe", "all"):
        long = [clip for clip in clips if clip.kind in ("long", "multilingual")]
        heard = [clip for clip in long if multilingual or clip.language == "en"]
        cases += transcribe_cases(chosen_settings(args.settings, settings.TRANSCRIBE), heard, arrays)
    return cases


def prepare(name: str, rival: Rival) -> tuple[viska.Whisper, Ask]:
    """A model of Viska's, and how to ask the rival about the same weights."""
    model = viska.load_model(name, device="cpu")
    checkpoint, digest = save_checkpoint(vars(model.dims), model.state_dict(), WORK / "weights")
    return model, partial(rival.answers, checkpoint=checkpoint, model_digest=digest)


def compare_models(args: argparse.Namespace) -> bool:
    """Compare, and print what came of it; True where something was compared and all agrees."""
    rival, report = Rival(oracle_python(), WORK / "cache", args.threads), Report()
    try:
        for name in args.models.split(","):
            compare_one(name, args, rival, report)
    except KeyboardInterrupt:
        report.interrupted = True
    if args.oracle_only:
        return not report.interrupted
    print("\n".join(report.lines()))
    return report.passed


def compare_one(name: str, args: argparse.Namespace, rival: Rival, report: Report) -> None:
    """Compare one model, or only ask the rival, whose results are then there for the next run."""
    clips, arrays = read_manifest(args.corpus), Arrays(args.corpus, WORK / "audio", viska.load_audio)
    model, ask = prepare(name, rival)
    cases = cases_to_compare(args, clips, arrays, model.is_multilingual)
    if args.oracle_only:
        ask([job for case in cases for job in case.jobs()])
    else:
        compare_model(name, cases, Ours(model), ask, report)


def call_witness(args: argparse.Namespace) -> bool:
    """Word error rates of Viska and faster-whisper with one model.bin; True where both are as they should be."""
    arrays = Arrays(args.corpus, WORK / "audio", viska.load_audio)
    clips = witness.clean_clips(read_manifest(args.corpus))
    testimony = witness.testify(WITNESS_MODEL, faster_whisper_python(), clips, arrays, args.threads)
    print(testimony.line())
    return testimony.passed


def store_expectations(args: argparse.Namespace) -> bool:
    """Keep the rival's results on the repo's own recordings with the tests."""
    source = ROOT / "recordings"
    rival = Rival(oracle_python(), WORK / "cache", args.threads)
    clips, arrays = expectations.clips_to_keep(source), Arrays(source, WORK / "audio", expectations.load_joined)
    for name in args.models.split(","):
        model, ask = prepare(name, rival)
        heard = [clip for clip in choose(clips, len(clips)) if model.is_multilingual or clip.language == "en"]
        cases = expectations.cases_to_keep(heard, arrays, model.is_multilingual)
        path = ROOT / "tests" / "expected" / f"{name}.jsonl"
        expectations.store(path, rival.versions, cases, ask([job for case in cases for job in case.jobs()]))
        print(f"{path.relative_to(ROOT)}: {len(cases)} cases")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked, and return the exit status: 0 only where it was shown."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    if args.store_expectations:
        return 0 if store_expectations(args) else 1
    shown = [call_witness(args)] if args.part in ("witness", "all") and not args.oracle_only else []
    if args.part != "witness":
        shown.append(compare_models(args))
    return 0 if all(shown) else 1


if __name__ == "__main__":
    sys.exit(main())
