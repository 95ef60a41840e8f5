"""faster-whisper as a worker; see `protocol`. Options with `batch_size` go to its batched pipeline."""

import argparse
from typing import Any

import ctranslate2
import faster_whisper
import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
from protocol import Answer, Each, Together, serve, sound

RATE = 16000
PAUSE_S = 0.5
MOST_S = 30.0  # of a chunk of the batched pipeline


def load(args: argparse.Namespace) -> tuple[Each, Together, dict[str, str]]:
    """A model of one compute type."""
    model = WhisperModel(args.weights, device="cpu", compute_type=args.compute_type, cpu_threads=args.threads)
    batched = BatchedInferencePipeline(model)

    def each(path: str, options: dict[str, Any]) -> Answer:
        segments, info = (batched if "batch_size" in options else model).transcribe(sound(path), **options)
        return {"text": "".join(segment.text for segment in segments), "language": info.language}

    def together(paths: list[str], options: dict[str, Any]) -> list[Answer]:
        return _joined(batched, paths, options)

    return each, together, {"faster-whisper": faster_whisper.__version__, "ctranslate2": ctranslate2.__version__}


def _joined(batched: BatchedInferencePipeline, paths: list[str], options: dict[str, Any]) -> list[Answer]:
    """Many recordings of up to half a minute in batches, which the library has no call for: joined to one, each the
    chunk of its own, with the language told of every chunk."""
    pieces, clips, begin_s = [], [], 0.0
    for path in paths:
        samples = decode_audio(path, sampling_rate=RATE)[: int(MOST_S * RATE)]
        clips.append({"start": begin_s, "end": begin_s + len(samples) / RATE})
        pieces += [samples, np.zeros(int(PAUSE_S * RATE), dtype=np.float32)]
        begin_s = sum(map(len, pieces)) / RATE
    segments, _ = batched.transcribe(
        np.concatenate(pieces), clip_timestamps=clips, language="en", multilingual=True, **options
    )
    texts = [""] * len(paths)
    places = {int(clip["start"] * 100): number for number, clip in enumerate(clips)}
    for segment in segments:
        texts[places[segment.seek]] += segment.text
    return [{"text": text, "language": None} for text in texts]


if __name__ == "__main__":
    serve(load)
