"""Text of a window that goes round in circles: told, and cut down to one copy."""

from collections.abc import Sequence
from dataclasses import replace

from viska.decoding import DecodingResult
from viska.decoding.loops import LEAST_REPEATED, REPEATS, find_loops
from viska.tokenizer import Tokenizer
from viska.transcription.spelling import letters_of


def is_looping(result: DecodingResult, tokenizer: Tokenizer) -> bool:
    """Whether the text of a window goes round in circles."""
    return bool(_loops(result.tokens, tokenizer))


def without_loops(result: DecodingResult, tokenizer: Tokenizer, *, repeats: bool = False) -> tuple[DecodingResult, str]:
    """The result with one copy of what it says over and over, with `repeats` of all repeats too; and the other copies.

    Timestamps go with the text that they enclose, so that no segment claims the time of what was cut out.
    """
    surplus = [*_loops(result.tokens, tokenizer), *(_repeats(result.tokens, tokenizer) if repeats else ())]
    if not surplus:
        return result, ""
    dropped = {i for first, last in surplus for i in _with_stamps(first, last, result.tokens, tokenizer)}
    kept = [i for i in range(len(result.tokens)) if i not in dropped]
    tokens = [result.tokens[i] for i in kept]
    logprobs, top = result.token_logprobs, result.top_logprobs
    cut = replace(
        result,
        tokens=tokens,
        text=tokenizer.decode(tokens).strip(),
        token_logprobs=None if logprobs is None else tuple(logprobs[i] for i in kept),
        top_logprobs=None if top is None else tuple(top[i] for i in kept),
    )
    return cut, tokenizer.decode([result.tokens[i] for i in sorted(dropped)])


def _loops(tokens: Sequence[int], tokenizer: Tokenizer) -> list[tuple[int, int]]:
    """The first and the last place of all copies but one, of what goes round in circles."""
    places = [i for i, token in enumerate(tokens) if _is_text(token, tokenizer)]
    loops = find_loops([tokens[i] for i in places])
    return [(places[loop.start + loop.length], places[loop.end - 1]) for loop in loops]


def _repeats(tokens: Sequence[int], tokenizer: Tokenizer) -> list[tuple[int, int]]:
    """The same of what is said a few times in a row, whatever its marks; those behind the last copy go with it."""
    letters = {i: _spelled(token, tokenizer) for i, token in enumerate(tokens) if _is_text(token, tokenizer)}
    places = [i for i, spelled in letters.items() if spelled]
    found = []
    for loop in find_loops([letters[i] for i in places], REPEATS, LEAST_REPEATED):
        last = places[loop.end - 1]
        while letters.get(last + 1) == "":
            last += 1
        found.append((places[loop.start + loop.length], last))
    return found


def _with_stamps(first: int, last: int, tokens: Sequence[int], tokenizer: Tokenizer) -> set[int]:
    """The places from first to last, and of the timestamps at and between them those that enclose nothing else."""
    around = range(max(first - 1, 0), min(last + 2, len(tokens)))
    stamps = [i for i in around if not _is_text(tokens[i], tokenizer)]
    needed = set()
    if stamps and stamps[0] >= first:  # the segment that goes on before it needs an end
        needed.add(stamps[0])
    if stamps and last + 1 < len(tokens) and stamps[-1] <= last:  # the one that goes on behind it needs a start
        needed.add(stamps[-1])
    return {*range(first, last + 1), *stamps} - needed


def _is_text(token: int, tokenizer: Tokenizer) -> bool:
    return token < tokenizer.eot or token >= tokenizer.timestamp_end


def _spelled(token: int, tokenizer: Tokenizer) -> str:
    """The letters of a text token; of a part of a character its bytes."""
    data = tokenizer.encoding.decode_single_token_bytes(token)
    letters = letters_of(data)
    return data.hex() if letters is None else letters
