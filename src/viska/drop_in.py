"""`import whisper` means Viska: for packages that were written for openai/whisper and cannot be told otherwise.

    import viska
    viska.install_as_whisper()
    import stable_whisper  # imports `whisper`, and gets Viska

What `import whisper` then gives differs from `import viska` where such packages need it: its version is that of the
release whose behaviour it has; `transcribe` has `compat="openai"` and returns dicts and lists, which may be written
into; the alignment heads of a model may be assigned. All else is Viska's own modules and classes.
"""

import base64
import gzip
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from viska import audio, decoding, model, timing, tokenizer, utils, weights
from viska.errors import DownloadError, ViskaError
from viska.transcription import transcribe as viska_transcribe
from viska.version import __version__
from viska.weights.cache import why_offline
from viska.weights.download import RemoteFile, download
from viska.weights.openai import OpenAIFetch
from viska.weights.registry import find_official
from viska.weights.source import SourceError

OPENAI_VERSION = "20250625"
"""The release of openai/whisper whose behaviour `compat="openai"` has."""


class Whisper(model.Whisper):
    """The network with the verbs and attributes that packages built on openai/whisper use."""

    def transcribe(self, audio: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """See `transcribe`."""
        return transcribe(self, audio, **options)

    @property
    def alignment_heads(self) -> Tensor:
        """The heads whose attention follows the audio: (n_text_layer, n_text_head) bool, sparse."""
        return super().alignment_heads

    @alignment_heads.setter
    def alignment_heads(self, heads: Tensor | None) -> None:
        """Take other heads, sparse or dense; None stands for those of a model of which nothing is known."""
        flags = self._default_alignment_heads() if heads is None else heads.to_dense()
        self._alignment_heads = flags.to(self.device, torch.bool)


def transcribe(model: model.Whisper, audio: Any, *, compat: str | None = "openai", **options: Any) -> dict[str, Any]:
    """`viska.transcribe` with openai/whisper's behaviour, as plain dicts and lists that may be written into."""
    return viska_transcribe(model, audio, compat=compat, **options).to_dict()


def load_model(*arguments: Any, **keywords: Any) -> Whisper:
    """`viska.load_model`; the model's `transcribe` is the one of this module."""
    loaded: Any = weights.load_model(*arguments, **keywords)
    loaded.__class__ = Whisper  # the same network and the same tensors: only methods differ
    return loaded  # type: ignore[no-any-return]


def download_openai(url: str, root: str, in_memory: bool) -> bytes | str:
    """The `.pt` file of an address of `_MODELS`: its path in the folder `root`, or its bytes. Raises DownloadError."""
    digest, name = url.split("/")[-2:]
    folder = Path(root)
    if reason := why_offline():
        raise DownloadError(f"{url}: {reason}; give the path of a model, or unset it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = download(RemoteFile(url, name, sha256=digest), folder)
    except (SourceError, OSError) as error:
        raise DownloadError(f"{url} could not be fetched: {error}; viska.load_model knows other sources") from error
    return path.read_bytes() if in_memory else str(path)


def openai_addresses() -> dict[str, str]:
    """Model name -> address of OpenAI's file."""
    addresses = {}
    for name in weights.available_models():
        official = find_official(name)
        if official is not None and official.openai_sha256 is not None:
            fetch = OpenAIFetch(official.name, official.openai_sha256)
            addresses[name] = f"{fetch.address}/{fetch.sha256}/{fetch.name}.pt"
    return addresses


def alignment_dumps() -> dict[str, bytes]:
    """Model name -> its alignment heads as `set_alignment_heads` takes them: some packages build models themselves."""
    dumps = {}
    for name in weights.available_models():
        official = find_official(name)
        if official is not None and official.alignment_heads is not None:
            flags = torch.zeros(official.dims.n_text_layer, official.dims.n_text_head, dtype=torch.bool)
            flags[tuple(zip(*official.alignment_heads, strict=True))] = True
            dumps[name] = base64.b85encode(gzip.compress(flags.numpy().tobytes(), mtime=0))
    return dumps


def install_as_whisper() -> ModuleType:
    """Make `import whisper`, and its submodules, mean Viska in this process from here on; returns that module.

    The metadata of installed packages then name an `openai-whisper` too, if there is none, for packages that look at
    its version. To be called before anything imports `whisper`; a second call changes nothing. Raises ViskaError where
    another `whisper` has been imported: what holds its classes would not understand Viska's.
    """
    present = sys.modules.get("whisper")
    if present is not None:
        if getattr(present, "__viska__", None) == __version__:
            return present
        raise ViskaError(
            f"another `whisper` is imported already ({getattr(present, '__file__', None) or present!r}); call "
            "viska.install_as_whisper() before anything that imports it"
        )
    modules = _submodules()
    names: dict[str, Any] = {name.split(".")[1]: found for name, found in modules.items() if name.count(".") == 1}
    names["transcribe"] = transcribe  # as in openai/whisper the function hides the module of its name
    whisper = _module(
        "whisper",
        **names,
        **{name: getattr(audio, name) for name in ("load_audio", "log_mel_spectrogram", "pad_or_trim")},
        **{
            name: getattr(decoding, name) for name in ("DecodingOptions", "DecodingResult", "decode", "detect_language")
        },
        ModelDimensions=model.ModelDimensions,
        Whisper=Whisper,
        available_models=weights.available_models,
        load_model=load_model,
        _ALIGNMENT_HEADS=alignment_dumps(),
        _MODELS=openai_addresses(),
        _download=download_openai,
        __version__=OPENAI_VERSION,
        __viska__=__version__,
        __file__=__file__,
        __path__=[],
    )
    sys.modules.update({"whisper": whisper, **modules})
    sys.meta_path.append(_Metadata())
    return whisper


def _submodules() -> dict[str, ModuleType]:
    """Viska's own modules wherever that will do, so that what is patched there has its effect."""
    shared = {"audio": audio, "decoding": decoding, "timing": timing, "tokenizer": tokenizer, "utils": utils}
    made = [
        _module("whisper.model", **_names(model) | {"Whisper": Whisper, "SDPA_AVAILABLE": True}),
        _module("whisper.transcribe", **_names(import_module("viska.transcribe")) | {"transcribe": transcribe}),
        _module("whisper.version", __version__=OPENAI_VERSION),
        *(_Deferred(f"whisper.normalizers{part}") for part in ("", ".basic", ".english")),
    ]
    named = {f"whisper.{name}": module for name, module in shared.items()}
    return named | {module.__name__: module for module in made}


def _names(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def _module(name: str, /, **values: Any) -> ModuleType:
    module = ModuleType(name, f"Viska {__version__} in the place of openai/whisper's module.")
    module.__spec__ = ModuleSpec(name, None, origin="viska")  # without one, `importlib.util.find_spec` fails
    vars(module).update(values)
    return module


class _Deferred(ModuleType):
    """A module that comes when one of its names is wanted: the normalizers need an optional package."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None, origin="viska")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(self.__name__.replace("whisper", "viska", 1)), name)


class _Metadata(DistributionFinder):
    """Finds no modules, but an installed distribution named openai-whisper."""

    def find_spec(self, *_: Any) -> None:
        return None

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterable[Distribution]:
        name = re.sub(r"[-_.]+", "-", (context and context.name) or "").lower()
        return [_OpenAIWhisper()] if name in ("", "openai-whisper") else []


class _OpenAIWhisper(Distribution):
    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: openai-whisper\nVersion: {OPENAI_VERSION}\nSummary: Viska {__version__}\n"

    def locate_file(self, path: Any) -> Path:
        return Path(__file__).parent / str(path)
