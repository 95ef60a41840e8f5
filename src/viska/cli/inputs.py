"""What was named on the command line, as single inputs, and what to call their outputs."""

import glob
import logging
import os
from collections.abc import Sequence, Set
from pathlib import Path

from viska.errors import AudioError

logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
SOUND = ".aac .ac3 .aif .aiff .amr .caf .flac .m4a .m4b .mka .mp2 .mp3 .oga .ogg .opus .wav .wma"
VIDEO = ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv"
SUFFIXES = frozenset(f"{SOUND} {VIDEO}".split())
"""Endings of the files that are taken from a folder; a file that is named itself may have any."""


def expand(names: Sequence[str], beside: Sequence[str] = ()) -> list[str]:
    """Folders as the sound and video files in them, by name, patterns as what they match.

    What is further down in a folder is left out, with a warning where there is any, unless its folder is named too, if
    only `beside` these. Raises AudioError for a folder or a pattern that gives nothing.
    """
    try:
        return [single for name in names for single in _expand_one(name, {Path(other) for other in (*names, *beside)})]
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be entered
        raise AudioError(
            f"{', '.join(names)} cannot be looked up ({error}); check the path and its permissions"
        ) from error


def _expand_one(name: str, named: Set[Path]) -> list[str]:
    if not name:  # as Path it is the current folder
        raise AudioError("an input is named '', as a variable that is not set is; give the path of a file or folder")
    path = Path(name)
    if name == STANDARD_INPUT or path.is_file():
        return [name]
    if path.is_dir():
        return _expand_folder(path, named)
    if glob.has_magic(name):  # shells that do not expand patterns pass them on
        matches = sorted(match for match in glob.glob(name, recursive=True) if Path(match).is_file())  # noqa: PTH207  # may be absolute
        if not matches:
            raise AudioError(f"no file matches the pattern {name!r}; check the path")
        return matches
    return [name]  # missing: reading it says so


def _expand_folder(folder: Path, named: Set[Path]) -> list[str]:
    name, inner = str(folder), sorted(folder.iterdir())
    files = [str(path) for path in inner if _is_sound(path)]
    below = ", ".join(str(path) for path in inner if path not in named and path.is_dir() and _has_sound(path))
    if not files and not below:
        raise AudioError(
            f"the folder {name!r} has no sound or video files in it (looked for {' '.join(sorted(SUFFIXES))}); "
            "name a folder that has, or single files"
        )
    if not files:
        raise AudioError(f"the folder {name!r} has its sound or video files in folders below: name these, {below}")
    if below:
        logger.warning(
            "left out, as folders in %s are not searched: %s; name them too to have their files", name, below
        )
    return files


def _is_sound(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and file.is_file()


def _has_sound(folder: Path) -> bool:
    """Whether there is sound or video in it, or further down."""
    return any(_is_sound(Path(place, file)) for place, _, files in os.walk(folder) for file in files)


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
