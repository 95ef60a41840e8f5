"""Which threads compute with all processors: those that decode, and no others.

Each thread that computes with torch gets helpers of its own from OpenMP. Where there are more of all these than
processors, they no longer watch for each other but sleep, and a step of the decoder, in which they meet fifty times,
takes twice as long; also where the others have nothing to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def compute_alone() -> None:
    """Let this thread have no helpers."""
    torch.get_num_threads()  # a thread that did not ask before takes over what was set last in any thread, when it does
    torch.set_num_threads(1)


@contextmanager
def others_alone() -> Iterator[None]:
    """While this lasts, other threads may `compute_alone`; those that come later compute with as many as this one."""
    n_threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
