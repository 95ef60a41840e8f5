"""Models in memory: each loaded once, used by many, and let go when others need the room or nobody comes."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field

from viska.errors import ModelError
from viska.model import Whisper
from viska.server.errors import model_busy
from viska.weights import load_model

logger = logging.getLogger(__name__)

Load = Callable[[str], Whisper]
MB = 1_000_000
ROOM_PATIENCE_S = 60.0
"""How long a model waits for others to leave the memory."""
STAY_S = 5.0
"""How long a model that was loaded may be taken up by more users though another waits for its room."""
CHECK_S = 0.2
"""How often those who wait look whether anybody still wants it."""


@dataclass
class _Loaded:
    model: Whisper
    size: int
    users: int = 0
    last_used: float = 0.0
    since: float = field(default_factory=time.monotonic)


class ModelStore:
    """The models that may be asked for, by name; the first is the default.

    `budget_mb` bounds the weights in memory: what was not used for longest goes first, and what is in use stays, so
    that a further model waits until there is room; after some seconds nobody else begins, or there would never be any.
    `unload_after_s` lets a model go that nobody used for so long. 0 turns either off.
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Load = load_model,
        *,
        aliases: Mapping[str, str] | None = None,
        budget_mb: float = 0.0,
        unload_after_s: float = 0.0,
    ) -> None:
        self.names = tuple(names)
        self.aliases = dict(aliases or {})
        self._load = load
        self._budget = budget_mb * MB
        self._unload_after_s = unload_after_s
        self._loaded: dict[str, _Loaded] = {}
        self._sizes: dict[str, int] = {}  # of all that were ever loaded
        self._turn = threading.Condition()
        self._loading = False
        self._short_of_room = False

    def resolve(self, name: str) -> str | None:
        """The model that a name means, or None."""
        return name if name in self.names else self.aliases.get(name)

    def loaded(self) -> dict[str, int]:
        """The models in memory, with their bytes."""
        with self._turn:
            return {name: entry.size for name, entry in self._loaded.items()}

    @contextmanager
    def use(self, name: str, given_up: Callable[[], bool] = lambda: False) -> Iterator[Whisper]:
        """The model of one of `names`, kept in memory meanwhile.

        Raises ModelError where it cannot be had, ApiError where others leave no room for it in time, and CancelledError
        where it has been `given_up` while it was waited for.
        """
        entry = self._acquire(name, given_up)
        try:
            yield entry.model
        finally:
            with self._turn:
                entry.users -= 1
                entry.last_used = time.monotonic()
                self._turn.notify_all()

    def unload_idle(self) -> None:
        """Let go what nobody used for long."""
        if not self._unload_after_s:
            return
        with self._turn:
            latest = time.monotonic() - self._unload_after_s
            for name in [name for name, entry in self._idle() if entry.last_used <= latest]:
                self._drop(name)

    def _acquire(self, name: str, given_up: Callable[[], bool]) -> _Loaded:
        with self._turn:
            while self._short_of_room or (name not in self._loaded and self._loading):
                self._wait(given_up)
            if (entry := self._loaded.get(name)) is not None:
                entry.users += 1
                return entry
            self._loading = True  # one at a time: two would both fit, and then both not
        try:
            return self._loaded_now(name, given_up)
        finally:
            with self._turn:
                self._loading = False
                self._turn.notify_all()

    def _loaded_now(self, name: str, given_up: Callable[[], bool]) -> _Loaded:
        # The first loading tells the size: for a moment there is more in memory than the budget allows.
        self._check_budget(name)
        self._wait_for_room(name, given_up)
        model = self._load(name)
        size = self._sizes[name] = sum(weights.numel() * weights.element_size() for weights in model.parameters())
        self._check_budget(name)
        with self._turn:
            self._wait_for_room(name, given_up)
            entry = self._loaded[name] = _Loaded(model, size, users=1, last_used=time.monotonic())
        logger.info("loaded %s, %.0f MB", name, size / MB)
        return entry

    def _check_budget(self, name: str) -> None:
        size = self._sizes.get(name, 0)
        if self._budget and size > self._budget:
            raise ModelError(
                f"{name} has {size / MB:.0f} MB of weights, more than the memory budget of {self._budget / MB:.0f} MB"
            )

    def _wait_for_room(self, name: str, given_up: Callable[[], bool]) -> None:
        with self._turn:
            end = time.monotonic() + ROOM_PATIENCE_S
            try:
                while not self._make_room(self._sizes.get(name, 0)):
                    newest = max((entry.since for entry in self._loaded.values()), default=0.0)
                    self._short_of_room = time.monotonic() > newest + STAY_S
                    if time.monotonic() > end:
                        raise model_busy(name)
                    self._wait(given_up)
            finally:
                self._short_of_room = False
                self._turn.notify_all()

    def _wait(self, given_up: Callable[[], bool]) -> None:
        self._turn.wait(CHECK_S)
        if given_up():
            raise CancelledError

    def _make_room(self, size: int) -> bool:
        while self._budget and sum(entry.size for entry in self._loaded.values()) + size > self._budget:
            idle = self._idle()
            if not idle:
                return False
            self._drop(min(idle, key=lambda pair: pair[1].last_used)[0])
        return True

    def _idle(self) -> list[tuple[str, _Loaded]]:
        return [(name, entry) for name, entry in self._loaded.items() if entry.users == 0]

    def _drop(self, name: str) -> None:
        del self._loaded[name]
        logger.info("unloaded %s", name)
