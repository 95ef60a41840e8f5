"""How much has to be done at least: operations and bytes of each stage, by the dimensions of a model."""

from dataclasses import dataclass

import torch

from viska.engine.plan import ComputePlan
from viska.model import ModelDimensions

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
MEL_OPERATIONS = 41_000
"""Of one frame: window, a real Fourier transform of 400 values, squares, 80 narrow filters, logarithms."""
FRAMES_A_SECOND = 100
VAD_OPERATIONS = 2 * (4 * 256 * 258 + 4 * 129 * 128 * 3 + 2 * 128 * 64 * 3 + 64 * 64 * 3 + 64 * 128 * 3 + 8 * 128 * 128)
"""Of one frame of 32 ms: a Fourier transform as a convolution, four convolutions, an LSTM cell."""
VAD_FRAMES_A_SECOND = 31.25


@dataclass(frozen=True)
class Work:
    """The least that a model has to do, in operations (a multiplication and an addition are two) and bytes."""

    dims: ModelDimensions
    plan: ComputePlan

    def encode(self, n_frames: int) -> float:
        """Operations of the encoder for a window of so many mel frames."""
        dims, n = self.dims, n_frames // 2
        width = dims.n_audio_state
        convolutions = 2 * n_frames * dims.n_mels * width * 3 + 2 * n * width * width * 3
        block = 2 * n * 12 * width**2 + 4 * n * n * width
        return convolutions + dims.n_audio_layer * block

    def hear(self, n_positions: int) -> float:
        """Operations of all layers' keys and values of the audio."""
        return 2 * n_positions * self.dims.n_text_state**2 * 2 * self.dims.n_text_layer

    @property
    def n_decoder_weights(self) -> int:
        """Weights that a step multiplies with, those of the vocabulary among them."""
        width = self.dims.n_text_state
        return self.dims.n_text_layer * 14 * width**2 + self.dims.n_vocab * width

    def step_bytes(self, n_positions: int, n_past: int, n_rows: int) -> float:
        """Read by one step: weights once, `n_positions` of audio of all windows, the past of all rows."""
        width, layers = self.dims.n_text_state, self.dims.n_text_layer
        weights = self.n_decoder_weights * BYTES[self.plan.decoder]
        audio = 2 * layers * n_positions * width * torch.empty(0, dtype=self.plan.attention).element_size()
        past = 2 * layers * n_past * n_rows * width * max(BYTES[self.plan.decoder], 2)
        return weights + audio + past

    def decode(self, n_tokens: int) -> float:
        """Operations on so many tokens, without attention."""
        return 2 * n_tokens * self.n_decoder_weights
