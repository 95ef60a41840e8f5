"""Which C code a library was built from. Standard library alone: the build (hatch_build.py) runs it as well."""

import hashlib
from pathlib import Path


def digest(folder: Path = Path(__file__).parent) -> str:
    """SHA-256 of all C files of a folder, names and contents."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.[ch]")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
