"""Are the values of options of the kinds that their fields declare?"""

from functools import cache
from math import isnan
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args, get_type_hints

import numpy as np

from viska.errors import OptionError

NAMES = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", NoneType: "None"}


def check_kinds(options: Any) -> None:
    """Look at the fields of a dataclass that are declared as numbers, texts, truth values, or as one of these or None.

    Raises OptionError for the first that has a value of another kind, or none of the numbers ("nan").
    """
    kind: type = type(options)
    for name, kinds in _declared(kind):
        value = getattr(options, name)
        if not any(_is(value, kind) for kind in kinds):
            accepted = " or ".join(NAMES[kind] for kind in kinds)
            raise OptionError(f"{name} is {value!r:.60}; accepted is {accepted}")


@cache
def _declared(kind: type) -> list[tuple[str, tuple[type, ...]]]:
    hints = {name: get_args(hint) or (hint,) for name, hint in get_type_hints(kind).items()}
    return [(name, kinds) for name, kinds in hints.items() if set(kinds) <= set(NAMES)]


def _is(value: Any, kind: type) -> bool:
    if kind is bool:  # many pass 0 and 1
        return isinstance(value, bool | np.bool_) or (isinstance(value, Integral) and value in (0, 1))
    if isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, Integral)
    if kind is float:
        return isinstance(value, Real) and not isnan(value)
    return isinstance(value, kind)
