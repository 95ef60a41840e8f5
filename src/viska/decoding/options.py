"""What can be asked of one decoding, and what comes back."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from math import isfinite, nan

import torch
from torch import Tensor

from viska.decoding.bias import Bias, bias_strengths
from viska.decoding.language import candidate_languages
from viska.decoding.suppression import compiled_pattern
from viska.errors import OptionError
from viska.kinds import check_kinds
from viska.languages import language_code
from viska.result import TokenAlternative

TASKS = ("transcribe", "translate", "lang_id")
MOST_ALTERNATIVES = 100
MOST_SEQUENCES = 1000
"""Beams, samples and tokens of one decoding: more take gigabytes of cache, and hours."""
LARGEST_SEED = 2**63 - 1
LEAST_PENALTY, LARGEST_PENALTY = 0.01, 100
"""What is multiplied by more, or less, leaves the range of half precision."""


@dataclass(frozen=True)
class DecodingOptions:
    """How to decode one 30-second window. Names and defaults are those of openai/whisper, from `seed` on ours."""

    task: str = "transcribe"
    """"transcribe" writes down, "translate" puts into English, "lang_id" tells the language alone."""
    language: str | None = None
    """A code or an English name; None lets the model tell."""

    temperature: float = 0.0
    """0 takes the likeliest; above 0, tokens are drawn at random from the distribution at that temperature."""
    sample_len: int | None = None
    """The most tokens to produce; None is half of the text context (224)."""
    best_of: int | None = None
    """How many independent samples to draw, at a temperature above 0."""
    beam_size: int | None = None
    """How many beams to search, at temperature 0."""
    patience: float | None = None
    """Beam search ends after round(beam_size * patience) finished sequences (arXiv:2204.05424)."""

    length_penalty: float | None = None
    """Exponent of the length penalty ((5 + length) / 6) of Wu et al. (arXiv:1609.08144); None divides by the length."""

    prompt: str | list[int] | None = None
    """Text or tokens that came before this window."""
    prefix: str | list[int] | None = None
    """Text or tokens that every window's own text is to go on from. As in openai/whisper they are no part of the text
    that comes back, and behind them a model often says nothing unless `without_timestamps` is set."""

    suppress_tokens: str | Iterable[int] | None = "-1"
    """Tokens never to produce, as numbers or as "1,2,3"; -1 stands for the non-speech set. Empty suppresses nothing."""
    suppress_blank: bool = True
    """Whether the first token may not be a blank or the end."""

    without_timestamps: bool = False
    """Whether to produce text alone."""
    max_initial_timestamp: float | None = 1.0
    """The latest start of the first segment, in seconds; None or 0 sets no limit."""

    fp16: bool = True
    """Whether to compute in float16 where the device is made for it. It does nothing on a CPU: `decode` computes in
    float32 there, `transcribe` as the model's compute type says."""

    seed: int = 0
    """Seed of the sampling at temperatures above 0: the same seed and input give the same tokens."""

    repetition_penalty: float = 1.0
    """Factor by which words said before in the window lose (arXiv:1909.05858); 1 is none, 1.1 gentle."""
    no_repeat_ngram_size: int = 0
    """No run of so many text tokens is said twice in a window; 0 allows all."""
    suppress_regex: str | None = None
    """Text tokens, space included, in which this regular expression is found are never produced."""
    bias: Bias | None = None
    """Words and phrases to expect: with the strength of each, or a list, or one string with commas between. They stand
    in no prompt; a window probably without speech is not biased; log-probabilities are reported without the bias."""
    bias_strength: float = 2.0
    """Added to the logits of tokens that begin or continue a phrase of `bias` that has no strength of its own."""
    languages: str | Collection[str] | None = None
    """Codes or names of the languages among which to tell; one string may have commas between. None: all."""
    token_logprobs: bool = False
    """Whether to report the log-probability of each token, of the distribution behind all rules but the bias."""
    top_logprobs: int = 0
    """How many of the likeliest tokens to report at the place of each token, at most 100."""


@dataclass(frozen=True)
class DecodingResult:
    """What one window says."""

    audio_features: Tensor
    """What the encoder made of the window: (n_audio_ctx, D)."""
    language: str
    """The code of the language given or detected."""
    language_probs: dict[str, float] | None = None
    """The probability of each language, when it was detected."""
    tokens: list[int] = field(default_factory=list)
    """The tokens produced, timestamps included, without the end."""
    text: str = ""
    """The tokens as text, without timestamps, stripped."""
    avg_logprob: float = nan
    """Mean log-probability of the tokens and the end."""
    no_speech_prob: float = nan
    """Probability that the model gives to "no speech" at the start."""
    temperature: float = nan
    """The temperature of the decoding."""
    compression_ratio: float = nan
    """Bytes of the text over bytes of the compressed text; repetition makes it high."""
    token_logprobs: tuple[float, ...] | None = None
    """The log-probability of each token, if asked for; with that of the end, `avg_logprob` is their mean."""
    top_logprobs: tuple[tuple[TokenAlternative, ...], ...] | None = None
    """The likeliest tokens at the place of each token, best first, if asked for; what is banned is not among them."""


def validate(options: DecodingOptions) -> None:
    """Raise OptionError for an option, or a combination of options, that has no meaning."""
    check_kinds(options)
    if options.task not in TASKS:
        raise OptionError(f"task is {options.task!r}; accepted are {', '.join(TASKS)}")
    if not (isfinite(options.temperature) and options.temperature >= 0):
        raise OptionError(f"temperature is {options.temperature}; it must be 0 or more")
    for name in ("sample_len", "best_of", "beam_size"):
        number = getattr(options, name)
        if number is not None and not 1 <= number <= MOST_SEQUENCES:
            raise OptionError(f"{name} is {number}; it must be from 1 to {MOST_SEQUENCES}")
    if not 0 <= options.seed <= LARGEST_SEED:
        raise OptionError(f"seed is {options.seed}; it must be from 0 to {LARGEST_SEED}")
    if options.beam_size is not None and options.best_of is not None:
        raise OptionError("beam_size and best_of exclude each other: give one of them")
    if options.temperature == 0 and options.best_of is not None:
        raise OptionError("best_of draws samples and needs a temperature above 0; leave it out for greedy decoding")
    _validate_beam(options)
    _validate_limits(options)
    _validate_steering(options)
    _validate_languages(options)


def _validate_beam(options: DecodingOptions) -> None:
    if options.patience is None:
        return
    if options.beam_size is None:
        raise OptionError("patience belongs to beam search: give beam_size too")
    if not (isfinite(options.patience) and 0.5 < options.beam_size * options.patience <= MOST_SEQUENCES):
        raise OptionError(
            f"beam_size {options.beam_size} with patience {options.patience} asks for no sequence, or for more than "
            f"{MOST_SEQUENCES}; their product must be from 1 to that"
        )


def _validate_limits(options: DecodingOptions) -> None:
    if options.length_penalty is not None and not 0 <= options.length_penalty <= 1:
        raise OptionError(f"length_penalty is {options.length_penalty}; it must be from 0 to 1")
    if options.max_initial_timestamp is not None and not options.max_initial_timestamp >= 0:
        raise OptionError(f"max_initial_timestamp is {options.max_initial_timestamp}; it must be 0 or more, or None")


def _validate_steering(options: DecodingOptions) -> None:
    if not LEAST_PENALTY <= options.repetition_penalty <= LARGEST_PENALTY:
        raise OptionError(
            f"repetition_penalty is {options.repetition_penalty}; it must be from {LEAST_PENALTY} to "
            f"{LARGEST_PENALTY}, where 1 is none"
        )
    if options.no_repeat_ngram_size < 0:
        raise OptionError(f"no_repeat_ngram_size is {options.no_repeat_ngram_size}; it must be 0 (off) or more")
    if not 0 <= options.top_logprobs <= MOST_ALTERNATIVES:
        raise OptionError(f"top_logprobs is {options.top_logprobs}; it must be from 0 to {MOST_ALTERNATIVES}")
    if options.suppress_regex is not None:
        compiled_pattern(options.suppress_regex)
    if options.bias is not None:
        bias_strengths(options.bias, options.bias_strength)


def _validate_languages(options: DecodingOptions) -> None:
    candidates = candidate_languages(options.languages)
    if candidates and options.language is not None and language_code(options.language) not in candidates:
        raise OptionError(
            f"language is {options.language!r} but languages are {', '.join(sorted(candidates))}; give one of the two"
        )


def compute_dtype(weights: torch.dtype, device: torch.device, *, fp16: bool) -> torch.dtype:
    """The dtype to compute in: that of half-precision weights, else float16 if asked for where it pays."""
    if weights != torch.float32:
        return weights
    return torch.float16 if fp16 and device.type == "cuda" else torch.float32
