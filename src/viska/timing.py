"""When each word was said: the decoder's attention to the audio, and a path through it.

Some heads of the cross-attention follow the speech. Their weights over time, token by token, make a matrix; dynamic
time warping finds the likeliest monotone path through it, and where the path steps to the next token, that token
begins. `align` does this for the text of one window, whichever decoder read it, `find_alignment` with the model's own.
`merge_punctuations` puts marks to the words they belong to.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from viska.audio import FRAMES_PER_SECOND, TOKENS_PER_SECOND
from viska.model import Whisper
from viska.result import Segment
from viska.tokenizer import Tokenizer

Reader: TypeAlias = Callable[[Sequence[int]], tuple[Tensor, Tensor]]
"""A decoder that reads known tokens (T): the scores of its alignment heads before the softmax (heads, T, S), and logits
(T, V), both float32."""

_DIAGONAL, _UP, _LEFT = 0, 1, 2
"""Where the cheapest path into a cell comes from: both before, the row before, the column before."""
_ROWS_AT_ONCE = 64  # what is sorted then stays in the processor's caches


@dataclass
class WordTiming:
    """A word, its tokens, and when it was said: seconds from the start of the window.

    `sureness` has a probability for each of its own tokens, marks that were put to it aside, where that was asked for,
    and `confidence` is what was made of it.
    """

    word: str
    tokens: list[int]
    start: float
    end: float
    probability: float
    sureness: tuple[float, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True)
class Asides:
    """What an alignment is asked beyond openai/whisper's.

    `starts` are the numbers of tokens with which a word begins although no space does, as those of segments.
    `sureness`, given predictions (N, V) and the N tokens in their places, tells how sure the model is of each as the
    first of a word.
    """

    starts: tuple[int, ...] = ()
    sureness: Callable[[Tensor, Sequence[int]], Tensor] | None = None


def median_filter(x: Tensor, filter_width: int) -> Tensor:
    """The median of each value of the last axis and its neighbours, `filter_width` (odd) in all; edges are reflected.

    An axis that is too short to be reflected comes back as it is. Raises ValueError for an even width.
    """
    if filter_width < 1 or filter_width % 2 == 0:
        raise ValueError(f"filter_width is {filter_width}; it must be an odd number above 0")
    reach, n = filter_width // 2, x.shape[-1]
    if n <= reach:
        return x
    flat = F.pad(x.reshape(-1, 1, n), (reach, reach), mode="reflect")[:, 0]  # (rows, n + 2 reach)
    if flat.isnan().any():  # where all tokens attend to a position alike; sorting takes it for the greatest
        return flat.unfold(-1, filter_width, 1).sort(dim=-1).values[..., reach].reshape(x.shape)
    medians = torch.empty_like(flat[:, :n])
    for rows, room in zip(*(torch.split(each, _ROWS_AT_ONCE) for each in (flat, medians)), strict=True):
        neighbours = [rows[:, shift : shift + n] for shift in range(filter_width)]
        room.copy_(_median(neighbours))
    return medians.view(x.shape)


def _median(values: Sequence[Tensor]) -> Tensor:
    """The median of an odd number of tensors, value by value.

    Of one more than half of them neither the least nor the greatest is the median; nor are those of what is left with
    one more. (Forgetful selection: a third of the time of sorting along an axis, or less.)
    """
    kept = list(values[: len(values) // 2 + 1])
    for one in values[len(kept) :]:
        kept = _without_extremes([*kept, one])
    return kept[0]


def _without_extremes(values: list[Tensor]) -> list[Tensor]:
    """All but the least and the greatest, value by value."""
    last = len(values) - 1

    def order(i: int, j: int) -> None:
        values[i], values[j] = torch.minimum(values[i], values[j]), torch.maximum(values[i], values[j])

    for i in range(len(values) // 2):
        order(i, last - i)  # the least is in the first half now, the greatest in the second
    for i in range(1, last // 2 + 1):
        order(0, i)
    for i in range(len(values) // 2, last):
        order(i, last)
    return values[1:-1]


def dtw(x: Tensor | NDArray[np.floating]) -> NDArray[np.int64]:
    """The cheapest monotone path through a cost matrix (N, M): (2, length), the row and the column of each step.

    Where the two cheapest ways into a cell cost the same, the step along the row is taken, even if it costs more: this
    is what openai/whisper does on a CPU, and real weights hardly ever tie.
    """
    if isinstance(x, Tensor):
        x = (x.float() if x.element_size() < 4 else x).detach().cpu().numpy()  # not every device has float64
    return backtrace(_trace(np.asarray(x, dtype=np.float64)))


def dtw_cpu(x: NDArray[np.floating]) -> NDArray[np.int64]:
    """`dtw` by the name that openai/whisper has for it on a CPU."""
    return dtw(x)


def dtw_cuda(x: Tensor, BLOCK_SIZE: int = 1024) -> NDArray[np.int64]:  # noqa: ARG001
    """`dtw` by the name that openai/whisper has for it on a GPU; the result here is that of a CPU, ties included."""
    return dtw(x)


def _trace(cost: NDArray[np.float64]) -> NDArray[np.int8]:
    """For each cell of (N + 1, M + 1) where its cheapest path comes from.

    Cells of one anti-diagonal depend on the two before it alone, so that each is one step of vector arithmetic.
    """
    n, m = cost.shape
    slanted = np.full((n + m - 1, n), np.inf)  # a row for each anti-diagonal
    for row in range(n):
        slanted[row : row + m, row] = cost[row]
    totals = np.full((n + m + 1, n + 1), np.inf)  # of the cheapest paths, each behind the two that it depends on
    totals[0, 0] = 0.0
    for number, costs in enumerate(slanted):
        ways = totals[number, :-1], totals[number + 1, :-1], totals[number + 1, 1:]
        is_diagonal, is_up = _cheaper(*ways)
        np.add(costs, np.where(is_diagonal, ways[0], np.where(is_up, ways[1], ways[2])), out=totals[number + 2, 1:])
    is_diagonal, is_up = _cheaper(totals[:-2, :-1], totals[1:-1, :-1], totals[1:-1, 1:])
    steps = np.where(is_diagonal, np.int8(_DIAGONAL), np.where(is_up, np.int8(_UP), np.int8(_LEFT)))
    trace = np.full((n + 1, m + 1), _LEFT, dtype=np.int8)
    for row in range(n):
        trace[row + 1, 1:] = steps[row : row + m, row]
    return trace


def _cheaper(
    diagonal: NDArray[np.float64], up: NDArray[np.float64], left: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the diagonal, and where the way up, costs less than both others."""
    return (diagonal < up) & (diagonal < left), (up < diagonal) & (up < left)


def backtrace(trace: NDArray[np.integer]) -> NDArray[np.int64]:
    """The path (2, length) that a trace (N + 1, M + 1) of 0 diagonal, 1 up, 2 left describes, from its start on."""
    i, j = trace.shape[0] - 1, trace.shape[1] - 1
    path = []
    while i > 0 or j > 0:
        path.append((i - 1, j - 1))
        step = _LEFT if i == 0 else _UP if j == 0 else trace[i, j]
        i -= step != _LEFT
        j -= step != _UP
    return np.array(path[::-1], dtype=np.int64).reshape(-1, 2).T


def find_alignment(
    model: Whisper,
    tokenizer: Tokenizer,
    text_tokens: Sequence[int],
    mel: Tensor,
    num_frames: int,
    *,
    medfilt_width: int = 7,
    qk_scale: float = 1.0,
    asides: Asides = Asides(),
) -> list[WordTiming]:
    """The words of `text_tokens` (no timestamps) with their times in a window.

    `mel` is the window's log-mel (n_mels, 3000) or its audio features (S, D), which saves encoding it again;
    `num_frames` how many of its mel frames are sound.
    """
    weights_dtype = next(model.parameters()).dtype
    features = mel.to(model.device, weights_dtype)
    if text_tokens and mel.shape[-2] == model.dims.n_mels:  # fewer than any window has positions
        with torch.no_grad():
            features = model.embed_audio(features[None])[0]  # (S, D)
    read = partial(read_text, model, features)
    return align(
        read, tokenizer, text_tokens, num_frames, medfilt_width=medfilt_width, qk_scale=qk_scale, asides=asides
    )


def read_text(model: Whisper, features: Tensor, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The model's own decoder as a `Reader` of audio features (S, D)."""
    weights_dtype = next(model.parameters()).dtype
    with torch.no_grad():
        known = torch.tensor([tokens], device=model.device)  # (1, T)
        heard = features[None].to(model.device, weights_dtype)  # (1, S, D)
        logits, scores = model.decoder(known, heard, need_weights=True)
    return torch.stack([scores[layer][0, head] for layer, head in model.alignment_pairs]), logits[0]


def align(
    read: Reader,
    tokenizer: Tokenizer,
    text_tokens: Sequence[int],
    num_frames: int,
    *,
    medfilt_width: int = 7,
    qk_scale: float = 1.0,
    asides: Asides = Asides(),
) -> list[WordTiming]:
    """The words of `text_tokens` (no timestamps) with their times in a window that a decoder has heard.

    `num_frames` is how many of its mel frames are sound. One pass over the known text.
    """
    if not text_tokens:
        return []
    start = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
    scores, logits = read([*start, *text_tokens, tokenizer.eot])
    matrix = alignment_matrix(scores * qk_scale, num_frames, medfilt_width)  # (T, S')
    # A token is heard where the decoder, at the position before it, decides for it.
    begin = len(start) - 1
    rows, columns = dtw(-matrix[begin:-1])
    token_times = columns[np.diff(rows, prepend=-1) > 0] / TOKENS_PER_SECOND

    probabilities = logits[begin:-2, : tokenizer.eot].softmax(dim=-1)  # (text, eot)
    said = probabilities[torch.arange(len(text_tokens)), list(text_tokens)].cpu().numpy().astype(np.float64)
    words, word_tokens = _split_words(tokenizer, [*text_tokens, tokenizer.eot], asides.starts)
    bounds = np.cumsum([0, *map(len, word_tokens[:-1])])
    timings = [
        WordTiming(word, own, float(token_times[first]), float(token_times[end]), float(said[first:end].mean()))
        for word, own, (first, end) in zip(words, word_tokens, pairwise(bounds), strict=False)
    ]
    if asides.sureness is not None:
        firsts = bounds[:-1].tolist()
        first_sureness = asides.sureness(probabilities[firsts], [text_tokens[first] for first in firsts]).tolist()
        for timing, sure, (first, end) in zip(timings, first_sureness, pairwise(bounds), strict=False):
            timing.sureness = (sure, *said[first + 1 : end].tolist())
    return timings


def _split_words(
    tokenizer: Tokenizer, tokens: Sequence[int], starts: Iterable[int]
) -> tuple[list[str], list[list[int]]]:
    """The words and the tokens of each, none of which reaches over a start."""
    words: list[str] = []
    word_tokens: list[list[int]] = []
    for begin, end in pairwise(sorted({0, len(tokens), *starts})):
        part = tokenizer.split_to_word_tokens(tokens[begin:end])
        words += part[0]
        word_tokens += part[1]
    return words, word_tokens


def alignment_matrix(scores: Tensor, num_frames: int, medfilt_width: int) -> Tensor:
    """Attention scores (heads, T, S) before the softmax -> how much each token attends to each position, (T, S').

    Softmax over the positions that are sound, then each position against the mean of all tokens, so that what every
    token attends to does not count; smoothed over time; the mean of the heads.
    """
    weights = scores[..., : num_frames // 2].softmax(dim=-1)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, correction=0)
    return median_filter((weights - mean) / std, medfilt_width).mean(dim=0)


def merge_punctuations(alignment: list[WordTiming], prepended: str, appended: str) -> None:
    """Put opening marks to the word behind them and closing ones to the word before; what is left there is empty."""
    behind = len(alignment) - 1
    for i in range(len(alignment) - 2, -1, -1):
        mark, word = alignment[i], alignment[behind]
        if mark.word.startswith(" ") and mark.word.strip() in prepended:
            _move(mark, word, in_front=True)
        else:
            behind = i
    before = 0
    for i in range(1, len(alignment)):
        word, mark = alignment[before], alignment[i]
        if not word.word.endswith(" ") and mark.word in appended:
            _move(mark, word, in_front=False)
        else:
            before = i


def _move(mark: WordTiming, word: WordTiming, *, in_front: bool) -> None:
    if in_front:
        word.word, word.tokens = mark.word + word.word, mark.tokens + word.tokens
    else:
        word.word, word.tokens = word.word + mark.word, word.tokens + mark.tokens
    mark.word, mark.tokens = "", []


def add_word_timestamps(
    *,
    segments: list[dict[str, Any]],
    model: Whisper,
    tokenizer: Tokenizer,
    mel: Tensor,
    num_frames: int,
    prepend_punctuations: str = "\"'“¿([{-",
    append_punctuations: str = "\"'.。,，!！?？:：”)]}、",  # noqa: RUF001  # full-width marks
    last_speech_timestamp: float,
    **alignment: Any,
) -> None:
    """Give the segments of one window, dicts as in openai/whisper's results, their "words", and the times these give.

    Of each segment "seek", "start", "end" and "tokens" are read; "start", "end" and "words" are written.
    `last_speech_timestamp` is where the last word before the window ended, in seconds; `mel`, `num_frames` and the
    other keywords are those of `find_alignment`.
    """
    from viska.transcription.splitter import text_tokens
    from viska.transcription.words import pace_of, place_words, shorten_at_sentence_ends

    if not segments:
        return
    own_tokens = [text_tokens(segment["tokens"], tokenizer) for segment in segments]
    found = find_alignment(model, tokenizer, list(chain.from_iterable(own_tokens)), mel, num_frames, **alignment)
    pace = pace_of(found)
    if pace is not None:
        shorten_at_sentence_ends(found, pace)
    merge_punctuations(found, prepend_punctuations, append_punctuations)
    times = {"offset_s": segments[0]["seek"] / FRAMES_PER_SECOND, "last_speech_s": last_speech_timestamp}
    n_tokens = [len(tokens) for tokens in own_tokens]
    for segment, placed in zip(segments, place_words(_timed(segments), n_tokens, found, pace, **times), strict=True):
        words = [word.to_dict() for word in placed.words or ()]
        segment.update(start=placed.start, end=placed.end, words=words)


def _timed(segments: Sequence[dict[str, Any]]) -> list[Segment]:
    """Segments with their times alone."""
    unknown: dict[str, Any] = dict.fromkeys(("temperature", "avg_logprob", "compression_ratio", "no_speech_prob"), 0.0)
    return [
        Segment(i, segment["seek"], segment["start"], segment["end"], text="", tokens=(), **unknown)
        for i, segment in enumerate(segments)
    ]
