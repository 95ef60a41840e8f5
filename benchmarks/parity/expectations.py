"""The rival's results on the repo's own recordings, kept with the tests, so that every test run proves parity anew."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.parity.cases import Case, decode_cases, transcribe_cases
from benchmarks.parity.clips import Arrays, Clip, read_manifest
from benchmarks.parity.rival import Answer
from benchmarks.parity.settings import DECODE, TRANSCRIBE, Setting

import viska

SETTINGS = {setting.name: setting for setting in (*DECODE, *TRANSCRIBE)}
JOINT = "+"
ON_ALL = ("detect", "greedy", "transcribe")
ON_FOUR = ("greedy-batch",)
ON_TWO = ("beam5",)
ON_ONE = (
    *("beam5-patience2", "beam5-length-penalty", "without-timestamps", "prompt-too-long", "prefix", "suppress-nothing"),
    *("max-initial-timestamp-none", "translate", "transcribe-beam5"),
)
TOP_LANGUAGES = 5
TIMES_OVER = 3


def clips_to_keep(folder: Path) -> list[Clip]:
    """The repo's recordings, and one longer than a window: all of them one after the other, three times over."""
    clips = read_manifest(folder)
    everything = JOINT.join([clip.path for clip in clips] * TIMES_OVER)
    return [*clips, Clip(everything, "en", "long", 0.0, None, ("long",))]


def load_joined(path: Path) -> np.ndarray:
    """Viska's samples of a file, or of several whose names are joined in the last part of the path."""
    return np.concatenate([viska.load_audio(path.with_name(name)) for name in path.name.split(JOINT)])


def cases_to_keep(clips: Sequence[Clip], arrays: Arrays, multilingual: bool) -> list[Case]:
    """Few enough to be part of every test run; `clips` are the most varied first."""
    kept: list[Case] = []
    for names, count in ((ON_ALL, len(clips)), (ON_FOUR, 4), (ON_TWO, 2), (ON_ONE, 1)):
        settings = [SETTINGS[name] for name in names]
        few = list(clips[:count])
        kept += decode_cases([one for one in settings if one.kind != "transcribe"], few, arrays, multilingual)
        kept += transcribe_cases([one for one in settings if one.kind == "transcribe"], few, arrays)
    return kept


def store(path: Path, versions: dict[str, str], cases: Sequence[Case], answers: Sequence[Answer]) -> None:
    """Write one case a line, after a line that says what gave the answers."""
    lines = [json.dumps(versions)]
    for case, answer in zip(cases, answers, strict=True):
        if answer.error:
            raise RuntimeError(f"{case.label}: the rival stopped with {answer.error}")
        expected = [_shorten(one) for one in answer.result] if case.setting.kind == "detect" else answer.result
        clips = [clip.path for clip in case.clips]
        lines.append(
            json.dumps({"setting": case.setting.name, "clips": clips, "options": case.options, "expected": expected})
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _shorten(answer: dict[str, Any]) -> dict[str, Any]:
    likeliest = sorted(answer["language_probs"].items(), key=lambda item: -item[1])[:TOP_LANGUAGES]
    return {"language_probs": dict(likeliest)}


def read(path: Path, clips: Sequence[Clip], arrays: Arrays) -> Iterator[tuple[Case, Any]]:
    """The stored cases, and for each what Viska has to answer."""
    by_path = {clip.path: clip for clip in clips}
    for line in path.read_text().splitlines()[1:]:
        stored = json.loads(line)
        setting: Setting = SETTINGS[stored["setting"]]
        used = tuple(by_path[name] for name in stored["clips"])
        sample = arrays.whole if setting.kind == "transcribe" else arrays.window
        yield Case(setting, used, tuple(sample(clip) for clip in used), stored["options"]), stored["expected"]
