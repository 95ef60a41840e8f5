"""The network of a model in the form that runs fastest here."""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from viska.decoding import DecodingOptions, DecodingResult, DecodingTask, tokenizer_for
from viska.decoding.language import candidate_languages, tokens_of_languages
from viska.engine.cache import CrossMemory
from viska.engine.decoder import Decoder
from viska.engine.encoder import Encoder
from viska.engine.inference import EngineInference
from viska.engine.lane import Lane
from viska.engine.plan import resolve
from viska.model import Whisper


@dataclass(eq=False)
class Heard:
    """A window that went through the encoder: features (S, D), and what the engine's decoder keeps of them."""

    features: Tensor
    decoder: Decoder | None = None

    @cached_property
    def memory(self) -> CrossMemory:
        """Keys and values of the audio, made when first needed, for the language and every attempt at the text."""
        assert self.decoder is not None  # the reference path has no memory
        with torch.inference_mode():
            return self.decoder.hear(self.features)


class Engine:
    """A model's weights, packed for a compute type. Holds no state of any decoding: threads may share it.

    It does not hold on to the model, which must be there as long as the engine is used. Raises OptionError for an
    unknown compute type.
    """

    def __init__(self, model: Whisper, compute_type: str = "auto") -> None:
        self._model = ref(model)  # an engine is kept as long as its model, which it therefore must not keep
        self.plan = resolve(compute_type, model.device, model.dims.n_audio_layer)
        with torch.inference_mode():
            self.encoder = Encoder(model.encoder, self.plan.encoder)
            self.decoder = Decoder(model.decoder, self.plan)

    @property
    def model(self) -> Whisper:
        """The model whose weights these are."""
        model = self._model()
        assert model is not None, "the model of this engine is gone"
        return model

    @torch.inference_mode()
    def encode(self, mel: Tensor) -> Heard:
        """Log-mel (n_mels, F) of one window, F even and at most 3000 -> what was heard."""
        return Heard(self.encoder(mel.to(self.model.device)), self.decoder)

    @torch.inference_mode()
    def detect_language(self, heard: Heard, languages: str | Collection[str] | None = None) -> dict[str, float]:
        """Language code -> probability, among all or among those named; see `viska.detect_language`."""
        tokenizer = tokenizer_for(self.model)
        candidates = tokens_of_languages(tokenizer, candidate_languages(languages))
        hidden, _, _ = self.decoder.prefill([tokenizer.sot], heard.memory)  # (1, D)
        logits = self.decoder.logits(hidden)[0, list(candidates.values())]  # (languages,)
        return dict(zip(candidates, logits.softmax(dim=-1).tolist(), strict=True))

    @torch.inference_mode()
    def read(self, heard: Heard, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Known tokens (T) -> the scores of the alignment heads before the softmax (heads, T, S), and logits (T, V)."""
        return self.decoder.read(tokens, heard.memory, self.model.alignment_pairs)

    def lane(self, options: DecodingOptions, n_windows: int = 1) -> Lane:
        """Places for windows that are decoded together with these options."""
        return Lane(self.model, self.decoder, options, n_windows)

    def decode(self, heard: Heard, options: DecodingOptions) -> DecodingResult:
        """Decode one window alone. `options` must name the language of a multilingual model."""
        if not fits_a_lane(options):
            return self.decode_apart(heard, options)
        lane = self.lane(options)
        result = lane.admit(0, heard.features, heard.memory, options)
        while result is None:
            result = next((finished for _, finished in lane.step()), None)
        return result

    def decode_apart(self, heard: Heard, options: DecodingOptions) -> DecodingResult:
        """Decode one window with the plain search of `viska.decoding` over the engine's network: every option works."""

        def inference(_model: Whisper, n_initial: int) -> EngineInference:
            return EngineInference(self.decoder, heard.memory, n_initial)

        with torch.inference_mode():
            return DecodingTask(self.model, options, inference).run_on_features(heard.features[None])[0]


def fits_a_lane(options: DecodingOptions) -> bool:
    """Whether windows with these options can be decoded in a lane: those that keep a record of tokens cannot."""
    return options.bias is None and not options.token_logprobs and not options.top_logprobs


_engines: WeakKeyDictionary[Whisper, tuple[Any, Engine]] = WeakKeyDictionary()
_lock = threading.Lock()


def engine_for(model: Whisper) -> Engine:
    """The engine of a model and its `compute_type`; kept with it, and made anew when its weights have changed."""
    state = (model.compute_type, [(weight.data_ptr(), _version(weight)) for weight in model.parameters()])
    with _lock:
        known = _engines.get(model)
        if known is None or known[0] != state:
            known = _engines[model] = (state, Engine(model, model.compute_type))
        return known[1]


def _version(weight: Tensor) -> int:
    """How often a tensor was changed in place; 0 for one that does not count it."""
    return 0 if weight.is_inference() else weight._version
