"""A folder of sound without speech, with its manifest."""

import hashlib
import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.nonspeech import music, noises, rooms
from benchmarks.nonspeech.noises import RATE, Recipe, Sound

from viska.evaluation.manifest import Clip, read_manifest
from viska.evaluation.run import read_samples

LENGTHS = (6, 31, 12, 45, 20, 3, 90)
"""Seconds, taken in turn: shorter than a window, a little longer than one, and several of them."""
LEVELS = (-20, -35, -50, -28, -62)
"""Decibels below full scale, taken in turn."""
ROOM_S = 20
MOST_ROOMS = 15

RECIPES: dict[str, tuple[str, Recipe]] = {
    **{name: ("noise", recipe) for name, recipe in noises.RECIPES.items()},
    **{name: ("music", recipe) for name, recipe in music.RECIPES.items()},
}


@dataclass(frozen=True)
class Made:
    """A sound, its kind in the manifest, and what it is."""

    name: str
    kind: str
    notes: str
    sound: Sound


def synthesised(minutes: float, seed: int = 0) -> Iterator[Made]:
    """At least so many minutes, each recipe as often as the others; the same for the same seed."""
    total, number = 0.0, 0
    while total < 60 * minutes:
        for place, (name, (kind, recipe)) in enumerate(RECIPES.items()):
            seconds, level = LENGTHS[(number + place) % len(LENGTHS)], LEVELS[(number + place // 3) % len(LEVELS)]
            sound = noises.at_level(recipe(np.random.default_rng([seed, number, place]), seconds), level)
            yield Made(f"{name.replace(' ', '_')}_{number}", kind, f"{name}, {level} dBFS, seed {seed}", sound)
            total += seconds
        sound = noises.nothing(np.random.default_rng([seed, number, len(RECIPES)]), 10)
        yield Made(f"nothing_{number}", "silence", f"silence of a converter, seed {seed}", sound)
        number, total = number + 1, total + 10


def room_tones(corpus: Path, most: int = MOST_ROOMS) -> Iterator[Made]:
    """Pauses of recordings with speech, from as many of its folders as there are, in the manifest's order."""
    clips = [clip for clip in read_manifest(corpus / "manifest.jsonl") if clip.reference and not clip.silent]
    left = most
    for clip in _by_turns(clips):
        if left and (sound := rooms.room_tone(read_samples(clip).astype(np.float64), ROOM_S)) is not None:
            left -= 1
            yield Made(f"room_{most - left:02}", "silence", f"room tone from pauses of {clip.path}", sound)


def _by_turns(clips: list[Clip]) -> Iterator[Clip]:
    """The first clip of each folder, then the second ones."""
    turns: dict[str, list[Clip]] = {}
    for clip in clips:
        turns.setdefault(Path(clip.path).parent.as_posix(), []).append(clip)
    for turn in range(max(map(len, turns.values()), default=0)):
        yield from (folder[turn] for folder in turns.values() if turn < len(folder))


def write(made: Iterator[Made], folder: Path) -> list[dict[str, object]]:
    """Write each sound as a wav file, and manifest.jsonl; returns the lines of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for one in made:
        path = folder / f"{one.name}.wav"
        write_wav(path, one.sound)
        lines.append(
            {
                "path": path.name,
                "language": None,
                "text": "",
                "kind": one.kind,
                "speech": False,
                "duration": round(len(one.sound) / RATE, 3),
                "notes": one.notes,
                "synthetic": not one.name.startswith("room_"),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "manifest.jsonl").write_text(text, encoding="utf-8")
    return lines


def write_wav(path: Path, sound: Sound) -> None:
    """Write samples within ±1 as a wav file of 16 bits, mono, 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(np.round(sound * 2**15), -(2**15), 2**15 - 1).astype("<i2").tobytes())
