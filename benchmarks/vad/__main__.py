"""Command line: `python -m benchmarks.vad`."""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.parity.clips import save_array
from benchmarks.parity.environments import ROOT, WORK, faster_whisper_python

from viska.audio import SAMPLE_RATE, load_audio
from viska.transcription.packing import group_regions, pack_regions
from viska.vad import Region, VadOptions, speech_regions, voice_activity

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "for batches": {"min_silence_duration_ms": 160, "max_speech_duration_s": 30},
}


@dataclass(frozen=True)
class Recording:
    """Samples of a recording, and what its line of the manifest says."""

    samples: np.ndarray
    about: dict[str, Any]

    @property
    def kind(self) -> str:
        """speech, singing, mixed (music, noise and some speech) or other (neither speech nor song)."""
        if self.about.get("text") or self.about["kind"] not in ("noise", "silence"):
            return "speech"
        notes = self.about.get("notes") or ""
        if "not speech-free" in notes:
            return "mixed"
        return "singing" if "sung" in notes else "other"

    def spoken(self) -> list[tuple[float, float]]:
        """Seconds in which somebody speaks for sure: words timed by another engine, or phrases by a person."""
        return [_seconds(entry) for entry in self.about.get("words_machine") or self.about.get("segments") or ()]


def _seconds(entry: dict[str, Any] | list[Any]) -> tuple[float, float]:
    values = entry.values() if isinstance(entry, dict) else entry
    start, end = [value for value in values if isinstance(value, (int, float))][:2]
    return start, end


def read_corpus(folder: Path) -> list[Recording]:
    """All recordings but the headerless ones."""
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return [Recording(load_audio(folder / line["path"]), line) for line in lines if not line.get("raw_format")]


def viska_regions(recordings: Sequence[Recording]) -> tuple[list[list[tuple[Region, ...]]], float]:
    """Regions by setting and recording, and the seconds that one pass over all takes."""
    voice_activity(np.zeros(SAMPLE_RATE, dtype=np.float32))  # reads the model
    start = time.perf_counter()
    heard = [voice_activity(recording.samples) for recording in recordings]
    found = [[speech_regions(activity, VadOptions(**options)) for activity in heard] for options in SETTINGS.values()]
    return found, time.perf_counter() - start


def faster_regions(recordings: Sequence[Recording]) -> tuple[list[list[tuple[Region, ...]]], float]:
    """The same of faster-whisper."""
    paths = [str(save_array(recording.samples, WORK / "audio")) for recording in recordings]
    job = json.dumps({"audio": paths, "options": list(SETTINGS.values())})
    command = [faster_whisper_python(), str(Path(__file__).with_name("faster.py"))]
    answer = json.loads(subprocess.run(command, input=job, capture_output=True, text=True, check=True).stdout)
    found = [[tuple(Region(*region) for region in one) for one in each] for each in answer["regions"]]
    return found, answer["seconds"]


def measure(recordings: Sequence[Recording], regions: Sequence[tuple[Region, ...]]) -> dict[str, Any]:
    """Shares of speech and of everything else that is kept, and the windows that it takes."""
    pairs = list(zip(recordings, regions, strict=True))
    figures: dict[str, Any] = {}
    for kind in ("speech", "mixed", "singing", "other"):
        of_kind = [(recording, found) for recording, found in pairs if recording.kind == kind]
        total = sum(len(recording.samples) for recording, _ in of_kind)
        kept = sum(region.n_samples for _, found in of_kind for region in found)
        figures[f"kept of {kind} recordings"] = kept / total
    timed = [(recording.spoken(), found) for recording, found in pairs if recording.spoken()]
    spoken = sum(end - start for spans, _ in timed for start, end in spans)
    kept_s = sum(_overlap(span, region) for spans, found in timed for span in spans for region in found)
    figures["kept of timed speech"] = kept_s / spoken
    figures["speech recordings with nothing kept"] = sum(
        recording.kind == "speech" and not found for recording, found in pairs
    )
    for name, pack in (("grouped", group_regions), ("packed", pack_regions)):
        figures[f"windows, {name}"] = sum(len(pack(found)) for found in regions)
    return figures


def _overlap(span: tuple[float, float], region: Region) -> float:
    return max(0.0, min(span[1], region.end_s) - max(span[0], region.start_s))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vad", description="Is speech found, and how fast?")
    corpus = os.environ.get("VISKA_CORPUS", ROOT.parent / "shared" / "corpus")
    parser.add_argument("--corpus", type=Path, default=corpus, help="a folder of recordings with manifest.jsonl")
    parser.add_argument("--threads", type=int, default=1, help="threads of Viska; faster-whisper takes one")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    recordings = read_corpus(args.corpus)
    duration_s = sum(len(recording.samples) for recording in recordings) / SAMPLE_RATE
    sides: dict[str, Callable[..., Any]] = {"viska": viska_regions, "faster-whisper": faster_regions}
    figures: dict[str, dict[str, Any]] = {}
    for side, regions_of in sides.items():
        found, seconds = regions_of(recordings)
        for setting, regions in zip(SETTINGS, found, strict=True):
            figures[f"{side}, {setting}"] = measure(recordings, regions)
        figures[f"{side}, {setting}"]["times real time"] = duration_s / seconds
    for name, values in figures.items():
        print(name)
        for what, value in values.items():
            print(f"  {what:40} {value:.4f}" if isinstance(value, float) else f"  {what:40} {value}")
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
