"""The report of a run as JSON: figures for people and scripts, and all scores, from which the figures come."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from viska.errors import OptionError
from viska.evaluation.score import Aligned, Judged, Lost, Score
from viska.evaluation.summary import Summary, summaries
from viska.formats.files import write_text
from viska.version import __version__

FORMAT = "viska-eval-1"


@dataclass(frozen=True, slots=True)
class Report:
    """The scores of one run; `facts` say of what: manifest, model, options, versions."""

    name: str
    scores: tuple[Score, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def summaries(self) -> list[Summary]:
        """The figures of all, and of each group."""
        return summaries(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return {
            "format": FORMAT,
            "viska": __version__,
            "name": self.name,
            "facts": dict(self.facts),
            "summaries": [asdict(one) for one in self.summaries()],
            "scores": [_short(asdict(one)) for one in self.scores],
        }


def _short(record: dict[str, Any]) -> dict[str, Any]:
    """A score's dict with rows for words and pairs, which are too many to repeat their field names each time."""
    aligned = [list(pair.values()) for pair in record["aligned"]]
    return {**record, "aligned": aligned, "words": [list(word.values()) for word in record["words"]]}


def write_report(report: Report, path: str | Path) -> None:
    """Write a report as JSON. Raises OutputError."""
    write_text(Path(path), json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n")


def read_report(path: str | Path) -> Report:
    """A report that `write_report` has written. Raises OptionError for anything else."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']!r}")
        scores = tuple(map(_score, record["scores"]))
        report = Report(record["name"], scores, record["facts"])
        _check_fields(report, "")
        return report
    except OSError as error:
        raise OptionError(f"{path} cannot be read ({error.strerror}); give a report of 'viska eval --json'") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OptionError(
            f"{path} is no report of this version ({error}); give one that 'viska eval --json' has written"
        ) from None


def _score(record: Mapping[str, Any]) -> Score:
    parts: dict[str, Sequence[Any]] = {
        "aligned": [Aligned(*row) for row in record["aligned"]],
        "words": [Judged(*row) for row in record["words"]],
        "lost": [Lost(**run) for run in record["lost"]],
        "boundary_errors": record["boundary_errors"],
    }
    return Score(**{**record, **{name: tuple(part) for name, part in parts.items()}})


def _check_fields(record: Any, where: str) -> None:
    """Raise TypeError, which names the field, where a dataclass holds what its fields are not declared for."""
    for name, kind in _FIELDS[type(record)].items():
        value, place = getattr(record, name), f"{where}{name}"
        parts = value if isinstance(value, tuple) and is_dataclass(get_args(kind)[0]) else ()
        for i, part in enumerate(parts):
            _check_fields(part, f"{place}[{i}].")
        if not parts and not _fits(value, kind):
            raise TypeError(f"{place} is {value!r:.80}")


_FIELDS = {kind: get_type_hints(kind) for kind in (Report, Score, Aligned, Judged, Lost)}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is what an annotation of a field declares."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, inner[0]) for one in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(one, inner[1]) for one in value.values())
    if kind is Any:
        return True
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)
