"""Viska's side: the rivals' jobs through `viska.transcribe`, each result kept under all that it depends on."""

import json
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.parity.cases import job_key
from benchmarks.parity.rival import Answer, read_answers

import viska

NO_SAY = {"cli", "server", "evaluation", "formats"}
"""Parts of Viska that no transcript depends on."""


def source_digest() -> str:
    """Of Viska's own code: a change makes every cached result stale."""
    digest, source = sha256(), Path(viska.__file__).parent
    for path in sorted(source.rglob("*.py")):
        if path.relative_to(source).parts[0] not in NO_SAY:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def drop_cut_off_line(results: Path) -> None:
    """Take away a last line that an interruption cut off."""
    if results.is_file():
        text = results.read_text()
        results.write_text(text[: text.rfind("\n") + 1])


class Ours:
    """Answers jobs with a model, in compat mode or Viska's own."""

    def __init__(self, model: viska.Whisper, cache: Path, threads: int, *, compat: str | None) -> None:
        self._model, self._cache, self._compat = model, cache, compat
        self._identity = {"source": source_digest(), "threads": threads, "compat": compat}

    def answers(self, jobs: Iterable[dict[str, Any]], model_digest: str) -> list[Answer]:
        """One answer for each job, in order; only those that the cache lacks are computed."""
        identity = {**self._identity, "model": model_digest}
        keyed = [(job_key(job, identity), job) for job in jobs]
        self._cache.mkdir(parents=True, exist_ok=True)
        results = self._cache / f"{model_digest[:16]}.jsonl"
        drop_cut_off_line(results)
        known = read_answers(results)
        with results.open("a") as out:
            for number, (key, job) in enumerate(keyed, 1):
                if key in known:
                    continue
                known[key] = Answer(self._transcribe(job))
                out.write(json.dumps({"key": key, "result": known[key].result}) + "\n")
                out.flush()
                print(f"viska {self._compat or 'default'} {number}/{len(keyed)} {job['label']}", file=sys.stderr)
        return [known[key] for key, _ in keyed]

    def _transcribe(self, job: dict[str, Any]) -> dict[str, Any]:
        samples = np.load(job["audio"][0])
        return viska.transcribe(self._model, samples, compat=self._compat, fp16=False, **job["options"]).to_dict()
