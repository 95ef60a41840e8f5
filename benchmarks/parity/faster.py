"""A second rival's side: transcribes arrays greedily with `faster-whisper`, in its own interpreter; JSON lines out."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel


def main() -> None:
    """Write the text of every array, in order, as one JSON line each."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a folder with model.bin")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("arrays", nargs="+", type=Path)
    args = parser.parse_args()
    model = WhisperModel(str(args.model), device="cpu", compute_type="float32", cpu_threads=args.threads)
    for path in args.arrays:
        segments, _ = model.transcribe(
            np.load(path), language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        print(json.dumps("".join(segment.text for segment in segments)), flush=True)
        print(f"faster-whisper {path.stem[:8]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
