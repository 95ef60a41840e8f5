"""Silero's voice activity network for 16 kHz, version 6.2, in plain torch.

The layout is that of the weights in the package silero-vad (MIT licence, Silero Team): a short-time Fourier transform
written as a convolution, four convolutions that leave one vector a frame, an LSTM over the frames, and a logistic unit.
"""

from functools import cache
from importlib.resources import as_file, files
from threading import Lock
from typing import TypeAlias

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

FRAME_SAMPLES = 512  # 32 ms: what one probability is about
CONTEXT_SAMPLES = 64  # of the frame before, which the network hears again
WEIGHTS = "silero_vad.safetensors"  # made by scripts/make_vad.py

State: TypeAlias = tuple[Tensor, Tensor]

_N_FREQUENCIES = 129
_N_STATE = 128
_MIRRORED = 64  # samples that the last Fourier window of a frame takes from its own end, backwards


class SileroNetwork(nn.Module):
    """From frames of sound to the probability that somebody speaks in each."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * _N_FREQUENCIES, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(_N_FREQUENCIES, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, _N_STATE)
        self.final_conv = nn.Conv1d(_N_STATE, 1, 1)

    def forward(self, frames: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Probabilities (n,) of n frames in order, and the state to hand in with the frames that follow.

        `frames` is (n, CONTEXT_SAMPLES + FRAME_SAMPLES) float32; a state is None at the beginning of a recording.
        """
        mirrored = F.pad(frames, (0, _MIRRORED), mode="reflect")
        real, imaginary = self.stft_conv(mirrored.unsqueeze(1)).split(_N_FREQUENCIES, dim=1)
        x = (real.square() + imaginary.square()).sqrt()
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.relu(convolution(x))
        x, state = self.lstm(x.squeeze(-1), state)
        return self.final_conv(F.relu(x).unsqueeze(-1)).sigmoid().flatten(), state


_loading = Lock()


def load_network() -> SileroNetwork:
    """The network with Silero's weights on the CPU; read once, and shared by all threads."""
    with _loading:
        return _load_network()


@cache
def _load_network() -> SileroNetwork:
    with as_file(files("viska") / "assets" / WEIGHTS) as path:
        weights = load_file(path)
    with torch.device("meta"):  # no numbers are drawn from the caller's generator
        network = SileroNetwork()
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval()
