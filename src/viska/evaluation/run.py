"""Work through the clips of a manifest, whatever happens to a single one of them."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viska.audio import SAMPLE_RATE, load_audio
from viska.errors import AudioError, ViskaError
from viska.evaluation.hypothesis import Hypothesis, from_transcript
from viska.evaluation.manifest import ENCODINGS, Clip
from viska.evaluation.score import Score, score
from viska.model import Whisper
from viska.transcription import TranscribeOptions, Transcription

logger = logging.getLogger(__name__)

Engine = Callable[[Clip], Hypothesis]


def evaluate(clips: Iterable[Clip], engine: Engine) -> Iterator[Score]:
    """Score each clip as the engine hears it; what it cannot do is a score with an error."""
    for clip in clips:
        try:
            heard = engine(clip)
            duration = clip.duration if clip.duration is not None else len(read_samples(clip)) / SAMPLE_RATE
        except ViskaError as error:
            heard, duration = Hypothesis(error=str(error)), clip.duration or 0.0
        except Exception as error:  # one recording must not cost the figures of all the others
            logger.exception("%s could not be evaluated", clip.path)
            heard, duration = Hypothesis(error=f"{type(error).__name__}: {error}"), clip.duration or 0.0
        yield score(clip, heard, duration)


def viska_engine(model: Whisper, options: TranscribeOptions | None = None) -> Engine:
    """Viska with a model; the seconds are those from opening the file to the transcript."""

    def hear(clip: Clip) -> Hypothesis:
        start = time.perf_counter()
        job = Transcription(model, read_samples(clip), options)
        deque(job, maxlen=0)
        seconds = time.perf_counter() - start
        told = job.language if job.language_probs is not None else None
        return from_transcript(job.transcript(), told, seconds)

    return hear


def stored_engine(hypotheses: Mapping[str, Hypothesis]) -> Engine:
    """What another engine, or an earlier run, has made of the clips."""

    def hear(clip: Clip) -> Hypothesis:
        missing = Hypothesis(error="there is no hypothesis for it")
        return hypotheses.get(clip.path, missing)

    return hear


def read_samples(clip: Clip) -> NDArray[np.float32]:
    """The samples of a clip, (N,) at 16 kHz; headerless ones as the manifest tells. Raises AudioError."""
    return load_audio(clip.file if clip.raw_format is None else raw_as_wav(clip))


def raw_as_wav(clip: Clip) -> bytes:
    """A headerless file with the header that its manifest tells, as a wav file. Raises AudioError."""
    raw = clip.raw_format
    assert raw is not None  # asked for only where there is one
    try:
        data = clip.file.read_bytes()
    except OSError as error:
        raise AudioError(f"{clip.file} cannot be read ({error.strerror}); check the path in the manifest") from error
    width = np.dtype(ENCODINGS[raw.encoding]).itemsize
    frame = width * raw.channels
    data = data[: len(data) // frame * frame]
    tag = 3 if raw.encoding.startswith("f") else 1  # IEEE float, or integers
    numbers = [(16, 4), (tag, 2), (raw.channels, 2), (raw.sample_rate, 4)]
    numbers += [(raw.sample_rate * frame, 4), (frame, 2), (8 * width, 2)]
    fields: list[Any] = [value.to_bytes(size, "little") for value, size in numbers]
    length = [(36 + len(data)).to_bytes(4, "little"), len(data).to_bytes(4, "little")]
    return b"".join([b"RIFF", length[0], b"WAVEfmt ", *fields, b"data", length[1], data])
