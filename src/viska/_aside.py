"""Sound decoded beside the main thread, which alone handles signals.

Whatever a signal's handler raises, KeyboardInterrupt at Ctrl-C to begin with, comes up in the main thread before its
next line of Python. In compiled code that may be the wrong place: where PyAV meets an error, be it only that a frame is
not ready yet, Cython evaluates `sys._getframe()` for the traceback and drops what comes of it; and what comes up while
FFmpeg reads from a file object that is written in Python cannot pass through FFmpeg. The interrupt is lost, and no word
is said. A caller that waits for another thread gets it at once.
"""

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

_BATCH = 2**18  # bytes, 8 s of sound: to wait for each block of some milliseconds would cost more than to decode it


def aside(blocks: Generator[memoryview, None, None]) -> Iterator[bytearray]:
    """What these blocks hold, in larger ones; for the main thread they are made, and closed, in another one."""
    if threading.current_thread() is not threading.main_thread():
        # No signal is handled here, and no thread can be begun any more where the main thread is through already.
        yield from _batches(blocks)
        return
    with ThreadPoolExecutor(1, "viska-audio") as thread:
        batches = _batches(blocks)
        try:
            while (batch := thread.submit(next, batches, None).result()) is not None:
                yield batch
        finally:
            thread.submit(batches.close)


def _batches(blocks: Generator[memoryview, None, None]) -> Generator[bytearray, None, None]:
    batch = bytearray()
    try:
        for block in blocks:
            batch += block
            if len(batch) >= _BATCH:
                yield batch
                batch = bytearray()
        if batch:
            yield batch
    finally:
        blocks.close()
