"""`viska serve`: the flags of the server, one for each of its settings."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from viska.errors import ViskaError

DESCRIPTION = """\
Serve the hosted transcription API from this machine, and a page to use it from.

Each setting can also stand in the environment (VISKA_PORT=8000) and in a TOML file (--config); a flag counts before the
environment, the environment before the file. Lists are written with commas.
"""


def run_serve(arguments: Sequence[str]) -> int:
    """Serve until told to stop; the exit status. Raises ViskaError where the server cannot start."""
    try:
        from viska.server.run import serve
        from viska.server.settings import settings_from
    except ModuleNotFoundError as error:
        raise ViskaError(
            f"the server needs {error.name}: install Viska with the extra server, as in pip install '.[server]'"
        ) from error
    serve(settings_from(vars(serve_parser().parse_args(arguments))))
    return 0


def serve_parser() -> argparse.ArgumentParser:
    """The parser of `viska serve`."""
    from viska.server.settings import Settings

    parser = argparse.ArgumentParser(
        prog="viska serve", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", metavar="FILE", help="a TOML file with settings")
    for setting in fields(Settings):
        parser.add_argument(f"--{setting.name}", metavar="VALUE", help=_help(setting.metadata["help"], setting.default))
    return parser


def _help(text: str, default: Any) -> str:
    shown = ",".join(default) if isinstance(default, tuple) else default
    return text if shown in (None, "") else f"{text} (default: {shown})"
