"""Every engine's interpreter, worker script and copy of the same weights, made when first needed."""

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.parity.environments import WORK, environment, faster_whisper_python, oracle_python
from benchmarks.parity.rival import save_checkpoint
from benchmarks.parity.witness import with_vocabulary
from benchmarks.speed.ggml import write_ggml

import viska
from viska._openmp import LOOKS
from viska.weights.load import locate

WORKERS = Path(__file__).with_name("workers")
WHISPER_CPP = "pywhispercpp==1.5.1"
VISKA, FASTER, OPENAI, CPP = "viska", "faster-whisper", "openai-whisper", "whisper.cpp"
ISAS = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "CT2_FORCE_CPU_ISA": "AVX2",
    },
}
"""Environment variables that keep libraries from using what the processor has beyond AVX2."""


@dataclass(frozen=True)
class Engines:
    """How to start a worker of each engine for the model `name`."""

    name: str
    threads: int
    isa: str = "native"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of every process that is timed; what Viska told itself in it is not for rivals."""
        kept = {name: value for name, value in os.environ.items() if (name, value) != ("GOMP_SPINCOUNT", LOOKS)}
        return {**kept, "OMP_NUM_THREADS": str(self.threads), **ISAS[self.isa]}

    @property
    def log_folder(self) -> Path:
        """Where workers write what they have to say."""
        return WORK / "speed"

    def command(self, engine: str, compute_type: str) -> list[str]:
        """What starts a worker."""
        python, script, weights = getattr(self, f"_{engine.replace('-', '_').replace('.', '_')}")(compute_type)
        options = {"weights": weights, "compute-type": compute_type, "threads": self.threads}
        return [python, str(WORKERS / script), *(f"--{name}={value}" for name, value in options.items())]

    def _viska(self, _compute_type: str) -> tuple[str, str, Path | str]:
        return sys.executable, "ours.py", self.name

    def _faster_whisper(self, _compute_type: str) -> tuple[str, str, Path | str]:
        return faster_whisper_python(), "faster.py", self.ctranslate2_folder

    def _openai_whisper(self, _compute_type: str) -> tuple[str, str, Path | str]:
        return oracle_python(), "oracle.py", self._checkpoint

    def _whisper_cpp(self, compute_type: str) -> tuple[str, str, Path | str]:
        python = environment(WORK / "whisper-cpp", ((WHISPER_CPP,),))
        return (
            python,
            "cpp.py",
            write_ggml(self._model, WORK / "ggml" / f"{self.name}-{compute_type}.bin", compute_type),
        )

    @cached_property
    def ctranslate2_folder(self) -> Path:
        """The model in CTranslate2's form."""
        folder = locate(self.name).path
        if not (folder / "model.bin").is_file():
            raise SystemExit(f"{folder} has no model.bin: faster-whisper needs the model in CTranslate2's form.")
        linked = WORK / f"ctranslate2-{folder.name}"
        return linked if (linked / "vocabulary.json").is_file() else with_vocabulary(folder)

    @cached_property
    def _model(self) -> viska.Whisper:
        return viska.load_model(self.name, device="cpu", compute_type="float32")

    @cached_property
    def _checkpoint(self) -> Path:
        return save_checkpoint(vars(self._model.dims), self._model.state_dict(), WORK / "weights")[0]
