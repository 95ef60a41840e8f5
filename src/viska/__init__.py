"""Viska: speech to text with OpenAI's Whisper models, under the names that users of the `whisper` module know.

>>> import viska
>>> model = viska.load_model("base")
>>> viska.transcribe(model, "talk.mp3").text
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from viska._openmp import prepare as _prepare_openmp
from viska.version import __version__

if TYPE_CHECKING:
    from viska.audio import audio_tracks, load_audio, log_mel_spectrogram, pad_or_trim
    from viska.decoding import DecodingOptions, DecodingResult, decode, detect_language
    from viska.drop_in import install_as_whisper
    from viska.errors import ViskaError
    from viska.faster_whisper import BatchedInferencePipeline, WhisperModel
    from viska.model import ModelDimensions, Whisper
    from viska.result import Segment, TokenAlternative, Transcript, Word
    from viska.transcription import transcribe, transcribe_channels, transcribe_many
    from viska.weights import available_models, load_model

__all__ = [
    "BatchedInferencePipeline",
    "DecodingOptions",
    "DecodingResult",
    "ModelDimensions",
    "Segment",
    "TokenAlternative",
    "Transcript",
    "ViskaError",
    "Whisper",
    "WhisperModel",
    "Word",
    "__version__",
    "audio_tracks",
    "available_models",
    "decode",
    "detect_language",
    "install_as_whisper",
    "load_audio",
    "load_model",
    "log_mel_spectrogram",
    "pad_or_trim",
    "transcribe",
    "transcribe_channels",
    "transcribe_many",
]

_prepare_openmp()

# Names are fetched when they are first used, so that `import viska` and `viska --help` do not wait for torch.
_HOME = {
    "BatchedInferencePipeline": "viska.faster_whisper",
    "DecodingOptions": "viska.decoding",
    "DecodingResult": "viska.decoding",
    "ModelDimensions": "viska.model",
    "Segment": "viska.result",
    "TokenAlternative": "viska.result",
    "Transcript": "viska.result",
    "ViskaError": "viska.errors",
    "Whisper": "viska.model",
    "WhisperModel": "viska.faster_whisper",
    "Word": "viska.result",
    "audio_tracks": "viska.audio",
    "available_models": "viska.weights",
    "decode": "viska.decoding",
    "detect_language": "viska.decoding",
    "install_as_whisper": "viska.drop_in",
    "load_audio": "viska.audio",
    "load_model": "viska.weights",
    "log_mel_spectrogram": "viska.audio",
    "pad_or_trim": "viska.audio",
    "transcribe": "viska.transcribe",
    "transcribe_channels": "viska.transcription",
    "transcribe_many": "viska.transcription",
}
_SUBMODULES = {"audio", "decoding", "errors", "formats", "languages", "model", "normalizers", "result", "timing"}
_SUBMODULES |= {"tokenizer", "utils", "weights"}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"viska.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'viska' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
