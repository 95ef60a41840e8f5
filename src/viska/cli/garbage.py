"""Python's search for garbage, where a short process has none: among the imports, and at its end."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def imports_kept() -> Iterator[None]:
    """What is made in this block is not searched for garbage: torch brings hundreds of thousands of objects.

    A process that has torch already keeps its habits: what it holds may well become garbage.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def end_without_search() -> None:
    """Let the process end without looking through everything first, which takes half a second with torch."""
    atexit.register(gc.freeze)
