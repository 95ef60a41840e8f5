"""Which recordings are compared, and their samples as both sides get them."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

WINDOW_SAMPLES = 480_000


@dataclass(frozen=True)
class Clip:
    """A recording of a manifest: `path` below its folder, `language` or None, `traits` by which clips differ."""

    path: str
    language: str | None
    kind: str
    duration: float
    text: str | None
    traits: tuple[str, ...]


def read_manifest(folder: Path) -> list[Clip]:
    """All clips of `manifest.jsonl` but the headerless ones, which no decoder can open."""
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return [_clip(line) for line in lines if not line.get("raw_format")]


def _clip(line: dict[str, Any]) -> Clip:
    path, duration = line["path"], line.get("duration", 0.0)
    length = next(
        name for name, limit in (("brief", 3), ("phrase", 10), ("window", 30), ("long", 1e9)) if duration < limit
    )
    traits = (
        f"language {line.get('language')}",
        f"kind {line.get('kind')}",
        f"folder {path.split('/')[0]}",
        f"length {length}",
        *(f"{key} {line[key]}" for key in ("codec", "sample_rate", "channels", "noisy", "speaker") if line.get(key)),
    )
    return Clip(path, line.get("language"), line.get("kind", "short"), duration, line.get("text"), traits)


def choose(clips: Iterable[Clip], count: int) -> list[Clip]:
    """`count` clips so ordered that each adds the most that the ones before it lack: the first few vary the most."""
    left, seen = sorted(clips, key=lambda clip: clip.path), Counter[str]()
    chosen: list[Clip] = []
    while left and len(chosen) < count:
        clip = max(left, key=lambda clip: sum(1 / (1 + seen[trait]) ** 2 for trait in clip.traits))
        left.remove(clip)
        chosen.append(clip)
        seen.update(clip.traits)
    return chosen


def save_array(audio: np.ndarray, folder: Path) -> Path:
    """Write float32 samples to `folder` under their SHA-256, once, and return the path."""
    audio = np.ascontiguousarray(audio, dtype=np.float32)
    path = folder / f"{sha256(audio.tobytes()).hexdigest()}.npy"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, audio)
        partial.replace(path)
    return path


class Arrays:
    """The samples of clips, read by `load` (Viska's `load_audio`) and kept as files for both sides."""

    def __init__(self, source: Path, store: Path, load: Callable[[Path], np.ndarray]) -> None:
        self._source, self._store, self._load = source, store, load
        self._paths: dict[str, tuple[Path, Path]] = {}

    def window(self, clip: Clip) -> Path:
        """The first 30 s."""
        return self._both(clip)[0]

    def whole(self, clip: Clip) -> Path:
        """All of it."""
        return self._both(clip)[1]

    def _both(self, clip: Clip) -> tuple[Path, Path]:
        if clip.path not in self._paths:
            audio = self._load(self._source / clip.path)
            self._paths[clip.path] = (save_array(audio[:WINDOW_SAMPLES], self._store), save_array(audio, self._store))
        return self._paths[clip.path]
