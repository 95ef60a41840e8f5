"""The rival's side: regions that faster-whisper's voice activity finds, in its own interpreter.

Standard input is JSON, `{"audio": [paths of float32 .npy arrays], "options": [VadOptions as dicts]}`; standard output
is JSON, `{"regions": [for each options, for each array, [[start, end], ...] in samples], "seconds": of one pass}`.
"""

import json
import sys
import time

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps


def main() -> None:
    """Answer."""
    job = json.load(sys.stdin)
    get_speech_timestamps(np.zeros(16000, dtype=np.float32))  # reads the model
    arrays = [np.load(path) for path in job["audio"]]
    regions = []
    for options in job["options"]:
        start = time.perf_counter()
        found = [get_speech_timestamps(array, VadOptions(**options)) for array in arrays]
        seconds = time.perf_counter() - start
        regions.append([[(region["start"], region["end"]) for region in one] for one in found])
    print(json.dumps({"regions": regions, "seconds": seconds}))


if __name__ == "__main__":
    main()
