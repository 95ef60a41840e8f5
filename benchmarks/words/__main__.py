"""Command line: `python -m benchmarks.words`. Results are cached below `.oracle/words/`, so that a run can go on."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.parity.clips import Arrays, Clip, choose, read_manifest, save_array
from benchmarks.parity.environments import ROOT, WORK
from benchmarks.words import report
from benchmarks.words.engines import COMPAT, DEFAULT, FASTER, ORACLE, engines, words_of
from benchmarks.words.human import human_truths
from benchmarks.words.joined import Samples, joined_truths
from benchmarks.words.measure import agreement, total

import viska

MODEL = "base"
SEED = 1
CLIPS = 64
LONGEST_CLIP_S = 30.0
LONG_RECORDINGS = ("long/tiefenauer_address.mp3", "long/tiefenauer_andiefreude.mp3")
SPEECH = ("short", "multilingual", "diarization")
OPTIONS: dict[str, Any] = {"temperature": 0.0, "word_timestamps": True}
# Of joined recordings, what was said before tells nothing about what is said next.
TRUTH_OPTIONS: dict[str, Any] = {**OPTIONS, "condition_on_previous_text": False}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.words", description="Are Viska's word times right?")
    corpus = os.environ.get("VISKA_CORPUS", ROOT.parent / "shared" / "corpus")
    parser.add_argument("--part", choices=("compat", "truth", "all"), default="all")
    parser.add_argument("--corpus", type=Path, default=corpus, help="a folder of recordings with manifest.jsonl")
    parser.add_argument("--clips", type=int, default=CLIPS, help="how many clips beside the long recordings")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(arguments)


def job(audio: Path, label: str, language: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What all engines are asked; no language is given where none is known."""
    spoken = {} if language in (None, "mul") else {"language": language}
    return {"kind": "transcribe", "label": label, "audio": [str(audio)], "options": {**options, **spoken}}


def compare_with_oracle(args: argparse.Namespace, clips: list[Clip], arrays: Arrays) -> dict[str, Any]:
    """Word times in compat mode beside openai-whisper's; a row for each recording that differs."""
    heard = choose((clip for clip in clips if clip.kind in SPEECH and clip.duration <= LONGEST_CLIP_S), args.clips)
    heard += [clip for clip in clips if clip.path in LONG_RECORDINGS]
    jobs = [job(arrays.whole(clip), clip.path, clip.language, OPTIONS) for clip in heard]
    asks = engines(MODEL, args.threads, [ORACLE, COMPAT])
    theirs, ours = (list(map(words_of, asks[name](jobs))) for name in (ORACLE, COMPAT))
    agreements = [agreement(*pair) for pair in zip(theirs, ours, strict=True)]
    for clip, one in zip(heard, agreements, strict=True):
        if one.same_times < max(one.words, one.theirs):
            print(f"{clip.path}: {one}")
    whole = total(agreements)
    print(f"{len(heard)} recordings: {whole}, share {whole.share:.5f}")
    return {"recordings": len(heard), **vars(whole), "share": whole.share, "passed": whole.share >= report.LEAST_SHARE}


def compare_with_truth(args: argparse.Namespace, clips: list[Clip], arrays: Arrays) -> dict[str, Any]:
    """Every engine's errors, for recordings joined of pieces, for those that people timed, and for both."""

    def load(clip: Clip) -> Samples:
        return viska.load_audio(args.corpus / clip.path)

    by_path = {clip.path: clip for clip in clips}
    joined = list(joined_truths(clips, load, lambda samples: save_array(samples, WORK / "audio"), SEED))
    human = list(human_truths(args.corpus, lambda path: arrays.whole(by_path[path])))
    truths = [*joined, *human]
    jobs = [job(truth.audio, truth.label, truth.language, TRUTH_OPTIONS) for truth in truths]
    asks = engines(MODEL, args.threads, [ORACLE, FASTER, COMPAT, DEFAULT])
    words = {name: list(map(words_of, ask(jobs))) for name, ask in asks.items()}
    told: dict[str, Any] = {}
    for name, part in (("joined", joined), ("human", human), ("both", truths)):
        chosen = [truths.index(truth) for truth in part]
        found = report.figures(part, {engine: [lists[i] for i in chosen] for engine, lists in words.items()})
        print(f"\n{name}: {len(part)} recordings\n{report.HEADER}")
        print("\n".join(one.row(engine) for engine, one in found.items()))
        told[name] = report.as_json(found)
    told["passed"] = report.not_above(found[DEFAULT], [found[ORACLE], found[FASTER]])
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit status: 0 only where all is as it should be."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    clips, arrays = read_manifest(args.corpus), Arrays(args.corpus, WORK / "audio", viska.load_audio)
    told = {}
    if args.part in ("compat", "all"):
        told["compat"] = compare_with_oracle(args, clips, arrays)
    if args.part in ("truth", "all"):
        told["truth"] = compare_with_truth(args, clips, arrays)
    print(json.dumps(told))
    return 0 if all(part["passed"] for part in told.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
