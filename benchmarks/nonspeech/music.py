"""Synthesised music: chords, melodies and drums that nobody wrote, as (samples,) float64 at 16 kHz."""

import numpy as np
from benchmarks.nonspeech.noises import RATE, Recipe, Sound, band, times
from numpy.random import Generator

PROGRESSIONS = ((0, 5, 7, 0), (0, 9, 5, 7), (9, 5, 0, 7), (0, 7, 9, 5), (2, 7, 0, 0))
"""Roots of the chords in half tones above the key; those on 2 and 9 are minor."""
PENTATONIC = (0, 2, 4, 7, 9)
HARMONICS = {"organ": (1, 0.6, 0.4, 0.3, 0.2), "flute": (1, 0.2, 0.05), "reed": (1, 0.1, 0.7, 0.1, 0.5, 0.1, 0.3)}


def note(half_tones: float, seconds: float, instrument: str = "organ") -> Sound:
    """A held note, so many half tones from A (220 Hz)."""
    t, frequency = times(seconds), 220 * 2 ** (half_tones / 12)
    parts = [
        share * np.sin(2 * np.pi * frequency * k * t)
        for k, share in enumerate(HARMONICS[instrument], start=1)
        if frequency * k < RATE / 2
    ]
    return np.sum(parts, axis=0) * np.minimum(1, np.minimum(t / 0.02, (seconds - t) / 0.05))


def pluck(rng: Generator, half_tones: float, seconds: float) -> Sound:
    """A plucked string: a burst that goes round in a loop and loses its edges (Karplus and Strong, 1983)."""
    period = round(RATE / (220 * 2 ** (half_tones / 12)))
    loop = rng.uniform(-1, 1, size=period)
    turns = []
    for _ in range(round(seconds * RATE) // period + 1):
        turns.append(loop)
        loop = 0.498 * (loop + np.roll(loop, 1))
    return np.concatenate(turns)[: round(seconds * RATE)]


def drum(rng: Generator, kind: str) -> Sound:
    """A bass drum, a snare or a cymbal."""
    t = times(0.25)
    if kind == "bass":
        return np.sin(2 * np.pi * (45 * t + 6 * (1 - np.exp(-t * 30)))) * np.exp(-t * 14)
    if kind == "snare":
        return 8 * band(rng, 0.25, 800, 7000) / 8 * np.exp(-t * 22) + 0.4 * np.sin(2 * np.pi * 190 * t) * np.exp(
            -t * 30
        )
    return 0.5 * band(rng, 0.25, 5000, 8000) * np.exp(-t * 45)


class Score:
    """A stretch of music in a key and a tempo, to which parts are added."""

    def __init__(self, rng: Generator, seconds: float) -> None:
        self.rng = rng
        self.sound = np.zeros(round(seconds * RATE))
        self.key = int(rng.integers(-7, 6))
        self.beat_s = 60 / float(rng.uniform(70, 150))
        self.roots = PROGRESSIONS[int(rng.integers(len(PROGRESSIONS)))]
        self.n_beats = int(seconds / self.beat_s)

    def add(self, beat: float, sound: Sound, level: float = 1.0) -> None:
        """Add a sound at a beat; what hangs over the end is cut."""
        start = round(beat * self.beat_s * RATE)
        room = self.sound[start : start + len(sound)]
        room += level * sound[: len(room)]

    def chord(self, beat: int) -> tuple[int, int, int]:
        """The chord of the bar, in half tones."""
        root = self.roots[beat // 4 % 4]
        return (self.key + root, self.key + root + (3 if root in (2, 9) else 4), self.key + root + 7)

    def pads(self) -> None:
        """A held chord each bar."""
        for beat in range(0, self.n_beats, 4):
            for half_tones in self.chord(beat):
                self.add(beat, note(half_tones, 4 * self.beat_s), 0.3)

    def arpeggio(self) -> None:
        """The chord note by note, plucked."""
        for i in range(2 * self.n_beats):
            self.add(i / 2, pluck(self.rng, self.chord(i // 2)[i % 3] + 12 * (i % 2), 1.2), 0.5)

    def melody(self) -> None:
        """A tune that wanders over five notes."""
        instrument = str(self.rng.choice(list(HARMONICS)))
        place, beat = 4, 0.0
        while beat < self.n_beats:
            length = float(self.rng.choice([0.5, 1, 1, 2]))
            place = int(np.clip(place + self.rng.integers(-2, 3), 0, 9))
            half_tones = self.key + PENTATONIC[place % 5] + 12 * (place // 5)
            if self.rng.uniform() < 0.85:  # else a rest
                self.add(beat, note(half_tones, length * self.beat_s, instrument), 0.4)
            beat += length

    def drums(self) -> None:
        """Bass on one and three, snare on two and four, cymbals between."""
        for i in range(2 * self.n_beats):
            self.add(i / 2, drum(self.rng, "cymbal"), 0.3)
            if i % 2 == 0:
                self.add(i / 2, drum(self.rng, "bass" if i % 4 == 0 else "snare"), 0.8)


def played(*parts: str) -> Recipe:
    """The recipe of music with these parts, methods of `Score`."""

    def play(rng: Generator, seconds: float) -> Sound:
        score = Score(rng, seconds)
        for part in parts:
            getattr(score, part)()
        return score.sound

    return play


RECIPES: dict[str, Recipe] = {
    "chords": played("pads"),
    "plucked strings": played("arpeggio"),
    "melody": played("melody"),
    "drums": played("drums"),
    "melody and chords": played("pads", "melody"),
    "band": played("pads", "arpeggio", "melody", "drums"),
}
