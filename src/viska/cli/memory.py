"""Memory that runs out, as one of Viska's errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from viska.errors import OutOfMemoryError, ViskaError


@contextmanager
def memory_as_error(what: str) -> Iterator[None]:
    """Raise OutOfMemoryError where memory runs out in Python, or in torch on the processor or a GPU."""
    try:
        yield
    except ViskaError:
        raise
    except (MemoryError, RuntimeError) as error:
        # For the memory of the processor torch has no class of its own.
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise OutOfMemoryError(
            f"{what} does not fit into memory; take a smaller model, a smaller batch_size or shorter pieces, "
            "or end other programs"
        ) from error
