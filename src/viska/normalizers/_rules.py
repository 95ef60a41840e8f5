"""The optional package that has the rules."""

from importlib import import_module
from typing import Any

from viska.errors import ViskaError


def rules(module: str) -> Any:
    """A module of whisper-normalizer, such as "basic"; ViskaError where the package is not whole."""
    try:
        return import_module(f"whisper_normalizer.{module}")
    except ImportError as error:
        raise ViskaError(
            f"text normalizers need the package whisper-normalizer ({error}): pip install '.[eval]'"
        ) from error
