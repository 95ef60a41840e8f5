"""What transcription needs of a network, and the two that there are: the reference path and the engine."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viska.audio import N_FRAMES
from viska.decoding import DecodingOptions, DecodingResult, decode, detect_language
from viska.decoding.options import compute_dtype
from viska.engine import Engine, Heard, Lane, engine_for, fits_a_lane
from viska.model import (
    AudioEncoder,
    Conv1d,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    ResidualAttentionBlock,
    TextDecoder,
    Whisper,
)
from viska.timing import read_text

CACHE_HOOKS = Whisper.__module__  # where the hooks of `install_kv_cache_hooks` are from


@dataclass(frozen=True, eq=False)
class Attempt:
    """One window, heard already, to be decoded with these options, which name the language.

    With `stop_loops` a text that goes round in circles is not decoded to the end, where windows are decoded together.
    """

    heard: Heard
    options: DecodingOptions
    stop_loops: bool = False


class Backend(ABC):
    """A network at work."""

    any_length = False  # whether windows shorter than half a minute may be encoded as they are
    rounds = False  # whether it may round numbers to be fast, so that the last word of the reference is not asked for

    @abstractmethod
    def encode(self, mel: Tensor) -> Heard:
        """Log-mel (n_mels, F) of a window, F even and at most 3000 -> what was heard."""

    @abstractmethod
    def detect_language(self, heard: Heard, languages: str | Collection[str] | None) -> dict[str, float]:
        """Language code -> probability."""

    @abstractmethod
    def decode(self, attempt: Attempt) -> DecodingResult:
        """Decode one window alone."""

    @abstractmethod
    def read(self, heard: Heard, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Of known tokens (T) the scores of the alignment heads (heads, T, S), and logits (T, V): a `timing.Reader`."""

    @abstractmethod
    def lane(self, options: DecodingOptions, n_windows: int) -> Lane | None:
        """Where windows with these options are decoded together; None where each is decoded alone."""


class EngineBackend(Backend):
    """The engine: explicit caches, the model's compute type, windows together."""

    any_length = True

    def __init__(self, engine: Engine) -> None:
        self.engine, self.model = engine, engine.model
        self.rounds = engine.model.compute_type != "float32"

    def encode(self, mel: Tensor) -> Heard:
        """See `Backend.encode`."""
        return self.engine.encode(mel)

    def detect_language(self, heard: Heard, languages: str | Collection[str] | None) -> dict[str, float]:
        """See `Backend.detect_language`."""
        return self.engine.detect_language(heard, languages)

    def decode(self, attempt: Attempt) -> DecodingResult:
        """See `Backend.decode`."""
        return self.engine.decode(attempt.heard, attempt.options)

    def read(self, heard: Heard, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `Backend.read`."""
        return self.engine.read(heard, tokens)

    def lane(self, options: DecodingOptions, n_windows: int) -> Lane | None:
        """See `Backend.lane`."""
        return self.engine.lane(options, n_windows) if fits_a_lane(options) else None


class ReferenceBackend(Backend):
    """The module itself, in the dtype of its weights: exact, and with whatever hooks its user has set."""

    def __init__(self, model: Whisper, *, fp16: bool = True) -> None:
        self.model = model
        weights = next(model.parameters())
        self.device, self.dtype = weights.device, compute_dtype(weights.dtype, weights.device, fp16=fp16)

    def encode(self, mel: Tensor) -> Heard:
        """See `Backend.encode`; the window is filled up with zeros to half a minute."""
        mel = F.pad(mel, (0, N_FRAMES - mel.shape[-1]))
        with torch.no_grad():
            return Heard(self.model.embed_audio(mel[None].to(self.device, self.dtype))[0])

    def detect_language(self, heard: Heard, languages: str | Collection[str] | None) -> dict[str, float]:
        """See `Backend.detect_language`."""
        return cast(dict[str, float], detect_language(self.model, heard.features, languages=languages)[1])

    def decode(self, attempt: Attempt) -> DecodingResult:
        """See `Backend.decode`."""
        language = attempt.options.language or "en"
        return cast(
            DecodingResult, decode(self.model, attempt.heard.features, replace(attempt.options, language=language))
        )

    def read(self, heard: Heard, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `Backend.read`."""
        return read_text(self.model, heard.features, tokens)

    def lane(self, options: DecodingOptions, n_windows: int) -> Lane | None:  # noqa: ARG002  # the plain path is plain
        """See `Backend.lane`."""
        return None


def backend_for(model: Whisper, *, reference: bool, fp16: bool = True) -> Backend:
    """The engine, or the reference path where it is asked for, and where the module would compute otherwise than it."""
    if reference or not all(map(_is_plain, model.modules())):
        return ReferenceBackend(model, fp16=fp16)
    return EngineBackend(engine_for(model))


PLAIN = (AudioEncoder, TextDecoder, ResidualAttentionBlock, MultiHeadAttention, Linear, LayerNorm, Conv1d)
PLAIN_PARTS = (nn.Embedding, nn.GELU, nn.ModuleList, nn.Sequential)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is what the engine takes it for: nobody waits for its pass, has replaced it or its pass."""
    if not (isinstance(module, Whisper) or type(module) in PLAIN + PLAIN_PARTS) or "forward" in vars(module):
        return False
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    # Those of a cache are there while another thread decodes with the module itself.
    return all(getattr(hook, "__module__", None) == CACHE_HOOKS for hook in hooks)
