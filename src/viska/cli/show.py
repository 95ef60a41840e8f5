"""What the command line shows while it works: lines to read, JSON lines for scripts, or a progress bar alone."""

# ruff: noqa: ARG002  # what one way of showing has no use for, another has

import json
import logging
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viska.errors import OutputError, ViskaError

if TYPE_CHECKING:
    from tqdm import tqdm

    from viska.result import Segment, Transcript
    from viska.transcription import Transcription


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


class Show:
    """Nothing but a progress bar, on a terminal.

    Where standard output takes no more, nothing more is shown; transcripts are written all the same.
    """

    def __init__(self) -> None:
        self._failure: OSError | None = None

    def finished(self) -> int:
        """The status: that of an error where not everything could be shown, which is told, else 0."""
        if self._failure is None:
            return 0
        return complain(output_full(self._failure))

    def _print(self, line: str) -> None:
        if self._failure is not None:
            return
        try:
            print(line, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._failure = error
            discard_output()

    @property
    def bars(self) -> bool:
        """Whether progress is shown, where standard error is a terminal."""
        return True

    def progress(self, job: "Transcription") -> "AbstractContextManager[tqdm[Any]]":
        """A bar over the seconds of a recording."""
        from viska.transcription.pipeline import progress_bar

        return progress_bar(job, show=self.bars)

    def progress_over(self, n_inputs: int) -> "AbstractContextManager[tqdm[Any]]":
        """A bar over inputs."""
        from tqdm import tqdm

        return tqdm(total=n_inputs, unit="recording", disable=not (self.bars and sys.stderr.isatty()))

    def segment(self, audio: str, segment: "Segment") -> None:
        """A segment was decided."""

    def done(self, audio: str, transcript: "Transcript", files: list[Path]) -> None:
        """An input was transcribed, and its files written."""

    def unwritten(self, audio: str, transcript: "Transcript") -> None:
        """An input was transcribed, but its files could not be written: the text must not be lost."""
        self._print(transcript.text)

    def failed(self, audio: str, error: ViskaError) -> None:
        """An input could not be transcribed or written."""
        complain(error)


def complain(error: ViskaError) -> int:
    """Say on standard error what is wrong; returns the exit status for it."""
    tell(f"viska: error: {error}")
    return error.exit_code


def tell(line: str) -> None:
    """Print to standard error what may have a name in it."""
    print(visible(line), file=sys.stderr)


def visible(text: str) -> str:
    """The text with control characters, which a name may have for the terminal, as escapes."""
    return text.translate(_CONTROLS)


class VisibleFormatter(logging.Formatter):
    """Log lines without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record."""
        return visible(super().format(record))


def open_log() -> None:
    """Let warnings go to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter("viska: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def open_streams() -> None:
    """See that there is a standard output and a standard error, which take any text.

    Of a process that was started without one (`>&-`) it goes nowhere; what an encoding lacks is written as its escape.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # for as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def output_full(error: OSError) -> OutputError:
    """What to say where standard output fails."""
    return OutputError(f"standard output takes no more: {error.strerror or error}; make room, or write it elsewhere")


def discard_output() -> None:
    """Let standard output go nowhere: Python would complain again when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class ShowLines(Show):
    """Each segment as a line with its times; no progress bar between the lines of a terminal."""

    @property
    def bars(self) -> bool:
        """Only where the lines go somewhere else."""
        return not sys.stdout.isatty()

    def segment(self, audio: str, segment: "Segment") -> None:
        """Print the segment."""
        from viska.transcription.channels import channel_line

        self._print(channel_line(segment))

    def unwritten(self, audio: str, transcript: "Transcript") -> None:
        """The text is on the screen already."""


class ShowJson(Show):
    """One JSON object a line: {"type": "segment" | "transcript" | "error", "audio": ..., ...}."""

    def segment(self, audio: str, segment: "Segment") -> None:
        """A line of type segment, with what the result has."""
        self._line("segment", audio, **segment.to_dict())

    def done(self, audio: str, transcript: "Transcript", files: list[Path]) -> None:
        """A line of type transcript, with language, text and the files written."""
        self._line("transcript", audio, language=transcript.language, text=transcript.text, files=list(map(str, files)))

    def unwritten(self, audio: str, transcript: "Transcript") -> None:
        """A line of type transcript, without files."""
        self.done(audio, transcript, [])

    def failed(self, audio: str, error: ViskaError) -> None:
        """A line of type error, with message and exit status; the message goes to standard error too."""
        self._line("error", audio, message=str(error), exit_status=error.exit_code)
        super().failed(audio, error)

    def _line(self, kind: str, audio: str, **facts: Any) -> None:
        self._print(json.dumps({"type": kind, "audio": audio, **facts}))
