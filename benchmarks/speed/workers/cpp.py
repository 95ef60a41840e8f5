"""whisper.cpp, through pywhispercpp, as a worker; see `protocol`. Recordings are `.npy` arrays: it reads WAV alone."""

import argparse
from importlib.metadata import version
from typing import Any

import numpy as np
import pywhispercpp.model
from protocol import Answer, Each, serve


def load(args: argparse.Namespace) -> tuple[Each, None, dict[str, str]]:
    """A model in ggml's form, whose file says which format it has."""
    models: dict[int, pywhispercpp.model.Model] = {}

    def of(beam_size: int) -> pywhispercpp.model.Model:
        if beam_size not in models:
            models.clear()  # of the same weights: one at a time
            models[beam_size] = pywhispercpp.model.Model(
                args.weights,
                params_sampling_strategy=int(beam_size > 1),
                redirect_whispercpp_logs_to=None,
                n_threads=args.threads,
                print_progress=False,
                print_realtime=False,
            )
        return models[beam_size]

    def each(path: str, options: dict[str, Any]) -> Answer:
        options = dict(options)
        beam_size = options.pop("beam_size", 1)
        search = {"beam_search": {"beam_size": beam_size, "patience": -1.0}} if beam_size > 1 else {}
        segments = of(beam_size).transcribe(np.load(path), **search, **options)
        return {"text": " ".join(segment.text for segment in segments), "language": options.get("language")}

    of(1)
    return each, None, {"pywhispercpp": version("pywhispercpp")}


if __name__ == "__main__":
    serve(load)
