"""What `viska` can be told to do besides transcribing.

Each command is loaded when it is called, so that `viska --help` waits for none of them.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`viska NAME ARGUMENTS`: `run` takes the arguments and returns the exit status; `parser` makes their parser."""

    help: str
    parser: Callable[[], argparse.ArgumentParser]
    run: Callable[[Sequence[str]], int]


def _models_parser() -> argparse.ArgumentParser:
    from viska.cli.models import models_parser

    return models_parser()


def _models(arguments: Sequence[str]) -> int:
    from viska.cli.models import run_models

    return run_models(_models_parser().parse_args(arguments))


def _eval_parser() -> argparse.ArgumentParser:
    from viska.cli.evaluate import eval_parser

    return eval_parser()


def _eval(arguments: Sequence[str]) -> int:
    from viska.cli.evaluate import run_eval

    return run_eval(_eval_parser().parse_args(arguments))


def _serve_parser() -> argparse.ArgumentParser:
    from viska.cli.serve import serve_parser

    return serve_parser()


def _serve(arguments: Sequence[str]) -> int:
    from viska.cli.serve import run_serve

    return run_serve(arguments)


def _completion_parser() -> argparse.ArgumentParser:
    from viska.cli.completion import completion_parser

    return completion_parser()


def _completion(arguments: Sequence[str]) -> int:
    from viska.cli.completion import run_completion

    return run_completion(_completion_parser().parse_args(arguments))


COMMANDS: Mapping[str, Command] = {
    "models": Command("list, fetch, remove and convert models", _models_parser, _models),
    "eval": Command("measure how good transcripts are", _eval_parser, _eval),
    "serve": Command("serve the hosted transcription API", _serve_parser, _serve),
    "completion": Command("print what makes a shell complete all this", _completion_parser, _completion),
}
