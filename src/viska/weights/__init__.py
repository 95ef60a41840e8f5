"""Models by name or path: where they come from, their formats, and the cache.

The only part of Viska that opens a connection. Nothing that was fetched is ever executed.
"""

from viska.weights.convert import convert_model
from viska.weights.load import load_model
from viska.weights.registry import available_models

__all__ = ["available_models", "convert_model", "load_model"]
