"""Whether a language has a word, as far as that can be known: a model that mishears may write what is none.

The words that people use (of each language those that stand ten times in a thousand million) are kept as a Bloom filter
(Bloom 1970): a few bits for each, from which no word can be read. It takes one string in a hundred that is no word for
one, and never a word for none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.resources import as_file, files

from safetensors import safe_open

from viska.transcription.spelling import parts_of

WORDS = "words.safetensors"  # made by scripts/make_words.py
BITS, CODES = "bits", "languages"
"""What the file calls the filter, and the codes of its languages."""
N_HASHES = 7


@dataclass(frozen=True)
class Lexicon:
    """The words of the languages with these codes."""

    bits: bytes
    languages: frozenset[str]

    def lacks(self, word: str, language: str | None) -> bool:
        """Whether the word is none of a language that is here. Marks and numbers are no words that could be lacking."""
        if language not in self.languages:
            return False
        return not all(self._has(part, language) for part in parts_of(word) if not _is_number(part))

    def _has(self, part: str, language: str) -> bool:
        return all(self.bits[place >> 3] >> (place & 7) & 1 for place in places(part, language, len(self.bits)))


def places(part: str, language: str, n_bytes: int) -> Iterator[int]:
    """The bits of a part of a word (`spelling.parts_of`) in a filter of so many bytes."""
    digest = blake2b(f"{language} {part}".encode(), digest_size=16).digest()
    first, step = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    for number in range(N_HASHES):
        yield (first + number * step) % (8 * n_bytes)


@cache
def lexicon() -> Lexicon:
    """The one that comes with the package; read once, and shared by all threads."""
    with as_file(files("viska") / "assets" / WORDS) as path, safe_open(path, framework="numpy") as file:
        return Lexicon(file.get_tensor(BITS).tobytes(), frozenset(file.metadata()[CODES].split()))


def _is_number(part: str) -> bool:
    return any(letter.isdigit() for letter in part)
