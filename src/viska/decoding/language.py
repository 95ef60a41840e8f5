"""Which language a window is in."""

import math
from typing import Any

import torch
from torch import Tensor

from viska.errors import LanguageError
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
def detect_language(model: Whisper, mel: Tensor, tokenizer: Tokenizer | None = None) -> tuple[Tensor, Any]:
    """Tell the language from the first token that the model would say, apart from any other decoding.

    `mel` is log-mel (n_mels, 3000) or (B, n_mels, 3000), or what the encoder made of it. Returns the ids of the
    likeliest language tokens (B,) and a dict of code -> probability each; for a single window one id () and one dict.
    Raises LanguageError for an English-only model.
    """
    tokenizer = tokenizer or tokenizer_for(model)
    if tokenizer.language is None or tokenizer.language_token not in tokenizer.sot_sequence:
        raise LanguageError("this model knows English alone and cannot tell languages; use a multilingual one")
    single = mel.ndim == 2
    if single:
        mel = mel.unsqueeze(0)  # (1, n_mels, 3000)
    if not is_audio_features(model, mel):
        mel = model.embed_audio(mel.to(model.device))  # (B, S, D)

    start = torch.full((mel.shape[0], 1), tokenizer.sot, device=mel.device)
    logits = model.logits(start, mel)[:, 0]  # (B, V)
    no_language = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
    no_language[list(tokenizer.all_language_tokens)] = False
    logits = logits.masked_fill(no_language, -math.inf)
    language_tokens = logits.argmax(dim=-1)  # (B,)
    rows = logits.softmax(dim=-1)[:, list(tokenizer.all_language_tokens)].tolist()
    language_probs = [dict(zip(tokenizer.all_language_codes, row, strict=True)) for row in rows]
    return (language_tokens[0], language_probs[0]) if single else (language_tokens, language_probs)
