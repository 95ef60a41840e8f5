"""A second rival's side: word times of `faster-whisper`, in its own interpreter; takes and gives what `oracle.py` does.

A job has `key`, `audio` (one path of a float32 `.npy` array) and `options`. Keys that the results file already holds
are passed over, so that an interrupted run goes on where it stopped.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import ctranslate2
import faster_whisper
import numpy as np


def transcribe(model: faster_whisper.WhisperModel, job: dict) -> dict:
    """Segments with their words."""
    segments, info = model.transcribe(np.load(job["audio"][0]), **job["options"])
    told = [
        {"words": [{"word": word.word, "start": word.start, "end": word.end} for word in segment.words or ()]}
        for segment in segments
    ]
    return {"language": info.language, "segments": told}


def finished_keys(results: Path) -> set[str]:
    """Keys of the whole lines of a results file; a last line that an interruption cut off is dropped from the file."""
    if not results.is_file():
        return set()
    text = results.read_text()
    whole = text[: text.rfind("\n") + 1]
    results.write_text(whole)
    return {json.loads(line)["key"] for line in whole.splitlines()}


def main() -> None:
    """Run the jobs of a file that the results file lacks."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--version", action="store_true", help="print the versions that results depend on, and stop")
    parser.add_argument("--checkpoint", type=Path, help="a folder with model.bin")
    parser.add_argument("--jobs", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.version:
        print(json.dumps({"faster-whisper": faster_whisper.__version__, "ctranslate2": ctranslate2.__version__}))
        return
    done = finished_keys(args.results)
    jobs = [job for job in map(json.loads, args.jobs.read_text().splitlines()) if job["key"] not in done]
    options = {"device": "cpu", "compute_type": "float32", "cpu_threads": args.threads}
    model = faster_whisper.WhisperModel(str(args.checkpoint), **options)
    with args.results.open("a") as out:
        for number, job in enumerate(jobs, 1):
            start = time.perf_counter()
            line = {"key": job["key"], "result": transcribe(model, job)}
            out.write(json.dumps(line) + "\n")
            out.flush()
            seconds = time.perf_counter() - start
            print(f"faster-whisper {number}/{len(jobs)} {job['label']} {seconds:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
