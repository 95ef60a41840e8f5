"""The rival as seen from here: its interpreter, its copy of the weights, and its results, each computed once."""

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from benchmarks.parity.cases import job_key

SCRIPT = Path(__file__).with_name("oracle.py")


@dataclass(frozen=True)
class Answer:
    """What the rival gives for a job: `result`, or the `error` it stopped with."""

    result: Any = None
    error: str | None = None


def save_checkpoint(dims: dict[str, int], state: dict[str, torch.Tensor], folder: Path) -> tuple[Path, str]:
    """Write weights in OpenAI's layout, float16 where that loses nothing; return the path and the content's digest."""
    state = {name: _narrow(tensor.detach().cpu()) for name, tensor in sorted(state.items())}
    digest = sha256(json.dumps(dims, sort_keys=True).encode())
    for name, tensor in state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    path = folder / f"{digest.hexdigest()}.pt"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save({"dims": dims, "model_state_dict": state}, partial)
        partial.replace(path)
    return path, digest.hexdigest()


def _narrow(tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.half()
    return half if torch.equal(half.to(tensor.dtype), tensor) else tensor


class Rival:
    """Runs jobs in the rival's interpreter, and keeps each result in a JSON-lines file under its key.

    `script` is what runs there, with the options that `oracle.py` takes.
    """

    def __init__(self, python: str, cache: Path, threads: int, script: Path | None = None) -> None:
        self._python, self._cache, self._threads, self._script = python, cache, threads, script or SCRIPT
        out = subprocess.run([python, self._script, "--version"], check=True, capture_output=True, text=True).stdout
        self.versions: dict[str, str] = json.loads(out)

    def identity(self, model_digest: str) -> dict[str, Any]:
        """All that the result of a job depends on beside the job."""
        return {"versions": self.versions, "model": model_digest, "threads": self._threads}

    def answers(self, jobs: Iterable[dict[str, Any]], checkpoint: Path, model_digest: str) -> list[Answer]:
        """One answer for each job, in order; only those that the cache lacks are computed."""
        identity = self.identity(model_digest)
        keyed = [{**job, "key": job_key(job, identity)} for job in jobs]
        results = self._cache / f"{model_digest[:16]}.jsonl"
        known = read_answers(results)
        missing: dict[str, dict[str, Any]] = {}
        for job in keyed:
            if job["key"] not in known:
                missing.setdefault(job["key"], job)
        if missing:
            self._run(list(missing.values()), checkpoint, results)
            known = read_answers(results)
        return [known[job["key"]] for job in keyed]

    def _run(self, jobs: list[dict[str, Any]], checkpoint: Path, results: Path) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        listing = self._cache / f"{results.stem}.{os.getpid()}.jobs"
        listing.write_text("".join(json.dumps(job) + "\n" for job in jobs))
        options = {"checkpoint": checkpoint, "jobs": listing, "results": results, "threads": self._threads}
        command = [self._python, str(self._script), *(f"--{name}={value}" for name, value in options.items())]
        try:
            subprocess.run(command, check=True)
        finally:
            listing.unlink()


def read_answers(results: Path) -> dict[str, Answer]:
    """The whole lines of a results file, by key; a last line that an interruption cut off does not count."""
    if not results.is_file():
        return {}
    whole = results.read_text().rpartition("\n")[0]
    lines = map(json.loads, whole.splitlines())
    return {line["key"]: Answer(line.get("result"), line.get("error")) for line in lines}
