"""Work through the clips of a manifest, whatever happens to a single one of them."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
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

TOLERANCE = (1.0, 0.1)
"""By so many seconds, and by this share of what was measured, the duration in a manifest may be off."""


def evaluate(clips: Iterable[Clip], engine: Engine) -> Iterator[Score]:
    """Score each clip as the engine hears it; what it cannot do is a score with an error.

    Where the engine has measured a duration, and the manifest has quite another one, the measured one counts.
    """
    wrong = list[str]()
    for clip in clips:
        try:
            heard = engine(clip)
            duration = _duration(clip, heard)
            if clip.duration not in (None, duration):
                wrong.append(f"{clip.path}: {clip.duration:g} s, measured {duration:g} s")
        except ViskaError as error:
            heard, duration = Hypothesis(error=str(error)), clip.duration or 0.0
        except Exception as error:  # one recording must not cost the figures of all the others
            logger.exception("%s could not be evaluated", clip.path)
            heard, duration = Hypothesis(error=f"{type(error).__name__}: {error}"), clip.duration or 0.0
        yield score(clip, heard, duration)
    if wrong:
        logger.warning("wrong durations in the manifest: %d, such as %s; the measured ones count", len(wrong), wrong[0])


def _duration(clip: Clip, heard: Hypothesis) -> float:
    """Of the recording, in seconds; measured where nobody has told it. Raises AudioError."""
    if heard.duration is None:
        return clip.duration if clip.duration is not None else len(read_samples(clip)) / SAMPLE_RATE
    if clip.duration is None or _is_off(clip.duration, heard.duration):
        return heard.duration
    return clip.duration


def _is_off(told: float, measured: float) -> bool:
    seconds, share = TOLERANCE
    return abs(told - measured) > max(seconds, share * measured)


def viska_engine(model: Whisper, options: TranscribeOptions | None = None) -> Engine:
    """Viska with a model; the seconds are those from opening the file to the transcript."""

    def hear(clip: Clip) -> Hypothesis:
        start = time.perf_counter()
        samples = read_samples(clip)
        job = Transcription(model, samples, options)
        deque(job, maxlen=0)
        seconds = time.perf_counter() - start
        told = job.language if job.language_probs is not None else None
        heard = from_transcript(job.transcript(), told, seconds)
        return replace(heard, duration=len(samples) / SAMPLE_RATE)

    return hear


def stored_engine(hypotheses: Mapping[str, Hypothesis]) -> Engine:
    """What another engine, or an earlier run, has made of the clips."""

    def hear(clip: Clip) -> Hypothesis:
        missing = Hypothesis(error="there is no hypothesis for it")
        return hypotheses.get(clip.path, missing)

    return hear


def read_samples(clip: Clip) -> NDArray[np.float32]:
    """The samples of a clip, (N,) at 16 kHz; headerless ones as the manifest tells. Raises AudioError."""
    return load_audio(clip.file if clip.raw_format is None else raw_as_wav(clip), timed=True)


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
