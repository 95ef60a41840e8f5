"""Who takes part: engines, number formats and options, each under a name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.engines import CPP, FASTER, OPENAI, VISKA

OURS = ("auto", "float32", "int8")
THEIRS = ("float32", "int8")
CPP_TYPES = ("float16", "q8_0")
JOINED = "joined by hand"
BATCH = 8
BATCHED = (("int8", 8), ("int8", 16), ("float32", 8))
"""What faster-whisper's batched pipeline is tried with; float32 gains nothing from larger batches."""

Options = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """One configuration, which is one process. `together`: all recordings in one call."""

    engine: str
    compute_type: str
    options: Options = field(default_factory=dict, hash=False)
    note: str = ""
    together: bool = False

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return " ".join(part for part in (self.engine, self.compute_type, self.note) if part)

    @property
    def rival(self) -> str:
        """As what it is compared: its engine, and whether its user did by hand what the library has no call for."""
        return f"{self.engine}, {JOINED}" if self.note.startswith(JOINED) else self.engine

    @property
    def is_baseline(self) -> bool:
        """Whether the others are compared with it: Viska as it is when nobody asks for anything."""
        return self.engine == VISKA and self.compute_type == "auto" and not self.note


def batched(beam_size: int) -> list[Contender]:
    """One long recording, many windows at a time, no fallback to temperatures (faster-whisper has none there)."""
    options: Options = {"language": "en", "temperature": 0.0, "beam_size": beam_size}
    ours = {**_search(options), "batch_size": BATCH, "vad_filter": True}
    return [
        *(Contender(VISKA, kind, ours) for kind in OURS),
        *(Contender(FASTER, kind, {**options, "batch_size": n}, f"batch {n}") for kind, n in BATCHED),
    ]


def sequential(beam_size: int) -> list[Contender]:
    """Window by window at temperature 0, without voice activity and without the text before."""
    options: Options = {
        "language": "en",
        "temperature": 0.0,
        "beam_size": beam_size,
        "condition_on_previous_text": False,
    }
    cpp = {"language": "en", "temperature_inc": 0.0, "beam_size": beam_size, "no_context": True}
    return [
        *(Contender(VISKA, kind, _search(options)) for kind in OURS),
        *(Contender(FASTER, kind, options) for kind in THEIRS),
        Contender(OPENAI, "float32", _search(options)),
        *(Contender(CPP, kind, cpp) for kind in CPP_TYPES),
    ]


def ladder() -> list[Contender]:
    """In order, with nothing set but the language: with fallback to temperatures, and the text before as a prompt."""
    greedy: Options = {"language": "en", "beam_size": 1}
    cpp = {"language": "en", "beam_size": 1, "no_context": False}
    return [
        Contender(VISKA, "auto", {"language": "en"}),
        *(Contender(FASTER, kind, greedy) for kind in THEIRS),
        Contender(OPENAI, "float32", {"language": "en"}),
        Contender(CPP, "q8_0", cpp),
    ]


def short(beam_size: int) -> list[Contender]:
    """Clips of 2 to 15 s, one at a time, in a known language."""
    options: Options = {"language": "en", "temperature": 0.0, "beam_size": beam_size}
    bare = {**options, "without_timestamps": True}
    return [
        *(Contender(VISKA, kind, _search(options)) for kind in OURS),
        *(Contender(FASTER, kind, options) for kind in THEIRS),
        Contender(FASTER, "int8", bare, "no timestamps"),
    ]


def many() -> list[Contender]:
    """Many small files in one process, greedily, their languages told by the model."""
    greedy: Options = {"beam_size": 1, "temperature": 0.0}
    ours: Options = {"temperature": 0.0, "batch_size": BATCH}
    return [
        *(Contender(VISKA, kind, ours, together=True) for kind in OURS),
        *(Contender(FASTER, kind, greedy) for kind in THEIRS),
        *(
            Contender(FASTER, kind, {**greedy, "batch_size": n}, f"{JOINED}, batch {n}", together=True)
            for kind, n in BATCHED
        ),
    ]


def essential(chosen: Sequence[Contender]) -> list[Contender]:
    """Without those that were never the fastest, or only tell how others come about: for a quick run."""
    left_out = {(VISKA, "float32"), (VISKA, "int8"), (CPP, "float16")}
    return [
        each
        for each in chosen
        if (each.engine, each.compute_type) not in left_out and not each.note.endswith(("batch 16", "no timestamps"))
    ]


def _search(options: Options) -> Options:
    """As Viska and openai-whisper are told of it: one beam is none."""
    return {name: value for name, value in options.items() if name != "beam_size" or value > 1}
