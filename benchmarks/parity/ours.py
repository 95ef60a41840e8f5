"""Viska's side: the same jobs through its public functions, the answers in the rival's layout."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.parity.cases import Case

import viska

DECODE_FIELDS = ("language", "tokens", "text", "avg_logprob", "no_speech_prob", "temperature", "compression_ratio")


class Ours:
    """A model of Viska that answers cases; spectrograms and features are kept, as the rival keeps its own."""

    def __init__(self, model: viska.Whisper) -> None:
        self.model = model
        self._kinds: dict[str, Callable[[Case], Any]] = {
            "detect": self._detect,
            "decode": self._decode,
            "transcribe": self._transcribe,
        }
        self._mel = lru_cache(maxsize=16)(self._read_mel)
        self._features = lru_cache(maxsize=256)(self._encode)

    def answer(self, case: Case) -> Any:
        """What Viska gives for the case."""
        return self._kinds[case.setting.kind](case)

    def _read_mel(self, path: Path) -> torch.Tensor:
        return viska.log_mel_spectrogram(viska.pad_or_trim(np.load(path)), n_mels=self.model.dims.n_mels)

    @torch.no_grad()
    def _encode(self, path: Path) -> torch.Tensor:
        return self.model.embed_audio(self._mel(path)[None])[0]

    def _detect(self, case: Case) -> list[dict[str, Any]]:
        _, probabilities = viska.detect_language(self.model, torch.stack([self._mel(path) for path in case.audio]))
        return [{"language_probs": probs} for probs in probabilities]

    def _decode(self, case: Case) -> list[dict[str, Any]]:
        read = self._features if case.setting.window == "features" else self._mel
        options = viska.DecodingOptions(fp16=False, **case.options)
        results: Any = viska.decode(self.model, torch.stack([read(path) for path in case.audio]), options)
        return [{field: getattr(result, field) for field in DECODE_FIELDS} for result in results]

    def _transcribe(self, case: Case) -> dict[str, Any]:
        result = viska.transcribe(self.model, np.load(case.audio[0]), compat="openai", fp16=False, **case.options)
        return result.to_dict()
