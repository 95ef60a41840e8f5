"""What is transcribed: recordings of a folder with `manifest.jsonl`, in the files that they came in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.parity.clips import Clip, read_manifest, save_array
from benchmarks.parity.environments import WORK

import viska

LONG_S = 50.0
SHORT_S = (2.0, 15.0)
WINDOW_S = 30.0


@dataclass(frozen=True)
class Recording:
    """A file, its language, length in seconds and what is said in it."""

    path: Path
    language: str
    duration_s: float
    text: str

    @cached_property
    def array(self) -> Path:
        """Its samples, for an engine that does not read the file."""
        return save_array(viska.load_audio(self.path), WORK / "audio")


class Recordings:
    """The recordings of a folder that have a reference for all that is said."""

    def __init__(self, folder: Path) -> None:
        clips = [clip for clip in read_manifest(folder) if clip.text and clip.language and clip.duration]
        self._all = [_recording(folder, clip) for clip in sorted(clips, key=lambda clip: clip.path)]
        if not self.long():
            raise SystemExit(f"{folder} has no English recording of {LONG_S:.0f} s or more with a reference.")

    def long(self) -> list[Recording]:
        """English, the longest first."""
        found = [each for each in self._english() if each.duration_s >= LONG_S]
        return sorted(found, key=lambda each: -each.duration_s)

    def short(self, count: int) -> list[Recording]:
        """English clips of 2 to 15 s, evenly from all."""
        return evenly([each for each in self._english() if SHORT_S[0] <= each.duration_s <= SHORT_S[1]], count)

    def small(self, count: int) -> list[Recording]:
        """Files of up to half a minute in every language, evenly from all."""
        return evenly([each for each in self._all if each.duration_s < WINDOW_S], count)

    def _english(self) -> list[Recording]:
        return [each for each in self._all if each.language == "en"]


def _recording(folder: Path, clip: Clip) -> Recording:
    return Recording(folder / clip.path, clip.language or "", clip.duration, clip.text or "")


def evenly(recordings: Sequence[Recording], count: int) -> list[Recording]:
    """So many of them, with as many left out between any two."""
    count = min(count, len(recordings))
    return [recordings[i * len(recordings) // count] for i in range(count)]


def seconds_of(recordings: Iterable[Recording]) -> float:
    """How long they are together."""
    return sum(each.duration_s for each in recordings)
