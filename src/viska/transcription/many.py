"""Many recordings at once: windows of different files share the steps of the decoder."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

from viska.errors import OptionError, ViskaError
from viska.model import Whisper
from viska.result import Transcript
from viska.transcription.backend import backend_for
from viska.transcription.options import TranscribeOptions, transcribe_options
from viska.transcription.passage import Passage
from viska.transcription.pipeline import Transcription
from viska.transcription.scheduler import Scheduler

WINDOWS_AT_ONCE = 8


@dataclass(frozen=True)
class Transcribed:
    """What became of one recording: its transcript, or the error for which there is none."""

    audio: Any
    transcript: Transcript | None = None
    error: Exception | None = None


def transcribe_many(
    model: Whisper, recordings: Iterable[Any], *, batch_size: int = WINDOWS_AT_ONCE, **options: Any
) -> Iterator[Transcribed]:
    """Transcribe recordings of any length and number, up to `batch_size` windows at a time; each is yielded when ready.

    `recordings` is a list, or anything else that gives what `transcribe` takes; the other keywords are the options of
    `transcribe`, without `compat`, `verbose`, `on_segment` and `journal`. A long recording is cut into windows of its
    own, unless `condition_on_previous_text=True` asks for them in order. One that cannot be read is yielded with its
    error, and the others go on. Raises OptionError and LanguageError for options that are not accepted.

    >>> for done in viska.transcribe_many(model, ["a.mp3", "b.wav"]): print(done.audio, done.transcript.text)
    """
    if isinstance(recordings, str | bytes | PathLike) or not isinstance(recordings, Iterable):
        raise OptionError(f"recordings is one {type(recordings).__name__}; give a list of them, as in [recording]")
    if options.get("compat") is not None:
        raise OptionError(f"compat is {options['compat']!r}, which takes one recording at a time: use transcribe")
    return work_through(model, recordings, transcribe_options({"batch_size": batch_size, **options}))


def work_through(model: Whisper, recordings: Iterable[Any], options: TranscribeOptions) -> Iterator[Transcribed]:
    """`transcribe_many` with its options in one value."""
    return _Many(model, recordings, options).run()


class _Many:
    def __init__(self, model: Whisper, recordings: Iterable[Any], options: TranscribeOptions) -> None:
        self.model, self.recordings, self.options = model, recordings, options
        self.backend = backend_for(model, reference=False, fp16=options.decoding.fp16)
        self.jobs: dict[Passage, tuple[Any, Transcription]] = {}
        self.unfinished: set[Transcription] = set()
        self.ready: list[Transcribed] = []

    def run(self) -> Iterator[Transcribed]:
        """All recordings, each as soon as it is done."""
        for task in Scheduler(self.backend, self.options.batch_size).run(self._passages()):
            assert isinstance(task, Passage)
            if task.finished or task.error is not None:
                audio, job = self.jobs.pop(task)
                self._take_over(audio, job)
            yield from self._all_ready()
        yield from self._all_ready()

    def _passages(self) -> Iterator[Passage]:
        for audio in self.recordings:
            try:
                job = Transcription(self.model, audio, self.options, backend=self.backend)
            except ViskaError as error:
                self.ready.append(Transcribed(audio, error=error))
                continue
            self.unfinished.add(job)
            for passage in job.passages():
                self.jobs[passage] = audio, job
                yield passage
            self._take_over(audio, job)  # one without speech has no passages to wait for

    def _take_over(self, audio: Any, job: Transcription) -> None:
        """Collect what a recording has so far; its result, once, where that is all."""
        if job not in self.unfinished:
            return
        try:
            for _ in job.collect():
                pass
        except ViskaError as error:
            job.cancel()
            self.ready.append(Transcribed(audio, error=error))
        else:
            if not job.finished:
                return
            self.ready.append(Transcribed(audio, job.transcript()))
        self.unfinished.remove(job)

    def _all_ready(self) -> Iterator[Transcribed]:
        while self.ready:
            yield self.ready.pop(0)
