"""Word error rates: all errors over all words, characters in scripts without spaces, after Whisper's normalisation."""

from collections.abc import Iterable, Sequence

from benchmarks.speed.recordings import Recording

from viska.evaluation.alignment import align
from viska.evaluation.units import units


def error_rate(recordings: Sequence[Recording], texts: Iterable[str]) -> float:
    """Errors per word of the references, 0 where none was made."""
    n_errors = n_words = 0
    for recording, text in zip(recordings, texts, strict=True):
        said, heard = units(recording.text, recording.language), units(text, recording.language)
        n_errors += sum(pair.kind != "hit" for pair in align(said, heard))
        n_words += len(said)
    return n_errors / max(n_words, 1)
