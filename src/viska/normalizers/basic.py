"""Normalization of text in any language."""

from typing import Any

from viska.normalizers._rules import rules

_basic: Any = rules("basic")

ADDITIONAL_DIACRITICS: dict[str, str] = _basic.ADDITIONAL_DIACRITICS


def remove_symbols_and_diacritics(s: str, keep: str = "") -> str:
    """Symbols and punctuation become spaces but for those in `keep`, and letters lose their diacritics."""
    return str(_basic.remove_symbols_and_diacritics(s, keep))


def remove_symbols(s: str) -> str:
    """Symbols, punctuation and combining marks become spaces; composed letters keep their diacritics."""
    return str(_basic.remove_symbols(s))


class BasicTextNormalizer(_basic.BasicTextNormalizer):  # type: ignore[misc]  # the package has no types
    """Lower case, nothing in brackets, symbols and runs of white space as one space each.

    `remove_diacritics` makes é an e; `split_letters` puts a space between letters, for scripts without spaces.
    Combining marks count as symbols: in scripts that write vowels with them, words fall apart, as they do in Whisper's
    own figures.
    """

    def __init__(self, remove_diacritics: bool = False, split_letters: bool = False) -> None:
        super().__init__(remove_diacritics, split_letters)

    def __call__(self, s: str) -> str:
        """The normalized text; a space may remain at its ends."""
        return str(super().__call__(s))
