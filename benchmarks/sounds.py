"""What is made of sounds that are no speech: `python -m benchmarks.sounds FOLDER...`.

Every sound file in the folders is transcribed, and what is said of it is printed. The sounds of games are hard ones:
growls, sirens, engines and chimes that are over in a second, of which voice activity takes many for half a word. Debian
has thousands, such as those of wesnoth-1.16-data, hedgewars-data, lincity-ng-data and supertux-data (`apt-get download
PACKAGE`, `dpkg-deb -x FILE FOLDER`); in some of them somebody does speak.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from viska.audio import load_audio
from viska.errors import ViskaError
from viska.weights import load_model

RATE = 16_000
SUFFIXES = {".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"}


def main() -> int:
    """Transcribe them one by one, as the command line does by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sounds", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", default="base")
    parser.add_argument("--without", nargs="*", default=(), help="leave out files with one of these in their path")
    parser.add_argument("--longest", type=float, default=60.0, help="leave out longer files, in seconds")
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    model = load_model(flags.model, device="cpu")
    n_files, n_spoken, n_words, seconds = 0, 0, 0, 0.0
    for path in sounds(flags.folders, flags.without):
        try:
            samples = load_audio(path)
        except ViskaError as error:
            _show(f"{path}: {error}")
            continue
        if len(samples) > flags.longest * RATE:
            continue
        said = model.transcribe(samples, beam_size=5, best_of=5).text.strip()
        n_files, n_spoken = n_files + 1, n_spoken + bool(said)
        n_words, seconds = n_words + len(said.split()), seconds + len(samples) / RATE
        if said:
            _show(f"{path}: {said}")
    _show(f"{n_files} files, {seconds / 3600:.2f} h: text in {n_spoken}, {n_words} words")
    return 0


def sounds(folders: Iterable[Path], without: Iterable[str]) -> Iterator[Path]:
    """The sound files in the folders, in the order of their names."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file() and not any(part in str(path) for part in without):
                yield path


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
