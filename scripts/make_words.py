"""Make the filter of known words from the word lists of the package wordfreq.

    pip install msgpack
    python scripts/make_words.py wordfreq-3.1.1-py3-none-any.whl

The wheel (`pip download --no-deps wordfreq==3.1.1`) is read as the zip file that it is, and not installed. Of each
language that has a large list, and puts spaces between its words, those at least as frequent as `LEAST_ZIPF` are taken.
"""

import argparse
import gzip
import hashlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from viska.transcription.lexicon import BITS, CODES, places
from viska.transcription.spelling import parts_of

SHA256 = "4b1c6ecffc6198be3396d5cf871c4423ca71c907c231348d352dd54d62b97473"
SOURCE = {
    "source": "word lists of wordfreq 3.1.1, Robyn Speer, https://github.com/rspeer/wordfreq",
    "license": "CC BY-SA 4.0",
}
OWN_CODE = "ar bn ca cs de en es fi fr he it mk nl pl pt ru sv uk"
LISTS = dict(zip(OWN_CODE.split(), OWN_CODE.split(), strict=True)) | {"no": "nb"}
"""Whisper's code of a language, and that of its list."""
LEAST_ZIPF = 2.0  # logarithm of how often a word stands among a thousand million
BITS_A_WORD = 10


def words(packed: bytes) -> Iterator[str]:
    """Those of a list: a header, then, from frequent to rare, the words of each hundredth of a power of ten."""
    import msgpack  # here, because tests need the rest without it

    header, *bins = msgpack.unpackb(gzip.decompress(packed), raw=False)
    if header != {"format": "cB", "version": 1}:
        raise ValueError(f"a list in an unknown format: {header}")
    for group in bins[: round(100 * (9 - LEAST_ZIPF)) + 1]:
        yield from group


def filtered(keys: set[tuple[str, str]]) -> np.ndarray:
    """The bytes of the filter that has these words, each with its language."""
    bits = np.zeros(len(keys) * BITS_A_WORD // 8, dtype=np.uint8)
    for part, language in keys:
        for place in places(part, language, len(bits)):
            bits[place >> 3] |= 1 << (place & 7)
    return bits


def main() -> int:
    """Write the filter."""
    parser = argparse.ArgumentParser(description="Make the filter of known words.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--output", type=Path, default=Path("src/viska/assets/words.safetensors"))
    arguments = parser.parse_args()
    if (digest := hashlib.sha256(arguments.wheel.read_bytes()).hexdigest()) != SHA256:
        print(f"{arguments.wheel} has the unknown SHA-256 {digest}: refused", file=sys.stderr)
        return 1
    keys = set()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        for language, name in LISTS.items():
            found = words(wheel.read(f"wordfreq/data/large_{name}.msgpack.gz"))
            keys |= {(part, language) for word in found for part in parts_of(word)}
    metadata = SOURCE | {CODES: " ".join(sorted(LISTS))}
    save_file({BITS: filtered(keys)}, arguments.output, metadata=metadata)
    print(f"{arguments.output}: {len(keys)} words, {hashlib.sha256(arguments.output.read_bytes()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
