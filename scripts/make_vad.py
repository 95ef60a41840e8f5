"""Make the weights of Viska's voice activity, and the probabilities that it has to give, from Silero's own program.

    python scripts/make_vad.py silero_vad-6.2.3-py3-none-any.whl

The wheel (`pip download --no-deps silero-vad==6.2.3`) is read as the zip file that it is, and not installed. Its
TorchScript form, which is the model that silero-vad runs, gives the weights and is run for the probabilities. The
.safetensors file beside it is not used: it holds the weights of another training, whose probabilities differ.
"""

import argparse
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from viska.audio import load_audio

MODEL = "silero_vad/data/silero_vad.jit"
SHA256 = "e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720"
SOURCE = {"source": f"silero-vad 6.2.3, {MODEL}", "license": "MIT, Copyright (c) 2020-present Silero Team"}
FRAME_SAMPLES = 512

# Viska's name of each weight -> Silero's.
NAMES = {
    "stft_conv.weight": "_model.stft.forward_basis_buffer",
    **{
        f"conv{i + 1}.{kind}": f"_model.encoder.{i}.reparam_conv.{kind}"
        for i in range(4)
        for kind in ("weight", "bias")
    },
    **{f"lstm.{kind}_l0": f"_model.decoder.rnn.{kind}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    **{f"final_conv.{kind}": f"_model.decoder.decoder.2.{kind}" for kind in ("weight", "bias")},
}


def weights(model: torch.jit.ScriptModule) -> dict[str, torch.Tensor]:
    """The weights of the 16 kHz network under Viska's names."""
    theirs = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: theirs[their_name].detach().clone() for name, their_name in NAMES.items()}


def recording(folder: Path) -> np.ndarray:
    """The recordings of the repo with two seconds of silence around each, (samples,) float32."""
    silence = np.zeros(32000, dtype=np.float32)
    parts = [silence]
    for path in sorted([*folder.glob("*.wav"), *folder.glob("*.flac")]):
        parts += [load_audio(path), silence]
    return np.concatenate(parts)


def probabilities(model: torch.jit.ScriptModule, samples: np.ndarray) -> list[float]:
    """What Silero's program says of each frame, one after the other."""
    padded = torch.from_numpy(np.pad(samples, (0, -len(samples) % FRAME_SAMPLES)))
    with torch.no_grad():
        return [model(frame.unsqueeze(0), 16000).item() for frame in padded.split(FRAME_SAMPLES)]


def main() -> int:
    """Write the weights and the expected probabilities."""
    parser = argparse.ArgumentParser(description="Make the weights of voice activity, and what they have to give.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--recordings", type=Path, default=Path("recordings"))
    parser.add_argument("--weights", type=Path, default=Path("src/viska/assets/silero_vad.safetensors"))
    parser.add_argument("--expected", type=Path, default=Path("tests/expected/vad.json"))
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        content = wheel.read(MODEL)
    if (digest := hashlib.sha256(content).hexdigest()) != SHA256:
        print(f"{arguments.wheel}: its model has the unknown SHA-256 {digest}: refused", file=sys.stderr)
        return 1
    model = torch.jit.load(io.BytesIO(content))
    save_file(weights(model), arguments.weights, metadata=SOURCE)
    print(f"{arguments.weights}: {hashlib.sha256(arguments.weights.read_bytes()).hexdigest()}")
    found = probabilities(model, recording(arguments.recordings))
    document = {"silero-vad": "6.2.3", "probabilities": [round(value, 6) for value in found]}
    arguments.expected.write_text(json.dumps(document) + "\n", encoding="ascii", newline="\n")
    print(f"{arguments.expected}: {len(found)} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
