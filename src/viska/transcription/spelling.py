"""How sure a model is of a word however it is spelled.

"But", " but" and " BUT" are one word to a listener, and a mark before it none. A decoder shares its belief among them:
at the beginning of a sentence, or where another would have set a comma, it seems to doubt what it heard clearly.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import tiktoken
import torch
from torch import Tensor

LEAST = 1e-6
"""Of all probability that is not of marks; next to none of nothing is none."""
ACCENTS = range(0x300, 0x370)
"""Combining marks of Latin, Greek and Cyrillic letters; those of other scripts are vowels, or make other letters."""


class Spellings:
    """The tokens of a vocabulary by what they spell, case, accents, spaces and marks aside."""

    def __init__(self, encoding: tiktoken.Encoding, n_text: int) -> None:
        self._spelled = [letters_of(encoding.decode_single_token_bytes(token)) for token in range(n_text)]
        alike = defaultdict(list)
        for token, letters in enumerate(self._spelled):
            if letters:
                alike[letters].append(token)
        self._alike = {letters: torch.tensor(tokens) for letters, tokens in alike.items()}
        self._marks = torch.tensor([token for token, letters in enumerate(self._spelled) if letters == ""])

    def probabilities(self, predicted: Tensor, tokens: Sequence[int]) -> Tensor:
        """What a decoder predicts in N places, (N, V), and the tokens that stand there -> (N,).

        The probability of each in any spelling, among all that are no marks.
        """
        marks = predicted[:, self._marks.to(predicted.device)].sum(dim=-1)
        found = []
        for row, token in zip(predicted, tokens, strict=True):
            letters = self._spelled[token]
            alike = self._alike[letters].to(row.device) if letters else [token]
            found.append(row[alike].sum())
        found_in_all = torch.stack(found) if found else predicted.new_zeros(0)
        return found_in_all / torch.maximum(1 - marks, found_in_all).clamp_min(LEAST)


def letters_of(data: bytes) -> str | None:
    """What a token spells; None where it is a part of a character."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return "".join(parts_of(text))


def parts_of(text: str) -> list[str]:
    """What stands between spaces and marks in a text, case and accents aside: "L'Être!" -> "l", "etre"."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter if _counts(letter) else " " for letter in plain if ord(letter) not in ACCENTS).split()


def _counts(letter: str) -> bool:
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


@lru_cache(maxsize=2)
def spellings_of(encoding: tiktoken.Encoding, n_text: int) -> Spellings:
    """Of a vocabulary whose first `n_text` tokens are text; made once."""
    return Spellings(encoding, n_text)
