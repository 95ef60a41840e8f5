"""What a long job has decided so far, on the disk: after a kill it goes on from there.

    identity = identity_of(samples, model, options)
    before = read_journal(path, identity)                   # None: begin at the beginning
    with JournalWriter(path, identity) as journal:
        journal.append(checkpoint)                          # after each window; on the disk when it returns

JSON lines. The first is the identity of the job: a journal serves no other recording, model, options or version. Each
of the others is what a window has changed of the checkpoint before it. A line that was being written when the process
died is not whole, and is cut off before the next one is written: its window is decoded again.
"""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, BinaryIO, get_args, get_origin, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray

from viska.errors import OptionError, OutputError
from viska.result import Segment
from viska.version import __version__

if TYPE_CHECKING:
    from viska.model import Whisper
    from viska.transcription.options import TranscribeOptions

logger = logging.getLogger(__name__)

FORMAT = 1
_FEW = 1 << 20  # values to hash at once: a copy of the whole model would be too much


@dataclass(frozen=True)
class Identity:
    """What a result depends on: SHA-256 of the samples, of the model's weights and of the options, and our version."""

    audio: str
    model: str
    options: str
    version: str = __version__

    def differences(self, other: "Identity") -> list[str]:
        """The names of the fields that differ."""
        return [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]


@dataclass(frozen=True)
class Checkpoint:
    """Where a transcription stands between two windows, and all that the next ones depend on.

    `seek` is the mel frame (10 ms) at which the next window begins, in the clip of the number `clip`. `history` are the
    tokens that may stand before the next window, and `initial_in_reach` tells whether those of the initial prompt are
    still among them. `last_speech_s` is the end of the last word, `language` the code of the language that is being
    transcribed, `language_probs` what was heard at the beginning. `segments` are all that were decided so far.
    """

    seek: int = 0
    clip: int = 0
    history: tuple[int, ...] = ()
    initial_in_reach: bool = True
    last_speech_s: float = 0.0
    language: str | None = None
    language_probs: dict[str, float] | None = None
    segments: tuple[Segment, ...] = ()


_SEQUENCES = ("history", "segments")  # these grow at their end, so that a line has only what is new


def identity_of(samples: NDArray[np.float32], model: "Whisper", options: "TranscribeOptions") -> Identity:
    """The identity of the transcription of these samples with this model and these options."""
    weights = hashlib.sha256(repr(model.dims).encode())
    for name, value in sorted(model.state_dict().items()):
        weights.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        for piece in value.detach().reshape(-1).split(_FEW):
            weights.update(piece.cpu().contiguous().view(torch.uint8).numpy().data)
    return Identity(
        audio=hashlib.sha256(np.ascontiguousarray(samples).data).hexdigest(),
        model=weights.hexdigest(),
        options=hashlib.sha256(repr(options).encode()).hexdigest(),
    )


def read_journal(path: str | os.PathLike[str], identity: Identity) -> Checkpoint | None:
    """The last checkpoint of a journal; None where there is no file, or no whole checkpoint in it.

    Raises OptionError for a journal of another job and for a file that is no journal.
    """
    return _read(Path(path), identity)[0]


class JournalWriter:
    """Adds to a journal, a new one where there is none; a context manager.

    Raises what `read_journal` raises, and OutputError where it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Identity) -> None:
        self.path = Path(path)
        self._last, whole = _read(self.path, identity)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self.path.open("r+b" if self.path.exists() else "w+b")
            self._file.truncate(whole)
            self._file.seek(whole)
            if whole == 0:
                self._write({"viska_journal": FORMAT, **asdict(identity)})
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> "JournalWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; it survives a kill, and a power cut, from the return on."""
        try:
            self._write(_changes(self._last or Checkpoint(), checkpoint))
        except OSError as error:
            raise self._unwritable(error) from error
        self._last = checkpoint

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(_line(line))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"the journal {self.path} cannot be written: {error.strerror or error}; make room, or resume elsewhere"
        )


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _read(path: Path, identity: Identity) -> tuple[Checkpoint | None, int]:
    """The last whole checkpoint, and how many bytes of the file are whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None, 0
    except OSError as error:
        raise OptionError(f"the journal {path} cannot be read: {error.strerror}; remove it, or name another") from error
    header, *lines = data.splitlines(keepends=True) or [b""]
    if not header.endswith(b"\n") and _line({"viska_journal": FORMAT, **asdict(identity)}).startswith(header):
        return None, 0  # died while it was begun
    _check_header(path, header, identity)
    checkpoint, whole = None, len(header)
    for number, line in enumerate(lines, start=2):
        try:
            checkpoint = _changed(checkpoint or Checkpoint(), _parsed(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            logger.warning("%s: line %d is not whole (%s); going on from the line before", path, number, error)
            break
        whole += len(line)
    return checkpoint, whole


def _check_header(path: Path, line: bytes, identity: Identity) -> None:
    try:
        facts = _parsed(line)
        found = Identity(**{field.name: str(facts[field.name]) for field in fields(Identity)})
        known = facts["viska_journal"] == FORMAT
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise OptionError(f"{path} is no journal of Viska's, and is left alone; name another file") from error
    if differences := [*found.differences(identity), *([] if known else ["format"])]:
        raise OptionError(
            f"the journal {path} belongs to another job: its {', '.join(differences)} differs; ask for that job again, "
            "or remove the journal to begin anew"
        )


def _parsed(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise ValueError("cut off")
    value = json.loads(line)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _changes(before: Checkpoint, after: Checkpoint) -> dict[str, Any]:
    """The fields that differ; of those that grow, how much is kept and what comes behind it."""
    changes: dict[str, Any] = {"seek": after.seek}
    for field in fields(Checkpoint):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old == new:
            continue
        if field.name in _SEQUENCES:
            kept = _common(old, new)
            changes[field.name] = [kept, [asdict(item) if is_dataclass(item) else item for item in new[kept:]]]  # type: ignore[arg-type]
        else:
            changes[field.name] = new
    return changes


def _common(old: Sequence[object], new: Sequence[object]) -> int:
    """How many items both begin with."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(old), len(new)))


def _changed(before: Checkpoint, changes: Mapping[str, Any]) -> Checkpoint:
    values: dict[str, Any] = {field.name: getattr(before, field.name) for field in fields(Checkpoint)}
    hints = _hints(Checkpoint)
    for name, value in changes.items():
        if name in _SEQUENCES:
            kept, added = value
            if not 0 <= kept <= len(values[name]):
                raise ValueError(f"{name} goes on from {kept} of {len(values[name])}")
            values[name] = values[name][:kept] + _built(hints[name], added)
        else:
            values[name] = _built(hints[name], value)
    return Checkpoint(**values)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, vars(sys.modules[kind.__module__]))


def _built(kind: Any, value: Any) -> Any:
    """A value of this type from what JSON has made of it. Raises TypeError or KeyError where it is none."""
    arguments = get_args(kind)
    if NoneType in arguments:
        return None if value is None else _built(next(one for one in arguments if one is not NoneType), value)
    if get_origin(kind) is tuple:
        return tuple(_built(arguments[0], item) for item in value)
    if get_origin(kind) is dict:
        return {_built(arguments[0], key): _built(arguments[1], item) for key, item in value.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(**{name: _built(hint, value[name]) for name, hint in _hints(kind).items() if name in value})
    if not isinstance(value, (int, float) if kind is float else kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r:.50} is no {kind.__name__}")
    return value
