"""How many requests may be inside at once."""

import math
import threading
import time
from collections.abc import Callable

from viska.server.errors import too_many

MAX_RETRY_AFTER_S = 60
MEMORY = 0.9


class Gate:
    """Lets `capacity` requests in, from the first byte of the upload to the end of the work; others are told when."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.inside = 0
        self._mean_stay_s = 1.0
        self._lock = threading.Lock()

    def enter(self) -> Callable[[], None]:
        """Take a place, and return what gives it back. Raises ApiError where none is free."""
        with self._lock:
            if self.inside >= self.capacity:
                raise too_many("the server is full; try again after the seconds in retry-after", self.retry_after())
            self.inside += 1
        entered, left = time.monotonic(), threading.Event()

        def leave() -> None:
            with self._lock:
                if left.is_set():
                    return
                left.set()
                self.inside -= 1
                self._mean_stay_s = MEMORY * self._mean_stay_s + (1 - MEMORY) * (time.monotonic() - entered)

        return leave

    def retry_after(self) -> int:
        """Seconds until a place is likely to be free: by Little's law one leaves every mean stay / capacity."""
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(self._mean_stay_s / self.capacity)))
