"""Memory that was freed, back to the system: recordings of all lengths leave a heap full of holes behind."""

import ctypes
import threading
import time
from collections.abc import Callable

EVERY_S = 5.0


def _trim_of_glibc() -> Callable[[], None]:
    """What gives free pages back; nothing, where the C library does so by itself or cannot."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda: None

    def give_back() -> None:
        trim(0)

    return give_back


class GiveBack:
    """Gives free memory back when it is called, from any thread, but not more often than is worth its while."""

    def __init__(self, trim: Callable[[], None] | None = None, every_s: float = EVERY_S) -> None:
        self._trim, self._every_s = trim or _trim_of_glibc(), every_s
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Do so, if it is time; one thread at once."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._last >= self._every_s:
                self._trim()
                self._last = time.monotonic()
        finally:
            self._lock.release()
