"""What every source of a model offers, and the few file operations that all of them share."""

import hashlib
import os
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 1 << 20


class SourceError(Exception):
    """A source cannot deliver; the text says why, and the next source is tried. Never leaves this package."""


class WrongDigestError(SourceError):
    """A source delivered bytes that are not the expected ones."""


class Source(Protocol):
    """One place that a model can come from."""

    @property
    def label(self) -> str:
        """What messages call it."""

    @property
    def folder_name(self) -> str:
        """Where it keeps what it has begun to fetch."""

    @property
    def address(self) -> str | None:
        """An address whose host must answer before the source is tried; None where there is none to ask."""

    @property
    def offline_variables(self) -> tuple[str, ...]:
        """Environment variables that forbid this source alone when they are true; VISKA_OFFLINE forbids all."""

    def fetch(self, folder: Path) -> list[str]:
        """Put the model's files into `folder`, checked, and name them.

        Raises SourceError; an OSError is one of the local disk.
        """


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut, where the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file under a temporary name, flush it to the disk, and rename it."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
