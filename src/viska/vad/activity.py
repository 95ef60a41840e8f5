"""From samples to the probability of speech, frame by frame, in memory that does not grow with the recording."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from viska.errors import AudioError
from viska.vad.network import CONTEXT_SAMPLES, FRAME_SAMPLES, load_network

Block: TypeAlias = NDArray[np.float32] | Tensor
Samples: TypeAlias = Block | Iterable[Block]

_BLOCK_SAMPLES = 1024 * FRAME_SAMPLES  # 33 s, about 10 MB while the network runs; more are no faster


@dataclass(frozen=True, eq=False)
class VoiceActivity:
    """What the network heard: `probabilities` of speech (n_frames,) float32, a frame being 32 ms; and `n_samples`."""

    probabilities: Tensor
    n_samples: int


def voice_activity(samples: Samples) -> VoiceActivity:
    """How probable speech is in every 32 ms of a recording; what is missing of the last is taken as silence.

    `samples` are float32, mono, 16 kHz: an array or tensor (samples,), or an iterable of such blocks of any sizes, in
    order. The same samples give the same numbers however they are cut into blocks.

    Raises AudioError for samples of another shape or type, and for such that are no finite numbers.
    """
    network = load_network()
    context, state, found, n_samples = torch.zeros(CONTEXT_SAMPLES), None, [torch.zeros(0)], 0
    with torch.no_grad():
        for block in _equal_blocks(samples):
            n_samples += len(block)
            heard = torch.cat([context, F.pad(block, (0, -len(block) % FRAME_SAMPLES))])
            context = heard[-CONTEXT_SAMPLES:]
            frames = heard.unfold(0, CONTEXT_SAMPLES + FRAME_SAMPLES, FRAME_SAMPLES)
            probabilities, state = network(frames, state)
            found.append(probabilities)
    activity = VoiceActivity(torch.cat(found), n_samples)
    if not activity.probabilities.isfinite().all():
        raise AudioError("The samples hold values that are no finite numbers; give float samples within ±1.")
    return activity


def speech_probabilities(samples: Samples) -> Tensor:
    """The probability of speech in every 32 ms, (n_frames,) float32; see `voice_activity`."""
    return voice_activity(samples).probabilities


def _equal_blocks(samples: Samples) -> Iterator[Tensor]:
    """The samples in blocks of one size, the last being what is left."""
    held: list[Tensor] = []
    n_held = 0
    for part in _parts(samples):
        held.append(part)
        n_held += len(part)
        if n_held >= _BLOCK_SAMPLES:
            joined = torch.cat(held)
            yield joined[:_BLOCK_SAMPLES]
            held, n_held = [joined[_BLOCK_SAMPLES:]], n_held - _BLOCK_SAMPLES
    if n_held:
        yield torch.cat(held)


def _parts(samples: Samples) -> Iterator[Tensor]:
    """The samples as tensors on the CPU that are no longer than a block."""
    for given in [samples] if isinstance(samples, (np.ndarray, Tensor)) else samples:
        _check(given)
        for start in range(0, len(given), _BLOCK_SAMPLES):
            part = given[start : start + _BLOCK_SAMPLES]
            # A copy, because torch shares no memory that is read-only, or walked through backwards.
            yield part.detach().cpu() if isinstance(part, Tensor) else torch.from_numpy(part.copy())


def _check(block: Any) -> None:
    is_float = isinstance(block, (np.ndarray, Tensor)) and block.dtype in (np.float32, torch.float32)
    if not (is_float and block.ndim == 1):
        kind = f"{type(block).__name__} of {getattr(block, 'dtype', '?')}, shape {tuple(getattr(block, 'shape', ()))}"
        raise AudioError(f"{kind} was given; accepted are float32 samples (samples,) as viska.load_audio returns them.")
