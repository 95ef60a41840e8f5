"""A model in the file format of whisper.cpp: float16, or 8 bits a weight in blocks of 32 ("q8_0").

Little-endian: a magic number, eleven dimensions, the mel filters, the words of the vocabulary, then the tensors, each
with its number of axes, length of name, type, sizes (innermost first), name and data.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

import viska
from viska.audio import mel_filters
from viska.tokenizer import get_tokenizer

MAGIC = 0x67676D6C
BLOCK = 32
FLOAT32, FLOAT16, Q8_0 = 0, 1, 8  # types of a tensor
FILE_TYPES = {"float16": 1, "q8_0": 2007}  # 7, and 1000 times the version of the layout of blocks
N_FREQUENCIES = 201


def write_ggml(model: viska.Whisper, path: Path, number_format: str) -> Path:
    """Write the file, unless it is there."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            _write_head(model, file, FILE_TYPES[number_format])
            for name, tensor in model.state_dict().items():
                _write_tensor(file, name, tensor.float().numpy(), quantized=number_format == "q8_0")
        partial.replace(path)
    return path


def _write_head(model: viska.Whisper, file: BinaryIO, file_type: int) -> None:
    dims = model.dims
    audio = (dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer)
    text = (dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
    file.write(struct.pack("<12i", MAGIC, dims.n_vocab, *audio, *text, dims.n_mels, file_type))
    filters = mel_filters("cpu", dims.n_mels).numpy().astype("<f4")
    file.write(struct.pack("<2i", dims.n_mels, N_FREQUENCIES) + filters.tobytes())
    words = list(_words(model))
    file.write(struct.pack("<i", len(words)))
    for word in words:
        file.write(struct.pack("<i", len(word)) + word)


def _words(model: viska.Whisper) -> Iterator[bytes]:
    """The ordinary tokens; whisper.cpp knows the special ones by their place behind these."""
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    for token in range(tokenizer.eot):
        yield tokenizer.encoding.decode_single_token_bytes(token)


def _write_tensor(file: BinaryIO, name: str, values: NDArray[np.float32], *, quantized: bool) -> None:
    if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        values = values[:, None]
    kind = FLOAT32
    if values.ndim > 1 and name.endswith(".weight"):
        kind = Q8_0 if quantized and values.ndim == 2 else FLOAT16
    encoded = name.encode()
    file.write(struct.pack(f"<3i{values.ndim}i", values.ndim, len(encoded), kind, *reversed(values.shape)) + encoded)
    file.write({FLOAT32: _float32, FLOAT16: _float16, Q8_0: q8_0}[kind](values))


def _float32(values: NDArray[np.float32]) -> bytes:
    return values.astype("<f4").tobytes()


def _float16(values: NDArray[np.float32]) -> bytes:
    return values.astype("<f2").tobytes()


def q8_0(values: NDArray[np.float32]) -> bytes:
    """Blocks of 32 values: a float16 scale, then 32 signed bytes."""
    blocks = values.reshape(-1, BLOCK)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
    steps = np.divide(blocks, scales, out=np.zeros_like(blocks), where=scales > 0)
    packed = np.empty(len(blocks), dtype=[("scale", "<f2"), ("steps", "i1", BLOCK)])
    packed["scale"], packed["steps"] = scales[:, 0], np.rint(steps)
    return packed.tobytes()
