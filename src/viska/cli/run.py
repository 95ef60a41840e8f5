"""`viska AUDIO...`: each input to a transcript and its files; goes on after one that fails."""

import argparse
import logging
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import chain
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from viska.cli.garbage import imports_kept
from viska.cli.inputs import STANDARD_INPUT, expand, output_names
from viska.cli.memory import memory_as_error
from viska.cli.show import Show, ShowJson, ShowLines
from viska.errors import AudioError, ModelError, OptionError, OutOfMemoryError, OutputError, ViskaError

if TYPE_CHECKING:
    from viska.formats import LineOptions, Preset
    from viska.model import Whisper
    from viska.recording import Recording
    from viska.result import Transcript
    from viska.transcription import Transcribed, TranscribeOptions, Transcription

logger = logging.getLogger(__name__)

ELSEWHERE = {"audio", "audio_track", "channel", "model", "model_dir", "device", "compute_type", "threads"}
ELSEWHERE |= {"output_dir", "output_format", "verbose", "json", "preset", "offline", "resume"}
"""Flags that say where from, where to and how fast, and not how to transcribe."""
MOST_THREADS = 1024
"""More than any machine has processors for; torch crashes where the system gives it no more."""
LONGEST_STEM = 220
"""Bytes of a name to which a journal's may be added: most file systems have room for 255."""
LINE_FLAGS = ("max_line_width", "max_line_count", "max_words_per_line", "highlight_words", "karaoke")
"""Flags that say how subtitles are laid out."""


def run_transcribe(flags: argparse.Namespace) -> int:
    """Transcribe each input and write its transcript; the status is that of the first error, else 0."""
    with imports_kept():
        options, layout, ear = options_of(flags), layout_of(flags), ear_of(flags)
    show = ShowJson() if flags.json else ShowLines() if flags.verbose else Show()
    check_writable(Path(flags.output_dir))
    set_threads(flags.threads)
    status, inputs = expand_all(flags.audio, show)
    names = output_names(inputs)
    files = [Files(name, flags.output_dir, flags.output_format, layout, resume=flags.resume) for name in names]
    check_inputs_stay(inputs, files)
    jobs = list(zip(inputs, files, strict=True))
    if options.independent and len(jobs) > 1 and not flags.resume and ear.channel != "all":
        transcribe, options = transcribe_together, replace(options, audio_track=ear.track, channel=ear.channel)
    else:
        transcribe = partial(transcribe_in_turn, ear=ear, all_there=not status)
    failure = transcribe(jobs, LazyModel(flags), options, show)
    return status or failure or show.finished()


Jobs: TypeAlias = "Sequence[tuple[str, Files]]"
"""Inputs, and where their results go."""


def transcribe_in_turn(
    jobs: Jobs, model: "LazyModel", options: "TranscribeOptions", show: Show, *, ear: "Ear", all_there: bool = True
) -> int:
    """Transcribe one input after the other; the status is that of the first error, else 0.

    `all_there` says whether every input that was named is among the jobs.
    """
    status, journals = 0, list[Path]()
    for audio, files in jobs:
        try:
            with memory_as_error(f"the transcription of {audio}"), interruptible() as watch:
                journals += transcribe_one(audio, model, options, show, files, ear, watch)
        except ViskaError as error:
            show.failed(audio, error)
            status = status or error.exit_code
            if model.failed:
                break  # it will not come for the next input either
    if all_there and not status:  # not before: of several inputs --resume shall repeat none
        for path in journals:
            path.unlink(missing_ok=True)
    return status


def transcribe_together(jobs: Jobs, model: "LazyModel", options: "TranscribeOptions", show: Show) -> int:
    """Transcribe inputs whose windows share batches, and write each as soon as it is done; returns the status."""
    from viska.transcription.many import work_through

    status, places = 0, defaultdict[str, list[Files]](list)
    for audio, files in jobs:
        places[audio].append(files)  # an input may have been named twice
    with show.progress_over(len(jobs)) as bar, interruptible():
        try:
            with memory_as_error("what is transcribed at once"):
                for one in work_through(model.get(), [audio for audio, _ in jobs], options):
                    failure = finish(one, places[one.audio].pop(0), show)
                    status = status or failure
                    bar.update()
        except ViskaError as error:  # of the model, which is told once, or of memory
            waiting = [audio for audio, left in places.items() if left]
            for audio in waiting[:1] if model.failed else waiting:
                show.failed(audio, error)
            status = status or error.exit_code
    return status


def finish(one: "Transcribed", files: "Files", show: Show) -> int:
    """Show and write what became of an input; returns the status."""
    try:
        if one.error is not None:
            raise one.error
        assert one.transcript is not None
        for segment in one.transcript.segments:
            show.segment(one.audio, segment)
        write_out(one.audio, one.transcript, files, show)
    except ViskaError as error:
        show.failed(one.audio, error)
        return error.exit_code
    return 0


def write_out(audio: str, transcript: "Transcript", files: "Files", show: Show) -> None:
    """Write the files of a transcript; where they cannot be written, its text is shown and OutputError raised."""
    try:
        show.done(audio, transcript, files.write(transcript))
    except OutputError:
        show.unwritten(audio, transcript)
        raise


def set_threads(n_threads: int) -> None:
    """Compute with so many threads; 0 leaves it to OpenMP (_openmp.py). Raises OptionError for fewer."""
    import torch

    if not 0 <= n_threads <= MOST_THREADS:
        raise OptionError(f"--threads is {n_threads}; accepted are 1 to {MOST_THREADS}, and 0, for one on each core")
    if n_threads:
        torch.set_num_threads(n_threads)


def expand_all(names: Sequence[str], show: Show) -> tuple[int, list[str]]:
    """The single inputs behind these names, and the status of the first name that gives none, else 0."""
    if names.count(STANDARD_INPUT) > 1:
        raise OptionError(f"{STANDARD_INPUT} was given {names.count(STANDARD_INPUT)} times; it can be read but once")
    status, inputs = 0, list[str]()
    for name in names:
        try:
            inputs += expand([name], names)
        except AudioError as error:
            show.failed(name, error)
            status = status or error.exit_code
    return status, inputs


class LazyModel:
    """The model, loaded when the first input is there: it may take long to come, and a wrong path is told at once."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.failed = False
        self._model: Whisper | None = None

    def get(self) -> "Whisper":
        """The model. Raises ModelError or OptionError where it cannot be had."""
        from viska.weights import load_model

        if self._model is None:
            flags = self.flags
            try:
                with memory_as_error(f"the model {flags.model}"):
                    self._model = load_model(
                        flags.model,
                        flags.device,
                        flags.model_dir,
                        compute_type=flags.compute_type,
                        offline=flags.offline or None,
                    )
            except (ModelError, OptionError, OutOfMemoryError):
                self.failed = True
                raise
        return self._model


def options_of(flags: argparse.Namespace) -> "TranscribeOptions":
    """The flags as options. Raises OptionError for what is not accepted."""
    from viska.transcription import transcribe_options

    keywords = {name: value for name, value in vars(flags).items() if name not in {*ELSEWHERE, *LINE_FLAGS}}
    step = keywords.pop("temperature_increment_on_fallback")
    keywords["temperature"] = ladder(keywords["temperature"], step)
    return transcribe_options(keywords)


def layout_of(flags: argparse.Namespace) -> "LineOptions | Preset | None":
    """How srt and vtt are laid out. Raises OptionError for flags that do not go together."""
    from viska.formats import LAID_OUT, PRESETS, LineOptions

    given = {name: getattr(flags, name) for name in LINE_FLAGS if getattr(flags, name) not in (None, False)}
    if flags.preset and (contradicting := [name for name in given if name != "karaoke"]):
        raise OptionError(f"--preset lays subtitles out by itself: leave out --{', --'.join(contradicting)}")
    if given and not flags.word_timestamps:
        raise OptionError(f"--{', --'.join(given)} needs the times of words: give --word_timestamps True too")
    if "max_line_count" in given and "max_line_width" not in given:
        logger.warning("--max_line_count does nothing without --max_line_width")
    if (given or flags.preset) and flags.output_format not in {"all", *LAID_OUT}:
        names = ", --".join(given or ["preset"])
        logger.warning("%s has no subtitles to lay out: --%s does nothing", flags.output_format, names)
    if flags.preset:
        return replace(PRESETS[flags.preset], karaoke=flags.karaoke)
    return LineOptions(**given) if given else None


MOST_TEMPERATURES = 100


def ladder(temperature: float, step: float | None) -> tuple[float, ...]:
    """From a first temperature up to 1, in these steps; None or 0 makes it the only one.

    Raises OptionError for what is no number, and for more temperatures than anybody waits for.
    """
    if step is not None and not 0 <= step < inf:
        raise OptionError(f"temperature_increment_on_fallback is {step}; it must be 0 or more, or None")
    if not step or not temperature < inf:  # one that is no number either is refused with the other options
        return (temperature,)
    if (1 - temperature) / step > MOST_TEMPERATURES:
        raise OptionError(
            f"temperature_increment_on_fallback is {step}, which gives more than {MOST_TEMPERATURES} temperatures; "
            "give 0.01 or more"
        )
    n_steps = int((1 - temperature) / step + 1e-6)
    return tuple(round(temperature + i * step, 6) for i in range(n_steps + 1)) or (temperature,)


@dataclass(frozen=True)
class Files:
    """Where the result of one input goes, and in which form."""

    name: Path
    folder: str
    output_format: str
    layout: "LineOptions | Preset | None"
    resume: bool = False

    def journal(self, channel: int | None) -> Path | None:
        """Where every window is written down, those of each channel apart; None without --resume."""
        from viska.transcription.channels import channel_journal

        if not self.resume:
            return None
        stem = self.name.stem
        if len(os.fsencode(stem)) > LONGEST_STEM:
            stem = sha256(os.fsencode(stem)).hexdigest()
        path = Path(self.folder) / f".{stem}.viska-journal"
        return path if channel is None else Path(channel_journal(path, channel))

    def paths(self) -> list[Path]:
        """The files that `write` writes; none where the input has no name for them, which is told then."""
        from viska.formats.files import output_paths

        try:
            return list(output_paths(self.name, self.folder, self.output_format).values())
        except OutputError:
            return []

    def write(self, transcript: "Transcript") -> list[Path]:
        """Write the files, and return their paths. Raises OutputError."""
        from viska.formats import write

        return write(transcript, self.name, self.folder, self.output_format, self.layout)


def ear_of(flags: argparse.Namespace) -> "Ear":
    """Where to listen. Raises OptionError for what can be no track or channel."""
    from viska.audio import choice_of

    choice_of(flags.audio_track, None if flags.channel == "all" else flags.channel)
    return Ear(flags.audio_track, flags.channel, timed=flags.compat is None)


@dataclass(frozen=True)
class Ear:
    """Which audio track and channel are listened to, and whether with silence where players wait."""

    track: int | None = None
    channel: int | str | None = None
    timed: bool = True

    def voices(self, audio: str) -> "Iterator[tuple[int | None, Recording]]":
        """The sound of an input; of each channel, behind its number, where all are wanted. Raises AudioError."""
        from viska.audio import audio_tracks, load_channels
        from viska.recording import Recording

        if self.channel != "all":
            yield None, Recording(audio, track=self.track, channel=self.channel, timed=self.timed)
        elif audio == STANDARD_INPUT:  # can be read but once
            for channel, samples in enumerate(load_channels(audio, track=self.track, timed=self.timed)):
                yield channel, Recording(samples)
        else:
            yield 0, Recording(audio, track=self.track, channel=0, timed=self.timed)
            tracks = audio_tracks(audio)
            track = next(track for track in tracks if track.default) if self.track is None else tracks[self.track]
            for channel in range(1, len(track.channels)):
                yield channel, Recording(audio, track=self.track, channel=channel, timed=self.timed)


def transcribe_one(
    audio: str,
    model: LazyModel,
    options: "TranscribeOptions",
    show: Show,
    files: Files,
    ear: Ear,
    watch: "Callable[[Transcription], None]",
) -> list[Path]:
    """Transcribe one input, showing what comes, and write its files; returns the journals that are done with."""
    from viska.transcription import Transcription, merge_channels

    transcripts, journals = [], []
    for channel, recording in ear.voices(audio):
        journal = files.journal(channel)
        job = Transcription(model.get(), recording, options, journal=journal)
        watch(job)
        follow(job, audio, show, channel)
        if job.cancelled:
            raise KeyboardInterrupt
        transcripts.append(job.transcript())
        journals += [journal] if journal is not None else []
    transcript = merge_channels(transcripts) if ear.channel == "all" else transcripts[0]
    write_out(audio, transcript, files, show)
    return journals


def follow(job: "Transcription", audio: str, show: Show, channel: int | None = None) -> None:
    """Work through a recording, or a channel of it, showing each segment and how far it is."""
    bar: Any
    with show.progress(job) as bar:
        for segment in job:
            show.segment(audio, segment if channel is None else replace(segment, channel=channel))
            bar.update(job.position_s - bar.n)
        bar.update(job.position_s - bar.n)


@contextmanager
def interruptible() -> "Iterator[Callable[[Transcription], None]]":
    """Let Ctrl-C end the jobs that are watched, even where a library swallows what is raised in a call of its own."""
    interrupted, jobs = threading.Event(), list["Transcription"]()

    def interrupt(*_: object) -> None:
        interrupted.set()
        for job in jobs:
            job.cancel()
        raise KeyboardInterrupt

    def watch(job: "Transcription") -> None:
        jobs.append(job)
        if interrupted.is_set():
            raise KeyboardInterrupt

    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ours = ours and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield watch
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if interrupted.is_set():
            raise KeyboardInterrupt  # whatever else was made of it


def check_inputs_stay(inputs: Sequence[str], files: Sequence[Files]) -> None:
    """Raise OptionError where a transcript would replace a recording that was given."""
    taken = {os.path.realpath(audio): audio for audio in inputs if audio != STANDARD_INPUT}
    for path in chain.from_iterable(one.paths() for one in files):
        if (audio := taken.get(os.path.realpath(path))) is not None:
            raise OptionError(
                f"the transcript {path} would replace the input {audio}; choose another folder with --output_dir, or "
                "another --output_format"
            )


def check_writable(folder: Path) -> None:
    """Raise OutputError where the results could not be written, before the work is done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the output folder {folder}: {error.strerror}; choose another one") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the output folder {folder} cannot be written to; choose another one with --output_dir")
