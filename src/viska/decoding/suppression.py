"""Tokens banned by their text: those that a regular expression matches."""

import math
import re
from functools import lru_cache

import torch
from torch import Tensor

from viska.decoding.filters import LogitFilter
from viska.errors import OptionError
from viska.tokenizer import Tokenizer


class SuppressMatching(LogitFilter):
    """No text token whose text the pattern matches. Raises OptionError for a pattern that `tokens_matching` refuses."""

    def __init__(self, pattern: str, tokenizer: Tokenizer, device: torch.device) -> None:
        self.banned = tokens_matching(pattern, tokenizer).to(device)

    def apply(self, logits: Tensor, tokens: Tensor) -> None:  # noqa: ARG002  # whatever came before
        """See `LogitFilter.apply`."""
        logits.index_fill_(-1, self.banned, -math.inf)


@lru_cache(maxsize=16)  # windows share it: looking through a vocabulary takes a tenth of a second
def tokens_matching(pattern: str, tokenizer: Tokenizer) -> Tensor:
    """The ids (N,) of the text tokens in whose text, the space before a word included, `pattern` is found.

    A token that ends within a character has U+FFFD for it. Raises OptionError for what is no regular expression, and
    for one that leaves no text to say.
    """
    compiled = compiled_pattern(pattern)
    added = range(tokenizer.timestamp_end, tokenizer.timestamp_end + len(tokenizer.added_tokens))
    texts = {token: tokenizer.decode([token]) for token in (*range(tokenizer.eot), *added)}
    matching = [token for token, text in texts.items() if compiled.search(text)]
    if len(matching) == len(texts):
        raise OptionError(f"suppress_regex {pattern!r} matches every token, so that nothing can be said; narrow it")
    return torch.tensor(matching, dtype=torch.long)


def compiled_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression. Raises OptionError for what is none."""
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise OptionError(
            f"suppress_regex is {pattern!r}, which is no regular expression ({error}); give what Python's re takes"
        ) from None
