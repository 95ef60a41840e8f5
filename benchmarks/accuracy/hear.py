"""What a contender makes of recordings, each computed once and kept below `.oracle/accuracy/`."""

import json
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from benchmarks.parity.clips import save_array
from benchmarks.parity.environments import WORK
from benchmarks.speed.client import RefusedError, Worker
from benchmarks.speed.contenders import Contender
from benchmarks.speed.engines import VISKA, Engines
from benchmarks.speed.recordings import Recording
from benchmarks.words.ours import drop_cut_off_line, source_digest

from viska.audio import SAMPLE_RATE
from viska.evaluation.hypothesis import Hypothesis, read_hypotheses
from viska.evaluation.manifest import Clip
from viska.evaluation.run import read_samples

FOLDER = WORK / "accuracy"


def hear(contender: Contender, clips: Sequence[Clip], engines: Engines) -> dict[str, Hypothesis]:
    """Hypotheses by path; those that an earlier run has are not computed again."""
    kept = _kept(contender, engines.name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    drop_cut_off_line(kept)
    known = set(read_hypotheses(kept)) if kept.is_file() else set()
    missing = [clip for clip in clips if clip.path not in known]
    if missing:
        with Worker(contender, engines) as worker, kept.open("a") as out:
            for number, clip in enumerate(missing, 1):
                out.write(json.dumps({"path": clip.path, **_answer(worker, clip)}) + "\n")
                out.flush()
                print(f"{contender.name} {number}/{len(missing)} {clip.path}", file=sys.stderr, flush=True)
    return read_hypotheses(kept)


def _answer(worker: Worker, clip: Clip) -> dict[str, object]:
    """Every engine gets the same samples: some read fewer files than others."""
    samples = read_samples(clip)
    array = save_array(samples, WORK / "audio")
    recording = Recording(array, clip.language or "", len(samples) / SAMPLE_RATE, clip.reference or "")
    try:
        answer: dict[str, object] = worker.transcribe([recording])["answers"][0]
    except RefusedError as error:
        return {"error": str(error)}
    return answer


def _kept(contender: Contender, model: str) -> Path:
    """Named for all that a result depends on; Viska's own results are stale as soon as its code changes."""
    code = source_digest() if contender.engine == VISKA else ""
    key = sha256(f"{contender.options} {code}".encode()).hexdigest()[:10]
    return FOLDER / model / f"{re.sub(r'[^a-z0-9.]+', '-', contender.name)}-{key}.jsonl"
