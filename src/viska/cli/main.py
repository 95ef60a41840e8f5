"""Run the command line, and turn errors into messages and exit statuses."""

import errno
import sys
from collections.abc import Sequence
from pathlib import Path

from viska.cli.commands import COMMANDS
from viska.cli.garbage import end_without_search
from viska.cli.parser import for_argparse, transcribe_parser
from viska.cli.run import run_transcribe
from viska.cli.show import complain, discard_output, open_log, open_streams, output_full
from viska.errors import OutputError, ViskaError

INTERRUPTED = 130
BROKEN_PIPE = 141
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What is wrong with a standard output that takes no more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `viska` with these arguments, or those of the process; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    open_streams()
    end_without_search()
    open_log()
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except ViskaError as error:
        return complain(error)
    except KeyboardInterrupt:
        print("viska: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        discard_output()  # its reader has gone
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        discard_output()  # of files one would know the name
        return complain(output_full(error))


def _run(arguments: Sequence[str]) -> int:
    _check_current_folder()
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]].run(for_argparse(arguments[1:]))
    return run_transcribe(transcribe_parser().parse_args(for_argparse(arguments)))


def _check_current_folder() -> None:
    """Raise OutputError where the current folder was removed: MKL would end the process with another story."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise OutputError("the current folder is not there any more; change to one that is, as with `cd`") from None
