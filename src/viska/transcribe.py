"""`viska.transcribe`: the function of that name, and the module of that name that openai/whisper's users import.

Python binds a submodule to its package when it is first imported, in place of the function; so the module is callable.
"""

import sys
from types import ModuleType
from typing import Any

from viska.transcription.pipeline import transcribe as transcribe


class _CallableModule(ModuleType):
    __signature__ = transcribe.__signature__  # type: ignore[attr-defined]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return transcribe(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule


def cli() -> None:
    """The command line."""
    from viska.cli import main

    sys.exit(main())
