"""Small models with fixed made-up weights: true vocabularies, tiny everything else."""

import torch

from viska.model import ModelDimensions, Whisper

ENGLISH, MULTILINGUAL, LARGE_V3 = 51864, 51865, 51866


def dimensions(n_vocab: int = MULTILINGUAL, **changes: int) -> ModelDimensions:
    sizes = {
        "n_mels": 80,
        "n_audio_ctx": 1500,
        "n_audio_state": 16,
        "n_audio_head": 2,
        "n_audio_layer": 1,
        "n_vocab": n_vocab,
        "n_text_ctx": 448,
        "n_text_state": 16,
        "n_text_head": 2,
        "n_text_layer": 2,
    }
    return ModelDimensions(**{**sizes, **changes})


def made_up_model(n_vocab: int = MULTILINGUAL, *, added_tokens: tuple[str, ...] = (), **changes: int) -> Whisper:
    """A model whose weights depend on its shapes alone."""
    dims = dimensions(n_vocab + len(added_tokens), **changes)
    model = Whisper(dims, added_tokens=added_tokens).eval()
    generator = torch.Generator().manual_seed(20)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.5 if "ln" not in name else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
            if name.endswith(("ln.weight", "ln_post.weight")):
                parameter += 1
    return model.requires_grad_(False)


def made_up_mel(n: int = 1, n_mels: int = 80, seed: int = 3) -> torch.Tensor:
    """(n, n_mels, 3000) log-mel within the range that real ones have."""
    return torch.rand(n, n_mels, 3000, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def answered(steps, answers):
    """Run a generator that asks for things, giving it these answers in turn; returns its result and what it asked."""
    asked, coming = [], iter(answers)
    try:
        asked.append(next(steps))
        while True:
            asked.append(steps.send(next(coming)))
    except StopIteration as end:
        return end.value, asked
