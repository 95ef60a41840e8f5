"""openai-whisper as a worker; see `protocol`."""

import argparse
import warnings
from typing import Any

import torch
import whisper
from protocol import Answer, Each, serve, sound


def load(args: argparse.Namespace) -> tuple[Each, None, dict[str, str]]:
    """A model in float32, the only format it has for a CPU."""
    warnings.filterwarnings("ignore", message="FP16 is not supported on CPU")
    torch.set_num_threads(args.threads)
    model = whisper.load_model(args.weights, device="cpu")

    def each(path: str, options: dict[str, Any]) -> Answer:
        result = model.transcribe(sound(path), fp16=False, **options)
        return {"text": result["text"], "language": result["language"]}

    return each, None, {"openai-whisper": whisper.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    serve(load)
