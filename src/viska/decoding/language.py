"""Which language a window is in."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from viska.errors import LanguageError, OptionError
from viska.languages import language_code
from viska.model import Whisper
from viska.tokenizer import Tokenizer, get_tokenizer


def tokenizer_for(model: Whisper, *, language: str | None = None, task: str | None = None) -> Tokenizer:
    """The tokenizer of a model's vocabulary."""
    return get_tokenizer(
        model.is_multilingual,
        num_languages=model.num_languages,
        language=language,
        task=task,
        added_tokens=model.added_tokens,
    )


def is_audio_features(model: Whisper, mel: Tensor) -> bool:
    """Whether `mel` has been through the encoder already, told by its last two axes."""
    return tuple(mel.shape[-2:]) == (model.dims.n_audio_ctx, model.dims.n_audio_state)


@torch.no_grad()
def detect_language(
    model: Whisper,
    mel: Tensor,
    tokenizer: Tokenizer | None = None,
    languages: str | Collection[str] | None = None,
) -> tuple[Tensor, Any]:
    """Tell the language from the first token that the model would say, apart from any other decoding.

    `mel` is log-mel (n_mels, 3000) or (B, n_mels, 3000), or what the encoder made of it. Returns the ids of the
    likeliest language tokens (B,) and a dict of code -> probability each; for a single window one id () and one dict.
    `languages` names the only ones to choose among, by code or name; the probabilities are then those among them.
    Raises LanguageError for an English-only model and for a language that the model does not have.
    """
    tokenizer = tokenizer or tokenizer_for(model)
    if tokenizer.language is None or tokenizer.language_token not in tokenizer.sot_sequence:
        raise LanguageError("this model knows English alone and cannot tell languages; use a multilingual one")
    candidates = tokens_of_languages(tokenizer, candidate_languages(languages))
    single = mel.ndim == 2
    if single:
        mel = mel.unsqueeze(0)  # (1, n_mels, 3000)
    if not is_audio_features(model, mel):
        mel = model.embed_audio(mel.to(model.device))  # (B, S, D)

    start = torch.full((mel.shape[0], 1), tokenizer.sot, device=mel.device)
    logits = model.logits(start, mel)[:, 0]  # (B, V)
    no_language = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
    no_language[list(candidates.values())] = False
    logits = logits.masked_fill(no_language, -math.inf)
    language_tokens = logits.argmax(dim=-1)  # (B,)
    rows = logits.softmax(dim=-1)[:, list(candidates.values())].tolist()
    language_probs = [dict(zip(candidates, row, strict=True)) for row in rows]
    return (language_tokens[0], language_probs[0]) if single else (language_tokens, language_probs)


def candidate_languages(languages: str | Collection[str] | None) -> frozenset[str] | None:
    """The codes of the languages given by code or name, as a collection or with commas between; None stands for all.

    Raises LanguageError for an unknown one, OptionError where there is none.
    """
    if languages is None:
        return None
    names = languages.split(",") if isinstance(languages, str) else languages
    codes = frozenset(language_code(name.strip()) for name in names if name.strip())
    if not codes:
        raise OptionError(f"languages is {languages!r}, which names none; give codes such as en,de, or leave it out")
    return codes


def tokens_of_languages(tokenizer: Tokenizer, codes: frozenset[str] | None) -> dict[str, int]:
    """Code -> token of these languages, in the order of the tokens."""
    if codes is None:
        return dict(zip(tokenizer.all_language_codes, tokenizer.all_language_tokens, strict=True))
    tokens = {code: tokenizer.to_language_token(code) for code in codes}
    return dict(sorted(tokens.items(), key=lambda item: item[1]))
