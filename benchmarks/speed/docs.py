"""The numbers of the last run, in their places in `docs/performance.md`."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.parity.environments import ROOT

PAGE = ROOT / "docs" / "performance.md"


def fill(page: str, parts: Mapping[str, str]) -> str:
    """Replace what stands between `<!-- name -->` and `<!-- end -->` for each part that the run had."""
    for name, text in parts.items():
        place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        page = place.sub(partial(_between, text), page)
    return page


def _between(text: str, marks: re.Match[str]) -> str:
    return f"{marks[1]}\n{text}\n\n{marks[2]}"


def write(parts: Mapping[str, str], path: Path = PAGE) -> None:
    """Bring the page up to date."""
    path.write_text(fill(path.read_text(), parts))
