"""Room tone: what is heard in the pauses of recordings with speech."""

from collections.abc import Iterator

import numpy as np
from benchmarks.nonspeech.noises import RATE, Sound

FRAME = RATE // 100  # 10 ms
QUIET_DB = 30.0
"""So far below the loud parts of a recording nobody speaks, but for breath and the last of an echo."""
SHORTEST_S = 0.5
EDGE_S = 0.12
"""Cut from both ends of a pause: the echo of the word before, and what begins the one behind."""
FADE = RATE // 50


def pauses(samples: Sound) -> Iterator[Sound]:
    """The pauses of a recording without their edges."""
    n_frames = len(samples) // FRAME
    power = np.mean(samples[: n_frames * FRAME].reshape(n_frames, FRAME) ** 2, axis=1)
    loud = float(np.quantile(power, 0.95)) if n_frames else 0.0
    quiet = (power > 0) & (power < loud / 10 ** (QUIET_DB / 10))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if (end - start) * FRAME >= (SHORTEST_S + 2 * EDGE_S) * RATE:
            yield samples[start * FRAME + round(EDGE_S * RATE) : end * FRAME - round(EDGE_S * RATE)]


def room_tone(samples: Sound, seconds: float) -> Sound | None:
    """So many seconds of the pauses of a recording, over and over, faded into each other; None where it has none."""
    found = list(pauses(samples))
    if not found:
        return None
    fade = np.sin(np.linspace(0, np.pi / 2, FADE))  # equal power
    sound, turn = found[0].copy(), 1
    while len(sound) < seconds * RATE:
        piece = found[turn % len(found)].copy()
        piece[:FADE] *= fade
        sound[-FADE:] = sound[-FADE:] * fade[::-1] + piece[:FADE]
        sound = np.concatenate([sound, piece[FADE:]])
        turn += 1
    return sound[: round(seconds * RATE)]
