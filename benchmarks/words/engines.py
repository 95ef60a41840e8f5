"""The four that are asked for word times, all with the same weights: answers come from a cache, or anew."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.parity.environments import WORK, faster_whisper_python, oracle_python
from benchmarks.parity.rival import Answer, Rival, save_checkpoint
from benchmarks.parity.witness import with_vocabulary
from benchmarks.words.measure import Word
from benchmarks.words.ours import Ours

import viska
from viska.weights.load import locate

ORACLE, FASTER, COMPAT, DEFAULT = "openai-whisper", "faster-whisper", "viska compat", "viska default"
CACHE = WORK / "words"
FASTER_SCRIPT = Path(__file__).with_name("faster.py")

Ask = Callable[[list[dict[str, Any]]], list[Answer]]
"""Gives an engine's answers to jobs, one for each, in order."""


def engines(name: str, threads: int, wanted: list[str]) -> dict[str, Ask]:
    """How to ask each of those wanted about a model."""
    model = viska.load_model(name, device="cpu")
    checkpoint, digest = save_checkpoint(vars(model.dims), model.state_dict(), WORK / "weights")
    asks: dict[str, Ask] = {}
    if ORACLE in wanted:
        rival = Rival(oracle_python(), CACHE / ORACLE, threads)
        ask = partial(rival.answers, checkpoint=checkpoint, model_digest=digest)
        asks[ORACLE] = partial(_with_heads_of, name, ask)
    if FASTER in wanted:
        rival = Rival(faster_whisper_python(), CACHE / FASTER, threads, FASTER_SCRIPT)
        folder = with_vocabulary(locate(name).path)
        asks[FASTER] = partial(_greedily, partial(rival.answers, checkpoint=folder, model_digest=digest))
    for engine, compat in ((COMPAT, "openai"), (DEFAULT, None)):
        if engine in wanted:
            ours = Ours(model, CACHE / "viska", threads, compat=compat)
            asks[engine] = partial(ours.answers, model_digest=digest)
    return asks


def _with_heads_of(name: str, ask: Ask, jobs: list[dict[str, Any]]) -> list[Answer]:
    """openai-whisper knows the alignment heads of a model by its name alone, and not of a file."""
    return ask([{**job, "heads": name} for job in jobs])


def _greedily(ask: Ask, jobs: list[dict[str, Any]]) -> list[Answer]:
    """faster-whisper searches with five beams unless it is told not to."""
    return ask([{**job, "options": {**job["options"], "beam_size": 1}} for job in jobs])


def words_of(answer: Answer) -> list[Word]:
    """All words of a transcript with their times."""
    if answer.error:
        raise SystemExit(f"an engine stopped with {answer.error}")
    segments = answer.result["segments"]
    return [(word["word"], word["start"], word["end"]) for segment in segments for word in segment["words"] or ()]
