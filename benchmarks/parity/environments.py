"""The rivals' own interpreters: virtual environments below `.oracle/`, made when they are first needed.

`VISKA_ORACLE_PYTHON` and `VISKA_FASTER_WHISPER_PYTHON` name interpreters that have the packages already.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".oracle"
OPENAI_WHISPER = "openai-whisper==20250625"
FASTER_WHISPER = "faster-whisper==1.2.1"


def oracle_python() -> str:
    """An interpreter with openai-whisper; its torch is the one that Viska is tested with.

    openai-whisper is published as source only and asks for a GPU compiler it does not need here, hence without its
    dependencies and without a build environment of its own.
    """
    needs = ("torch", "numba", "more-itertools", "tiktoken", "tqdm", "numpy", "setuptools", "wheel")
    steps = ((*needs, "-c", str(ROOT / "constraints.txt")), ("--no-deps", "--no-build-isolation", OPENAI_WHISPER))
    return os.environ.get("VISKA_ORACLE_PYTHON") or environment(WORK / "openai-whisper", steps)


def faster_whisper_python() -> str:
    """An interpreter with faster-whisper."""
    return os.environ.get("VISKA_FASTER_WHISPER_PYTHON") or environment(WORK / "faster-whisper", ((FASTER_WHISPER,),))


def environment(folder: Path, steps: Sequence[Sequence[str]]) -> str:
    """Make the environment unless a run before this one did so to the end."""
    python, finished = folder / "bin" / "python", folder / "finished"
    if not finished.is_file():
        print(f"Making {folder.relative_to(ROOT)} (once; minutes)", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for step in steps:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *step], check=True)
        finished.touch()
    return str(python)
