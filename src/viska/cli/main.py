"""Run the command line, and turn errors into messages and exit statuses."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from viska.cli.parser import transcribe_parser, with_underscores
from viska.errors import OutputError, ViskaError

if TYPE_CHECKING:
    from viska.transcription import TranscribeOptions, Transcription

INTERRUPTED = 130
BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `viska` with these arguments, or those of the process; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    logging.basicConfig(format="viska: %(message)s", level=logging.WARNING)
    try:
        if arguments[:1] == ["models"]:
            return _run_models(arguments)
        return run_transcribe(transcribe_parser().parse_args(with_underscores(arguments)))
    except ViskaError as error:
        return report(error)
    except KeyboardInterrupt:
        print("viska: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def report(error: ViskaError) -> int:
    """Say what is wrong, on standard error; returns the exit status for it."""
    print(f"viska: error: {error}", file=sys.stderr)
    return error.exit_code


def _run_models(arguments: Sequence[str]) -> int:
    from viska.cli.models import add_models_parser, run_models

    parser = argparse.ArgumentParser(prog="viska")
    add_models_parser(parser.add_subparsers(dest="command", required=True))
    return run_models(parser.parse_args(arguments))


def run_transcribe(flags: argparse.Namespace) -> int:
    """Transcribe each input and write its transcript; goes on after one that fails."""
    # Heavy, and not needed for --help or a wrong flag.
    import torch

    from viska.audio import load_audio
    from viska.transcription import Transcription
    from viska.weights import load_model

    options = options_of(flags)
    check_writable(Path(flags.output_dir))
    if flags.threads > 0:
        torch.set_num_threads(flags.threads)
    model = None
    status = 0
    for audio, name in zip(flags.audio, output_names(flags.audio), strict=True):
        try:
            samples = load_audio(audio)  # before the model, which may take long to come
            model = model or load_model(flags.model, flags.device, flags.model_dir, compute_type=flags.compute_type)
            transcribe_one(Transcription(model, samples, options), name, flags)
        except ViskaError as error:
            reported = report(error)
            status = status or reported
            if model is None and error.exit_code == 4:
                break  # it will not come for the next input either
    return status


def options_of(flags: argparse.Namespace) -> "TranscribeOptions":
    """The flags as options. Raises OptionError for what is not accepted."""
    from viska.transcription import transcribe_options

    elsewhere = {"audio", "model", "model_dir", "device", "compute_type", "threads", "output_dir", "output_format"}
    keywords = {name: value for name, value in vars(flags).items() if name not in {*elsewhere, "verbose"}}
    step = keywords.pop("temperature_increment_on_fallback")
    keywords["temperature"] = ladder(keywords["temperature"], step)
    return transcribe_options(keywords)


def ladder(temperature: float, step: float | None) -> tuple[float, ...]:
    """From a first temperature up to 1, in these steps; None or 0 makes it the only one."""
    if not step or step < 0:
        return (temperature,)
    return tuple(round(temperature + i * step, 6) for i in range(int((1 - temperature) / step + 1e-6) + 1)) or (
        temperature,
    )


def transcribe_one(job: "Transcription", name: Path, flags: argparse.Namespace) -> None:
    """Transcribe, showing text or progress as it comes, and write the files."""
    from viska.formats import write
    from viska.transcription.pipeline import progress_bar, segment_line

    with progress_bar(job, show=not (flags.verbose and sys.stdout.isatty())) as bar:
        for segment in job:
            if flags.verbose:
                print(segment_line(segment), flush=True)
            bar.update(job.position_s - bar.n)
        bar.update(job.position_s - bar.n)
    transcript = job.transcript()
    try:
        write(transcript, name, flags.output_dir, flags.output_format)
    except OutputError:
        if not flags.verbose:  # else it is on standard output already
            print(transcript.text)
        raise


def output_names(inputs: Sequence[str]) -> list[Path]:
    """A file name for the output of each input, by its stem; inputs that share one are told apart by a number."""
    names: list[Path] = []
    taken: set[str] = set()
    for audio in inputs:
        path = Path("stdin.wav" if audio == "-" else audio)
        stem, number = path.stem, 1
        while path.stem in taken:
            number += 1
            path = path.with_name(f"{stem}-{number}{path.suffix}")
        taken.add(path.stem)
        names.append(path)
    return names


def check_writable(folder: Path) -> None:
    """Raise OutputError where the results could not be written, before the work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the output folder {folder}: {error.strerror}; choose another one") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the output folder {folder} cannot be written to; choose another one with --output_dir")
