"""What a long job has decided so far, on the disk: after a kill it goes on from there.

    journal = Journal(path, identity_of(recording, model, options, stretches))
    journal.checkpoints                             # by the number of the stretch: empty where the job is new
    journal.append(number, checkpoint)              # after each window; on the disk when it returns

The first line is the identity of the job: a journal serves no other recording, model, options or version. Each of the
others is what a window has changed of a stretch. Every line begins with a checksum of all up to its end, so that a line
that was being written when the process died, and whatever else does not belong there, is told: what is behind the last
sound line is overwritten, and its windows are decoded again.
"""

import errno
import hashlib
import json
import logging
import os
import sys
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch

from viska.errors import OptionError, OutputError
from viska.formats import write_text
from viska.recording import Recording
from viska.result import GuardEvent, Segment, TokenAlternative, Word
from viska.version import __version__

if TYPE_CHECKING:
    from viska.model import Whisper
    from viska.transcription.options import TranscribeOptions
    from viska.transcription.stretch import Stretch

logger = logging.getLogger(__name__)

NAME = "viska_journal"
_FEW = 1 << 20  # values to hash at once: a copy of the whole model would be too much


@dataclass(frozen=True)
class Checkpoint:
    """Where a stretch stands between two windows, and all that the next ones depend on.

    `seek` is the frame at which the next window begins, `clips_left` how many clips are not yet done with. `history`
    are the tokens that may stand before the next window, `initial_in_reach` tells whether those of the initial prompt
    are among them. `spoke` tells whether anything was said, `language` in which language last, `last_speech_s` up to
    where. `segments` and `events` are all so far; `finished` says that no others come.
    """

    seek: int
    clips_left: int
    history: tuple[int, ...]
    initial_in_reach: bool
    spoke: bool
    language: str
    last_speech_s: float
    segments: tuple[Segment, ...]
    events: tuple[GuardEvent, ...]
    finished: bool = False


_GROWING = ("history", "segments", "events")  # at their ends: a line has only what is new


class Journal:
    """The journal of one job: what was decided when it broke off, and where to write what is decided from now on.

    `language_probs` is what was heard at the beginning, where the job had to tell the language. Raises OptionError for
    the journal of another job or process and for a file that is no journal, which all stay as they are, and OutputError
    where it cannot be written.

    The file stays open: one that is removed meanwhile is no reason to lose what the job goes on to decide.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise OptionError(f"journal is {path!r}; accepted is the path of a file, or None")
        self.path = Path(path)
        self.checkpoints: dict[int, Checkpoint] = {}
        self.language_probs: dict[str, float] | None = None
        self._size, self._sum = 0, 0
        try:
            self._file = _open_or_begin(self.path, _line(json.dumps({NAME: 1, **identity}), 0))
            weakref.finalize(self, os.close, self._file)
            _lock(self._file, self.path)
            with self._opened() as file:
                lines = file.read().splitlines(keepends=True)
        except (OutputError, OptionError):  # one that is a ValueError too, and says what to do
            raise
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            reason = getattr(error, "strerror", None) or error
            raise OptionError(
                f"the journal {self.path} cannot be read: {reason}; remove it, or name another"
            ) from error
        self._check(lines[0] if lines else b"", identity)
        for number, line in enumerate(lines[1:], start=2):
            if not self._take(line):
                logger.warning("%s: line %d is not whole; going on from the line before", self.path, number)
                break

    def forget_parts(self, n_together: int, n_stretches: int) -> None:
        """Forget the stretches, of so many together, that are not all finished."""
        for first in range(0, n_stretches, n_together):
            group = range(first, min(first + n_together, n_stretches))
            if not all(number in self.checkpoints and self.checkpoints[number].finished for number in group):
                for number in group:
                    self.checkpoints.pop(number, None)

    def append(self, number: int, checkpoint: Checkpoint) -> None:
        """Write down where stretch `number` stands; it survives a kill, and a power cut, from the return on."""
        self._write({"stretch": number, **_changes(self.checkpoints.get(number), checkpoint)})
        self.checkpoints[number] = checkpoint

    def hear(self, language_probs: Mapping[str, float]) -> None:
        """Write down in which language the recording is, as language code -> probability."""
        self.language_probs = dict(language_probs)
        self._write({"language_probs": self.language_probs})

    def _write(self, facts: Mapping[str, Any]) -> None:
        line = _line(json.dumps(facts), self._sum)
        try:
            with self._opened() as file:
                file.seek(self._size)
                file.truncate()  # of what was begun and not finished
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"the journal {self.path} cannot be written: {error.strerror or error}; make room or leave the file "
                "where it is, and resume"
            ) from error
        self._advance(line)

    def _opened(self) -> BinaryIO:
        file = open(self._file, "r+b", closefd=False)  # noqa: SIM115  # a descriptor; its users close it
        file.seek(0)
        return file

    def _advance(self, line: bytes) -> None:
        self._size, self._sum = self._size + len(line), zlib.crc32(line, self._sum)

    def _check(self, line: bytes, identity: Mapping[str, str]) -> None:
        found = _facts(line, 0)
        if found is None or NAME not in found:
            raise OptionError(f"{self.path} is no journal of Viska's, and is left alone; move it away, or name another")
        if differences := list(_differences(found, {NAME: 1, **identity})):
            raise OptionError(
                f"the journal {self.path} belongs to another job ({'; '.join(differences)}): ask for that job again as "
                "it was begun, or remove the journal to begin anew"
            )
        self._advance(line)

    def _take(self, line: bytes) -> bool:
        """Take in a line; whether it is sound."""
        facts = _facts(line, self._sum)
        if facts is None:
            return False
        if "stretch" in facts:
            number = facts.pop("stretch")
            self.checkpoints[number] = _changed(self.checkpoints.get(number), facts)
        else:
            self.language_probs = facts["language_probs"]
        self._advance(line)
        return True


def _open_or_begin(path: Path, first_line: bytes) -> int:
    """A descriptor of the journal, which is made where there is none, whole or not at all."""
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        write_text(path, first_line.decode())
        return os.open(path, flags)


def _lock(file: int, path: Path) -> None:
    """Keep other processes out. Not everywhere are there locks: where there are none, nobody is kept out."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise OptionError(
                f"the journal {path} is being written by another process: let it end, or name another journal"
            ) from error


def identity_of(
    recording: Recording, model: "Whisper", options: "TranscribeOptions", stretches: Iterable["Stretch"]
) -> dict[str, str]:
    """What the result of a job depends on, by names for the user: each option, and digests of what is large."""
    cut = repr([(stretch.pieces, stretch.clips) for stretch in stretches])
    own = {name: value for name, value in vars(options).items() if name != "decoding"}
    return {
        "version": __version__,
        "recording": _digest(np.ascontiguousarray(block).data for block in recording.blocks()),
        "model": _digest(_weights(model)),
        "compute_type": f"{model.compute_type} on {model.device.type}",
        **{name: _spelled(value) for name, value in {**own, **vars(options.decoding)}.items()},
        "cut into windows": _digest([cut.encode()]),
    }


def _weights(model: "Whisper") -> Iterable[Any]:
    yield repr((model.dims, model.added_tokens, model.alignment_pairs)).encode()
    for name, value in sorted(model.state_dict().items()):
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode()
        for piece in value.detach().reshape(-1).split(_FEW):
            yield piece.cpu().contiguous().view(torch.uint8).numpy().data


def _digest(pieces: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def _spelled(value: Any) -> str:
    """The same for equal values, in every process: sets come in no order."""
    return repr(sorted(value) if isinstance(value, (set, frozenset)) else value)


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterable[str]:
    for name in {**wanted, **found}:
        old, new = found.get(name), wanted.get(name)
        if old != new:
            large = str(new).startswith("sha256:")
            yield f"another {name}" if large else f"{name} was {old} and is {new}"


def _line(text: str, before: int) -> bytes:
    """A line behind others with that checksum."""
    content = f" {text}\n".encode()
    return f"{zlib.crc32(content, before):08x}".encode() + content


def _facts(line: bytes, before: int) -> dict[str, Any] | None:
    """What a line says; None where it is not whole, or was not written behind lines with that checksum."""
    content = line[8:]
    if not content.endswith(b"\n") or line[:8] != f"{zlib.crc32(content, before):08x}".encode():
        return None
    facts = json.loads(content)
    return facts if isinstance(facts, dict) else None


def _changes(before: Checkpoint | None, after: Checkpoint) -> dict[str, Any]:
    """The fields; of those that grow, how much is kept and what comes behind it."""
    facts: dict[str, Any] = {field.name: getattr(after, field.name) for field in fields(Checkpoint)}
    for name in _GROWING:
        kept = _kept(getattr(before, name) if before is not None else (), facts[name])
        facts[name] = [kept, [item if isinstance(item, int) else asdict(item) for item in facts[name][kept:]]]
    return facts


def _kept(old: Sequence[object], new: Sequence[object]) -> int:
    """How many items are still those of before: all or none."""
    return len(old) if new[: len(old)] == old else 0


def _changed(before: Checkpoint | None, facts: Mapping[str, Any]) -> Checkpoint:
    makers: dict[str, Callable[[Any], object]] = {
        "history": int,
        "segments": _segment,
        "events": lambda event: GuardEvent(**event),
    }
    grown = {}
    for name, make in makers.items():
        kept, added = facts[name]
        old = getattr(before, name)[:kept] if before is not None else ()
        grown[name] = (*old, *map(make, added))
    return Checkpoint(**{**facts, **grown})


def _segment(facts: Mapping[str, Any]) -> Segment:
    words, logprobs, top = facts["words"], facts["token_logprobs"], facts["top_logprobs"]
    tuples = {
        "tokens": tuple(facts["tokens"]),
        "words": words if words is None else tuple(Word(**word) for word in words),
        "token_logprobs": logprobs if logprobs is None else tuple(logprobs),
        "top_logprobs": top if top is None else tuple(tuple(TokenAlternative(**one) for one in place) for place in top),
    }
    return Segment(**{**facts, **tuples})
