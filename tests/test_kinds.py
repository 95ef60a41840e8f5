"""Values of options that are of another kind than their fields declare."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from viska.errors import OptionError
from viska.kinds import check_kinds


@dataclass(frozen=True)
class Options:
    count: int = 1
    share: float | None = 0.5
    name: str | None = None
    on: bool = True
    either: int | str | None = None
    anything: Mapping[str, int] | None = None


@pytest.mark.parametrize(
    "values",
    [
        {"count": np.int64(3), "share": np.float32(0.5)},
        {"share": 1},
        {"share": None, "name": "a", "either": "b"},
        {"share": float("inf")},
        {"on": 0},
        {"on": np.True_},
        {"anything": 5},  # for others to look at
    ],
)
def test_what_is_of_the_kind_is_taken(values):
    check_kinds(replace(Options(), **values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 1.0}, "count is 1.0; accepted is a whole number"),
        ({"count": True}, "count is True; accepted is a whole number"),
        ({"count": None}, "count is None; accepted is a whole number"),
        ({"share": "0.5"}, "share is '0.5'; accepted is a number or None"),
        ({"share": float("nan")}, "share is nan; accepted is a number or None"),
        ({"name": b"a"}, "name is b'a'; accepted is a text or None"),
        ({"on": 2}, "on is 2; accepted is True or False"),
        ({"either": 0.5}, "either is 0.5; accepted is a whole number or a text or None"),
    ],
)
def test_what_is_not_is_named_with_what_is_accepted(values, message):
    with pytest.raises(OptionError) as caught:
        check_kinds(replace(Options(), **values))
    assert str(caught.value) == message
