"""Viska as a worker; see `protocol`."""

import argparse
from typing import Any

from protocol import Answer, Each, Together, serve, sound

import viska


def load(args: argparse.Namespace) -> tuple[Each, Together, dict[str, str]]:
    """A model of one compute type."""
    import torch  # behind viska, as for those who import nothing else: viska tells OpenMP how to wait

    torch.set_num_threads(args.threads)
    model = viska.load_model(args.weights, compute_type=args.compute_type, device="cpu")

    def each(path: str, options: dict[str, Any]) -> Answer:
        transcript = viska.transcribe(model, sound(path), **options)
        return {"text": transcript.text, "language": transcript.language}

    def together(paths: list[str], options: dict[str, Any]) -> list[Answer]:
        found = {}
        for done in viska.transcribe_many(model, paths, **options):
            if done.error is not None:
                raise done.error
            found[done.audio] = {"text": done.transcript.text, "language": done.transcript.language}
        return [found[path] for path in paths]

    return each, together, {"viska": viska.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    serve(load)
