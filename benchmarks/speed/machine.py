"""What the numbers were measured on."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "i8mm", "bf16")


def describe(isa: str) -> dict[str, str]:
    """The processor, what it can, and how busy it was with other things."""
    lines = _cpuinfo()
    flags = set(lines.get("flags", lines.get("Features", "")).split())
    return {
        "processor": lines.get("model name", platform.processor() or platform.machine()),
        "instructions": " ".join(feature for feature in FEATURES if feature in flags) + f" ({isa})",
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def busy_seconds() -> float:
    """What all processors together have spent on anything so far; 0 where the system does not tell."""
    path = Path("/proc/stat")
    if not path.is_file():
        return 0.0
    ticks = [int(number) for number in path.read_text().splitlines()[0].split()[1:]]
    return float(sum(ticks[:3] + ticks[5:8])) / os.sysconf("SC_CLK_TCK")  # all but idle, waiting and guests


@contextmanager
def beside_another_program() -> Iterator[subprocess.Popen[bytes]]:
    """While this lasts another program, of a session of its own as on any desktop, wants a core to itself."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield other
    finally:
        other.kill()
        other.wait()


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    text = path.read_text().split("\n\n")[0] if path.is_file() else ""
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
