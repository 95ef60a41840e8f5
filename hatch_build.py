"""Compiles the engine's C code (src/viska/engine/native/*.c) when a wheel is built or a checkout is installed.

The compiler comes from the package index (ziglang), so that none has to be there. Where the code cannot be compiled, or
would not run, Viska is installed without it, and computes the same with torch, more slowly.
"""

import os
import platform
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path(__file__).parent / "src" / "viska" / "engine" / "native"
digest = runpy.run_path(str(NATIVE / "sources.py"))["digest"]  # importing it would need torch
GLIBC = "2.17"
PROCESSORS = {
    "avx2": "x86_64_v3",
    "avx512": "x86_64_v4+avx512vnni",
    "avx512bf16": "x86_64_v4+avx512vnni+avx512bf16",
}
FLAGS = ["-std=c11", "-O3", "-fno-math-errno", "-fno-sanitize=all", "-fvisibility=hidden", "-shared", "-s"]


class NativeBuild(BuildHookInterface):
    """One shared library for each set of instructions."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, and mark the wheel as one for this platform."""
        if self.target_name != "wheel" or (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            return
        try:
            for name, processor in PROCESSORS.items():
                compile_for(processor, NATIVE / f"kernels-{name}.so")
        except (OSError, subprocess.CalledProcessError) as error:
            told = getattr(error, "stderr", "") or ""
            self.app.display_warning(f"Viska's compiled code is left out: {error}\n{told}")
            return
        build_data["artifacts"] += [f"src/viska/engine/native/kernels-{name}.so" for name in PROCESSORS]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_{GLIBC.replace('.', '_')}_x86_64"


def compile_for(processor: str, target: Path) -> None:
    """Compile all of it; the file appears whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / target.name
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-target", f"x86_64-linux-gnu.{GLIBC}"]
        command += [
            f'-DSOURCES="{digest(NATIVE)}"',
            f"-mcpu={processor}",
            "-o",
            str(made),
            *map(str, sorted(NATIVE.glob("*.c"))),
        ]
        caches = {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
        subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | caches)
        half = target.with_suffix(".new")
        half.write_bytes(made.read_bytes())
        half.replace(target)
