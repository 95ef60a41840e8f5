"""Words to expect, at the logits: a token that begins one of them, or goes on with one begun, is made likelier.

Nothing of it stands in a prompt, so that it can neither be repeated from there nor take room from the text before. It
steers the choice alone: the log-probabilities that a result reports are those before the bias (`RecordingDecoder`), so
that thresholds judge what the model itself thinks of the text.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from viska.decoding.filters import LogitFilter
from viska.errors import OptionError
from viska.tokenizer import Tokenizer

LARGEST_STRENGTH = 100
"""Far beyond what leaves nothing else to say; much more is infinite in half precision."""
NO_SPEECH_LIMIT = 0.3
"""A window with a higher probability of no speech is not biased: over silence the words would be made up."""

Bias = Mapping[str, float] | Collection[str]
"""Phrases with the strength of each, or phrases alone, which may also be one string with commas between."""

Trie = dict[tuple[int, ...], dict[int, float]]
"""The tokens of a phrase begun -> each token that may come next, with its strength; () has the first tokens."""


class PhraseBias(LogitFilter):
    """Adds its strength to each token that begins a phrase, or goes on with one that the last tokens begin.

    Where several phrases want one token, the strongest counts. Made for one batch of windows: `begin` says which of its
    rows are spoken, which before it is called they all are.
    """

    def __init__(self, trie: Trie) -> None:
        self.trie = trie
        self.longest = max(map(len, trie))
        self.silent: frozenset[int] = frozenset()
        self._boosts: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def begin(self, no_speech_probs: Sequence[float]) -> None:
        """Leave alone the rows whose window is probably without speech."""
        self.silent = frozenset(row for row, prob in enumerate(no_speech_probs) if prob > NO_SPEECH_LIMIT)

    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        """See `LogitFilter.apply`; what is banned stays so."""
        first = max(tokens.shape[1] - self.longest, 0)
        for row, tail in enumerate(tokens[:, first:].tolist()):
            if row not in self.silent:
                ids, strengths = self._boost(self._begun(tail), logits.device)
                logits[row, ids] += strengths

    def _begun(self, tail: Sequence[int]) -> tuple[int, ...]:
        """The most tokens at the end of `tail` that begin a phrase."""
        endings = (tuple(tail[start:]) for start in range(len(tail)))
        return next((ending for ending in endings if ending in self.trie), ())

    def _boost(self, begun: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
        """Token ids and their strengths after `begun`, whose ending may begin other phrases too."""
        if begun not in self._boosts:
            merged: dict[int, float] = {}
            for start in range(len(begun) + 1):
                for token, strength in self.trie.get(begun[start:], {}).items():
                    merged[token] = max(strength, merged.get(token, 0.0))
            strengths = torch.tensor(list(merged.values()), dtype=torch.float32, device=device)
            self._boosts[begun] = torch.tensor(list(merged), device=device), strengths
        return self._boosts[begun]


def bias_strengths(bias: Bias, default: float) -> dict[str, float]:
    """Each phrase and its strength, without those that are blank; a phrase without a strength has the default.

    Raises OptionError for a strength that is not above 0, and for what is no phrase.
    """
    if isinstance(bias, str):
        bias = bias.split(",")
    if not isinstance(bias, Iterable):
        raise OptionError(f"bias is {bias!r}; accepted are words and phrases, alone or each with a strength")
    given = dict(bias) if isinstance(bias, Mapping) else dict.fromkeys(bias, default)
    for phrase, strength in given.items():
        if not isinstance(phrase, str):
            raise OptionError(f"bias has {phrase!r}; accepted are words and phrases, alone or each with a strength")
        if not (isinstance(strength, int | float) and 0 < strength <= LARGEST_STRENGTH):
            raise OptionError(
                f"bias has {phrase!r} with strength {strength!r}; a strength is above 0, at most 100, 1 to 4 as a rule "
                "(suppress_tokens and suppress_regex keep words out)"
            )
    return {phrase.strip(): strength for phrase, strength in given.items() if phrase.strip()}


def phrase_bias(bias: Bias, default: float, tokenizer: Tokenizer) -> PhraseBias | None:
    """The filter of these phrases; None where there are none. Raises what `bias_strengths` raises."""
    strengths = bias_strengths(bias, default)
    return PhraseBias(phrase_trie(tuple(strengths.items()), tokenizer)) if strengths else None


@lru_cache(maxsize=16)  # windows share it
def phrase_trie(phrases: tuple[tuple[str, float], ...], tokenizer: Tokenizer) -> Trie:
    """The trie of these phrases as they are written behind a space and without one."""
    trie: Trie = {}
    for phrase, strength in phrases:
        for spelling in (" " + phrase, phrase):
            tokens = tokenizer.encode(spelling)
            for end, token in enumerate(tokens):
                following = trie.setdefault(tuple(tokens[:end]), {})
                following[token] = max(strength, following.get(token, 0.0))
    return trie
