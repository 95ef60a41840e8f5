"""What the decoder is given before it says anything, and what it may never say."""

from collections.abc import Iterable

from viska.decoding.options import DecodingOptions
from viska.errors import OptionError
from viska.tokenizer import Tokenizer


def initial_tokens(options: DecodingOptions, tokenizer: Tokenizer, *, n_ctx: int, sample_len: int) -> list[int]:
    """[sot_prev, prompt] start, language, task [no timestamps] [prefix].

    The prompt keeps its last n_ctx // 2 - 1 tokens. The prefix keeps its last n_ctx // 2 - sample_len; with the default
    sample_len there would be no room for it at all, and it is kept whole, as openai/whisper does.
    """
    tokens = list(
        tokenizer.sot_sequence_including_notimestamps if options.without_timestamps else tokenizer.sot_sequence
    )
    if options.prefix:
        room = n_ctx // 2 - sample_len
        tokens += _tokens(options.prefix, tokenizer)[-room if room > 0 else None :]
    if options.prompt:
        tokens = [tokenizer.sot_prev, *_tokens(options.prompt, tokenizer)[-(n_ctx // 2 - 1) :], *tokens]
    if len(tokens) > n_ctx:
        raise OptionError(f"prompt and prefix make {len(tokens)} tokens; the model takes {n_ctx}: shorten the prefix")
    return tokens


def _tokens(text_or_tokens: str | Iterable[int], tokenizer: Tokenizer) -> list[int]:
    """Text is taken as words that follow other words: with one space before it."""
    if isinstance(text_or_tokens, str):
        return tokenizer.encode(" " + text_or_tokens.strip())
    return list(text_or_tokens)


def suppressed_tokens(suppress: str | Iterable[int] | None, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that `DecodingOptions.suppress_tokens` asks to ban; -1 stands for the non-speech set.

    Whatever is listed, the control tokens that make no sense in a transcript are banned with it; an empty option bans
    nothing, these included. Raises OptionError for what is no token.
    """
    listed = _parse_tokens(suppress)
    if not listed:
        return ()
    banned = {token for token in listed if token >= 0}
    if -1 in listed:
        banned.update(tokenizer.non_speech_tokens)
    n_tokens = tokenizer.timestamp_end + len(tokenizer.added_tokens)
    for token in listed:
        if not -1 <= token < n_tokens:
            raise OptionError(f"suppress_tokens has {token}; accepted are -1 and tokens from 0 to {n_tokens - 1}")
    control = (tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm)
    return tuple(sorted(banned.union(control, (tokenizer.no_speech,))))


def _parse_tokens(suppress: str | Iterable[int] | None) -> list[int]:
    if not isinstance(suppress, str):
        return list(suppress or ())
    try:
        return [int(number) for number in suppress.split(",") if number.strip()]
    except ValueError:
        raise OptionError(f"suppress_tokens is {suppress!r}; accepted are numbers with commas between, or -1") from None
