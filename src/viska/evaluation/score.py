"""One recording scored: what was heard right, wrong, not at all, or made up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from viska.evaluation.alignment import LOST_RUN, Gap, Kind, Pair, align, gaps
from viska.evaluation.hypothesis import HeardSegment, HeardWord, Hypothesis
from viska.evaluation.loops import loops_made_up
from viska.evaluation.manifest import MULTILINGUAL, Clip
from viska.evaluation.units import Unit, invented_words, owners, unit_of, units, units_of_any_script


@dataclass(frozen=True, slots=True)
class Aligned:
    """A pair of an alignment as texts; `start` is when the word was heard, in seconds, where that is known."""

    kind: Kind
    reference: str | None
    hypothesis: str | None
    start: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A word that was heard, how sure the engine was of it (0..1), and whether it was said."""

    correct: bool
    probability: float | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """A run of the reference with less heard in its place: its text, the units and the seconds that are missing.

    Which of its units were misheard and which were lost cannot be told, so the seconds are its own in proportion.
    """

    text: str
    units: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Score:
    """All that is measured of one recording; plain values, so that it can be stored.

    `free_ends` says that the reference is a part of what is said. `aligned` is empty where there is no reference.
    `invented` counts the words given where nothing is said, and `inserted` the units of long insertions where
    something is. `language_right` is None where it was not told, or is not known. `boundary_errors` are seconds, late
    ones above 0. `error` says why there is no transcript.
    """

    path: str
    kind: str
    language: str | None
    silent: bool
    duration: float
    unit: Unit = "word"
    free_ends: bool = False
    text: str = ""
    reference: str | None = None
    heard_language: str | None = None
    language_right: bool | None = None
    seconds: float | None = None
    error: str | None = None
    aligned: tuple[Aligned, ...] = ()
    lost: tuple[Lost, ...] = ()
    inserted: int = 0
    invented: int = 0
    loops: int = 0
    boundary_errors: tuple[float, ...] = ()
    words: tuple[Judged, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_reference(self) -> int:
        """Units of the reference that were compared."""
        return sum(self.counts.get(kind, 0) for kind in ("hit", "substitution", "deletion"))

    @property
    def n_errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return sum(self.counts.get(kind, 0) for kind in ("substitution", "deletion", "insertion"))

    @property
    def scored(self) -> bool:
        """Whether there is an error rate."""
        return self.error is None and self.n_reference > 0

    @property
    def error_rate(self) -> float | None:
        """Errors over units of the reference; above 1 where more is made up than was said."""
        return self.n_errors / self.n_reference if self.scored else None


def score(clip: Clip, heard: Hypothesis, duration: float) -> Score:
    """Score what was heard in a recording of so many seconds."""
    facts: dict[str, Any] = {
        "path": clip.path,
        "kind": clip.kind,
        "language": clip.language,
        "silent": clip.silent,
        "duration": duration,
        "unit": unit_of(clip.language),
        "free_ends": clip.free_ends,
        "reference": clip.reference,
    }
    if heard.error is not None:
        return Score(**facts, error=heard.error)
    said, given = (units_of_any_script(text or "", clip.language) for text in (clip.reference, heard.text))
    facts |= {
        "text": heard.text,
        "loops": len(loops_made_up(said, given)),
        "heard_language": heard.language,
        "language_right": language_right(clip, heard.language),
        "seconds": heard.seconds,
    }
    if clip.silent:
        facts |= {
            "invented": invented_words(heard.text),
            "words": tuple(_judged(word, False) for word in heard.words if units(word.text, None)),
        }
    else:
        facts |= _compare(clip, heard, duration)
    return Score(**facts)


def language_right(clip: Clip, told: str | None) -> bool | None:
    """Whether the language told is one of those spoken; None where either is not known."""
    spoken = clip.languages if clip.language == MULTILINGUAL else (clip.language,)
    if told is None or clip.silent or not any(spoken):
        return None
    return told in spoken


def _compare(clip: Clip, heard: Hypothesis, duration: float) -> dict[str, Any]:
    """The fields of a score that come from the texts of a recording with speech."""
    unit, language = unit_of(clip.language), clip.language
    said = units(clip.reference or "", language)
    given = units(heard.text, language)
    if not said:
        return {}
    pairs = align(said, given, free_ends=clip.free_ends)
    timed: Sequence[HeardWord | HeardSegment] = heard.words or heard.segments
    sources = owners([piece.text for piece in timed], given, language)
    found = list(gaps(pairs))
    seconds = _unit_seconds(clip, said, duration)
    return {
        "counts": dict(Counter(pair.kind for pair in pairs)),
        "aligned": tuple(_as_texts(pair, said, given, timed, sources) for pair in pairs),
        "lost": tuple(_lost(gap, said, seconds) for gap in found if gap.surplus >= LOST_RUN[unit]),
        "inserted": sum(-gap.surplus for gap in found if -gap.surplus >= LOST_RUN[unit]),
        "boundary_errors": tuple(_boundary_errors(clip, said, pairs, timed, sources)),
        "words": tuple(_judge(heard.words, pairs, sources)) if heard.words else (),
    }


def _lost(gap: Gap, said: Sequence[str], seconds: Sequence[float]) -> Lost:
    lasting = sum(seconds[i] for i in gap.reference)
    text = " ".join(said[i] for i in gap.reference)
    return Lost(text, gap.surplus, lasting * gap.surplus / len(gap.reference))


def _as_texts(
    pair: Pair,
    said: Sequence[str],
    given: Sequence[str],
    timed: Sequence[HeardWord | HeardSegment],
    sources: Sequence[int | None],
) -> Aligned:
    reference = None if pair.reference is None else said[pair.reference]
    if pair.hypothesis is None:
        return Aligned(pair.kind, reference, None)
    source = sources[pair.hypothesis]
    return Aligned(pair.kind, reference, given[pair.hypothesis], None if source is None else timed[source].start)


def _unit_seconds(clip: Clip, said: Sequence[str], duration: float) -> list[float]:
    """How long each unit of the reference takes: by its letters, of its phrase where that is timed, else of all."""
    places: Sequence[int | None] = [None] * len(said)
    if clip.phrases:
        places = owners([phrase.text for phrase in clip.phrases], said, clip.language)
    letters: Counter[int | None] = Counter()
    for place, unit in zip(places, said, strict=True):
        letters[place] += len(unit)
    lasting = dict[int | None, float].fromkeys(letters, duration)
    lasting |= {i: phrase.end - phrase.start for i, phrase in enumerate(clip.phrases)}
    return [lasting[place] * len(unit) / letters[place] for place, unit in zip(places, said, strict=True)]


def _boundary_errors(
    clip: Clip,
    said: Sequence[str],
    pairs: Sequence[Pair],
    timed: Sequence[HeardWord | HeardSegment],
    sources: Sequence[int | None],
) -> list[float]:
    """How late each phrase of the reference was heard to begin and to end.

    Only where its first (last) word was heard right, as the first (last) of a word or segment with times.
    """
    if not clip.phrases:
        return []
    phrases = owners([phrase.text for phrase in clip.phrases], said, clip.language)
    begins, ends = _edges(sources), _edges(sources[::-1])
    first, last = _edges(phrases), _edges(phrases[::-1])
    errors = []
    for pair in pairs:
        if pair.kind != "hit" or pair.reference is None or pair.hypothesis is None:
            continue
        phrase, source = phrases[pair.reference], sources[pair.hypothesis]
        if phrase is None or source is None:
            continue
        start, end = timed[source].start, timed[source].end
        if pair.reference in first and pair.hypothesis in begins and start is not None:
            errors.append(start - clip.phrases[phrase].start)
        if (
            _mirrored(pair.reference, phrases) in last
            and _mirrored(pair.hypothesis, sources) in ends
            and end is not None
        ):
            errors.append(end - clip.phrases[phrase].end)
    return errors


def _edges(places: Sequence[int | None]) -> set[int]:
    """Where each run of the same owner begins."""
    return {i for i, place in enumerate(places) if i == 0 or places[i - 1] != place}


def _mirrored(i: int, places: Sequence[int | None]) -> int:
    return len(places) - 1 - i


def _judge(words: Sequence[HeardWord], pairs: Sequence[Pair], sources: Sequence[int | None]) -> list[Judged]:
    """Each word with whether all of it was said; words without units, and those behind a free end, are left out."""
    kinds: dict[int, list[Kind]] = {}
    for pair in pairs:
        if pair.hypothesis is not None and (source := sources[pair.hypothesis]) is not None:
            kinds.setdefault(source, []).append(pair.kind)
    return [
        _judged(words[i], all(kind == "hit" for kind in of_word))
        for i, of_word in sorted(kinds.items())
        if "free" not in of_word
    ]


def _judged(word: HeardWord, correct: bool) -> Judged:
    return Judged(correct, word.probability, word.confidence)
