"""The names of the number formats that a model can be asked to compute in."""

from viska.errors import OptionError

COMPUTE_TYPES = ("auto", "float32", "int8", "float16", "bfloat16")


def check_compute_type(compute_type: str) -> None:
    """Raise OptionError for an unknown one."""
    if compute_type not in COMPUTE_TYPES:
        raise OptionError(f"compute_type {compute_type!r} is not known; accepted are {', '.join(COMPUTE_TYPES)}")
