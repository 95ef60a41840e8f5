"""Every error that Viska raises on purpose.

    ViskaError
    ├── AudioError (also RuntimeError)        the input cannot be read as audio
    ├── ModelError (also RuntimeError)        a model cannot be had
    │   ├── UnknownModelError                 no official name, no folder, no file, no hub id
    │   ├── DownloadError                     no source could deliver it
    │   ├── DigestError                       the bytes are not the expected ones
    │   └── CheckpointError                   the files are there, their content does not fit
    ├── OptionError (also ValueError)         an option, or a combination of options, is not accepted
    │   └── LanguageError                     a language that Whisper, or the model, does not know
    ├── OutputError (also OSError)            a result cannot be written
    └── OutOfMemoryError (also MemoryError)   the work does not fit into memory

The builtin bases are those that openai/whisper raises, so that code written for it catches these too.
A message says what was given, what is accepted and what to do.
"""


class ViskaError(Exception):
    """Root of all errors that Viska raises on purpose; `exit_code` is the command line's status."""

    exit_code = 1


class OptionError(ViskaError, ValueError):
    """An option, or a combination of options, is not accepted."""

    exit_code = 2


class LanguageError(OptionError):
    """A language that Whisper does not know, or that the model cannot transcribe."""


class AudioError(ViskaError, RuntimeError):
    """The input cannot be read as audio."""

    exit_code = 3


class ModelError(ViskaError, RuntimeError):
    """A model cannot be had."""

    exit_code = 4


class UnknownModelError(ModelError):
    """Neither an official name, nor a folder, a file or a hub id."""


class DownloadError(ModelError):
    """No source could deliver the model."""


class DigestError(ModelError):
    """Bytes whose SHA-256 is not the expected one."""


class CheckpointError(ModelError):
    """The files are there, but their content is not a Whisper model, or not a whole one."""


class OutputError(ViskaError, OSError):
    """A result cannot be written."""

    exit_code = 5


class OutOfMemoryError(ViskaError, MemoryError):
    """The work does not fit into memory."""

    exit_code = 6
