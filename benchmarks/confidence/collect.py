"""What is known of every word that a model hears in a corpus, and whether it was said; each recording computed once."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks.confidence.said import judged

from viska.evaluation.manifest import Clip
from viska.evaluation.run import read_samples
from viska.model import Whisper
from viska.result import Transcript
from viska.timing import WordTiming
from viska.transcription import Transcription, transcribe_options
from viska.transcription.confidence import Features, segment_features, word_features
from viska.transcription.speech import SpeechTrack, speech_track
from viska.vad import voice_activity

OPTIONS = {"beam_size": 5, "best_of": 5, "word_timestamps": True}
"""The defaults of the command line, and words."""


@dataclass(frozen=True)
class Observed:
    """A word, the number of its segment in the recording, the features of both, and whether it was said."""

    segment: int
    word_features: Features
    segment_features: Features
    probability: float
    correct: bool


@dataclass(frozen=True)
class Recording:
    """The words of one recording."""

    path: str
    words: tuple[Observed, ...]


def collect(model: Whisper, clips: Iterable[Clip], cache: Path) -> Iterator[Recording]:
    """The words of each clip; those that the cache has are not computed again."""
    known = {recording.path: recording for recording in read(cache)}
    for clip in clips:
        if clip.path not in known:
            known[clip.path] = Recording(clip.path, tuple(observe(model, clip)))
            with cache.open("a") as file:
                file.write(json.dumps(asdict(known[clip.path])) + "\n")
        yield known[clip.path]


def read(cache: Path) -> Iterator[Recording]:
    """What was computed before."""
    if not cache.is_file():
        return
    for line in map(json.loads, cache.read_text().splitlines()):
        words = [
            Observed(**{**word, **{name: tuple(word[name]) for name in ("word_features", "segment_features")}})
            for word in line["words"]
        ]
        yield Recording(line["path"], tuple(words))


def observe(model: Whisper, clip: Clip) -> Iterator[Observed]:
    """The words of a clip as the model hears it."""
    samples = read_samples(clip)
    table: list[Features] = []
    with patch("viska.transcription.passage.rate_words", partial(number_words, table)):
        job = Transcription(model, samples, transcribe_options(OPTIONS))
        deque(job, maxlen=0)
    speech = speech_track(voice_activity(samples), job.mel.n_frames)
    yield from observed(clip, job.transcript(), table, speech)


def number_words(table: list[Features], timings: Sequence[WordTiming], language: str | None) -> None:
    """In the place of a confidence, the number of a word's features in the table."""
    words = [timing for timing in timings if timing.word and timing.sureness]
    for number, timing in enumerate(words):
        timing.confidence = float(len(table))
        table.append(word_features(words, number, language))


def observed(clip: Clip, transcript: Transcript, table: Sequence[Features], speech: SpeechTrack) -> Iterator[Observed]:
    """The words of a transcript that count, in order; `table` has the features of each by its number."""
    places = [
        (number, segment, word) for number, segment in enumerate(transcript.segments) for word in segment.words or ()
    ]
    for place, right in judged(clip, transcript.text, [word.word for _, _, word in places]).items():
        number, segment, word = places[place]
        if word.confidence is not None:
            features = table[round(word.confidence)]
            yield Observed(number, features, segment_features(segment, speech), word.probability, right)
