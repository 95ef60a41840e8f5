"""What was named on the command line, as single inputs, and what to call their outputs."""

import glob
from collections.abc import Sequence
from pathlib import Path

from viska.errors import AudioError

STANDARD_INPUT = "-"
SOUND = ".aac .ac3 .aif .aiff .amr .caf .flac .m4a .m4b .mka .mp2 .mp3 .oga .ogg .opus .wav .wma"
VIDEO = ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv"
SUFFIXES = frozenset(f"{SOUND} {VIDEO}".split())
"""Endings of the files that are taken from a folder; a file that is named itself may have any."""


def expand(names: Sequence[str]) -> list[str]:
    """Folders as the sound and video files in them (by name, not in folders below), patterns as what they match.

    Raises AudioError for a folder or a pattern that gives nothing.
    """
    try:
        return [single for name in names for single in _expand_one(name)]
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be entered
        raise AudioError(
            f"{', '.join(names)} cannot be looked up ({error}); check the path and its permissions"
        ) from error


def _expand_one(name: str) -> list[str]:
    path = Path(name)
    if name == STANDARD_INPUT or path.is_file():
        return [name]
    if path.is_dir():
        files = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise AudioError(
                f"the folder {name!r} has no sound or video files in it (looked for {' '.join(sorted(SUFFIXES))}); "
                "name a folder that has, or single files"
            )
        return files
    if glob.has_magic(name):  # shells that do not expand patterns pass them on
        matches = sorted(match for match in glob.glob(name, recursive=True) if Path(match).is_file())  # noqa: PTH207  # may be absolute
        if not matches:
            raise AudioError(f"no file matches the pattern {name!r}; check the path")
        return matches
    return [name]  # missing: reading it says so


def output_names(inputs: Sequence[str]) -> list[Path]:
    """A file name for the output of each input, by its stem; inputs that share one are told apart by a number."""
    names: list[Path] = []
    taken: set[str] = set()
    for audio in inputs:
        path = Path("stdin.wav" if audio == STANDARD_INPUT else audio)
        stem, number = path.stem, 1
        while path.stem in taken:
            number += 1
            path = path.with_name(f"{stem}-{number}{path.suffix}")
        taken.add(path.stem)
        names.append(path)
    return names
