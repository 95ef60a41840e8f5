"""Models in memory: each loaded once, used by many, and let go when others need the room or nobody comes."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from viska.errors import ModelError
from viska.model import Whisper
from viska.weights import load_model

logger = logging.getLogger(__name__)

Load = Callable[[str], Whisper]
MB = 1_000_000


@dataclass
class _Loaded:
    model: Whisper
    size: int
    users: int = 0
    last_used: float = 0.0


class ModelStore:
    """The models that may be asked for, by name; the first is the default.

    `budget_mb` bounds the weights in memory: what was not used for longest goes first, and what is in use stays, so
    that a further model waits until there is room. `unload_after_s` lets a model go that nobody used for so long. 0
    turns either off.
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
        self._turn = threading.Condition()
        self._loading = threading.Lock()

    def resolve(self, name: str) -> str | None:
        """The model that a name means, or None."""
        return name if name in self.names else self.aliases.get(name)

    def loaded(self) -> dict[str, int]:
        """The models in memory, with their bytes."""
        with self._turn:
            return {name: entry.size for name, entry in self._loaded.items()}

    @contextmanager
    def use(self, name: str) -> Iterator[Whisper]:
        """The model of one of `names`, kept in memory meanwhile. Raises ModelError where it cannot be had."""
        entry = self._acquire(name)
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

    def _acquire(self, name: str) -> _Loaded:
        with self._turn:
            if (entry := self._loaded.get(name)) is not None:
                entry.users += 1
                return entry
        with self._loading:  # one at a time: two would both fit, and then both not
            with self._turn:
                if (entry := self._loaded.get(name)) is not None:
                    entry.users += 1
                    return entry
            return self._loaded_now(name)

    def _loaded_now(self, name: str) -> _Loaded:
        # Room is made behind the loading, which tells the size: for a moment both models are in memory.
        model = self._load(name)
        size = sum(weights.numel() * weights.element_size() for weights in model.parameters())
        if self._budget and size > self._budget:
            raise ModelError(
                f"{name} has {size / MB:.0f} MB of weights, more than the memory budget of {self._budget / MB:.0f} MB"
            )
        with self._turn:
            while not self._make_room(size):
                self._turn.wait()
            entry = self._loaded[name] = _Loaded(model, size, users=1, last_used=time.monotonic())
        logger.info("loaded %s, %.0f MB", name, size / MB)
        return entry

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
