"""What the OpenMP that torch computes with is told. It reads the environment once, when torch is loaded."""

import os
import sys
from collections.abc import Iterator, MutableMapping
from math import ceil
from pathlib import Path

LOOKS = "3000"
"""How often a thread that waits for others looks for them before it sleeps: a tenth of a millisecond or so.

By itself (GNU's, 300,000) it keeps on for some ten milliseconds. Where another program runs as well, threads that only
look use up the time of those that they wait for: beside one busy program on two processors a transcription took ten
times as long. Where all is calm those that work are there long before.
"""
QUOTAS = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
"""Where a control group, of version 2 or 1, has its microseconds of processor time, and those that they are for."""


def prepare(environment: MutableMapping[str, str] = os.environ, root: Path = Path("/")) -> None:
    """Have waiting threads sleep soon, and no more threads than the process is granted processors.

    What the user says of either holds, as does what was there when torch was loaded. `root` is where the files of the
    system are.
    """
    if "torch" in sys.modules:
        return
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", LOOKS)
    granted = min(_quotas(root), default=None)
    if granted is not None and granted < _cores(root):
        environment.setdefault("OMP_NUM_THREADS", str(ceil(granted)))


def _cores(root: Path) -> int:
    """Those that this process may run on, which is how many threads torch takes by itself."""
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        two_each = (root / "sys/devices/system/cpu/smt/active").read_text().strip() == "1"
    except (OSError, ValueError):
        two_each = False
    return processors // 2 if two_each else processors


def _quotas(root: Path) -> Iterator[float]:
    """Processors' worth of time that each control group of this process is limited to (containers, services)."""
    for folder in _groups(root):
        for names in QUOTAS:
            try:
                quota, period = " ".join((folder / name).read_text() for name in names).split()
            except (OSError, ValueError):
                continue
            if quota.isdecimal() and period.isdecimal() and int(period):  # "max" and -1: not limited
                yield int(quota) / int(period)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups that hand out processor time, and of all groups that these are in."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        controllers, _, group = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        own = Path(group.lstrip("/"))
        # Within a container the group may be told as it is seen from outside; its files lie at the top then.
        for path in (own, *own.parents):
            yield root / "sys/fs/cgroup" / controllers / path
