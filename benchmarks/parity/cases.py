"""From settings and clips to cases, and from cases to the rival's jobs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.parity.clips import Arrays, Clip
from benchmarks.parity.settings import CLIP_LANGUAGE, Setting

FEW = 24
BRIEF_S = 10.0  # what an option changes, it changes in a short clip too, at a tenth of the time
BEAM_TRANSCRIPTS = 2


@dataclass(frozen=True)
class Case:
    """One call of Viska and what the rival gives for it: one job, or one for each window of a batch of beams."""

    setting: Setting
    clips: tuple[Clip, ...]
    audio: tuple[Path, ...]
    options: dict[str, Any]

    @property
    def label(self) -> str:
        """For people: the setting and the clips."""
        return f"{self.setting.name} {' '.join(clip.path for clip in self.clips)}"

    def jobs(self) -> list[dict[str, Any]]:
        """The rival's jobs, without keys."""
        groups = [(path,) for path in self.audio] if self.setting.single else [self.audio]
        job = {"kind": self.setting.kind, "input": self.setting.window, "options": self.options}
        return [{**job, "label": self.label, "audio": [str(path) for path in group]} for group in groups]


def job_key(job: dict[str, Any], identity: dict[str, Any]) -> str:
    """Digest of all that a result depends on: what is asked, of which samples (named by their digest), and of whom."""
    asked = {name: value for name, value in job.items() if name not in ("label", "key", "audio")}
    whole = {"asked": asked, "audio": [Path(path).stem for path in job["audio"]], "of": identity}
    return sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def decode_cases(
    settings: Iterable[Setting], clips: list[Clip], arrays: Arrays, multilingual: bool, few: int = FEW
) -> Iterator[Case]:
    """Every setting on every clip, or on the first `few`, brief ones before all, in batches as the setting says."""
    brief = sorted(clips, key=lambda clip: clip.duration > BRIEF_S)  # stable: the most varied stay first
    for setting in settings:
        if setting.multilingual_only and not multilingual:
            continue
        used = clips if setting.widely else brief[:few]
        for start in range(0, len(used), setting.batch):
            batch = tuple(used[start : start + setting.batch])
            options = _options(setting, batch[0], multilingual)
            yield Case(setting, batch, tuple(arrays.window(clip) for clip in batch), options)


def transcribe_cases(settings: Iterable[Setting], clips: list[Clip], arrays: Arrays) -> Iterator[Case]:
    """Every setting on every whole recording, or on the two shortest of kind long."""
    by_length = sorted(clips, key=lambda clip: (clip.kind != "long", clip.duration))
    for setting in settings:
        for clip in by_length if setting.widely else by_length[:BEAM_TRANSCRIPTS]:
            yield Case(setting, (clip,), (arrays.whole(clip),), setting.options)


def _options(setting: Setting, clip: Clip, multilingual: bool) -> dict[str, Any]:
    if not multilingual:
        return {**setting.options, "language": "en"}
    if setting.options.get("language") == CLIP_LANGUAGE:
        spoken = clip.language if clip.language not in (None, "mul") else "en"
        return {**setting.options, "language": spoken}
    return setting.options
