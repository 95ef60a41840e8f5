"""Noises and signals, as (samples,) float64 at 16 kHz of whatever level; `RECIPES` has them by name."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

RATE = 16000  # Hz
Sound = NDArray[np.float64]
Recipe = Callable[[Generator, float], Sound]


def times(seconds: float) -> Sound:
    """When each sample is, in seconds."""
    return np.arange(round(seconds * RATE)) / RATE


def coloured(rng: Generator, seconds: float, exponent: float) -> Sound:
    """Noise whose power goes with frequency to this exponent: -2 brown, -1 pink, 0 white, 1 blue, 2 violet."""
    n = round(seconds * RATE)
    spectrum = np.fft.rfft(rng.normal(size=n))
    frequencies = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20)
    return np.asarray(np.fft.irfft(spectrum * frequencies ** (exponent / 2), n))


def of_colour(exponent: float) -> Recipe:
    """The recipe of a noise of one colour."""
    return lambda rng, seconds: coloured(rng, seconds, exponent)


def band(rng: Generator, seconds: float, low: float, high: float) -> Sound:
    """White noise between two frequencies in Hz."""
    n = round(seconds * RATE)
    frequencies = np.fft.rfftfreq(n, 1 / RATE)
    spectrum = np.fft.rfft(rng.normal(size=n)) * ((frequencies >= low) & (frequencies <= high))
    return np.asarray(np.fft.irfft(spectrum, n))


def hum(rng: Generator, seconds: float) -> Sound:
    """Mains of 50 or 60 Hz with its harmonics, over faint noise."""
    base = rng.choice([50.0, 60.0])
    parts = [
        rng.uniform(0.2, 1) / k * np.sin(2 * np.pi * base * k * times(seconds) + rng.uniform(0, 6))
        for k in range(1, 12)
    ]
    return np.sum(parts, axis=0) + 0.05 * _unit(coloured(rng, seconds, -1))


def wind(rng: Generator, seconds: float) -> Sound:
    """Brown noise that swells and fades."""
    slow = np.interp(times(seconds), np.arange(0, seconds + 2, 1.0), rng.uniform(0.05, 1, size=int(seconds) + 2))
    return slow * _unit(coloured(rng, seconds, -2))


def rain(rng: Generator, seconds: float) -> Sound:
    """White noise with drops."""
    return _unit(band(rng, seconds, 400, 7000)) + 3 * _unit(clicks(rng, seconds, rate=30))


def fan(rng: Generator, seconds: float) -> Sound:
    """Pink noise in the rhythm of its blades."""
    turning = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(8, 30) * times(seconds))
    return turning * _unit(coloured(rng, seconds, -1)) + 0.5 * np.sin(2 * np.pi * rng.uniform(90, 240) * times(seconds))


def tone(rng: Generator, seconds: float) -> Sound:
    """One pure tone."""
    return np.sin(2 * np.pi * rng.uniform(100, 4000) * times(seconds))


def sweep(rng: Generator, seconds: float) -> Sound:
    """A tone that glides through the octaves, up or down."""
    low, high = np.sort(rng.uniform(80, 7000, size=2))
    frequency = np.geomspace(low, high, round(seconds * RATE))
    return np.sin(2 * np.pi * np.cumsum(frequency[:: rng.choice([-1, 1])]) / RATE)


def beeps(rng: Generator, seconds: float) -> Sound:
    """A machine that beeps."""
    period, length = rng.uniform(0.4, 2.5), rng.uniform(0.05, 0.3)
    return tone(rng, seconds) * (times(seconds) % period < length) + 1e-3 * rng.normal(size=round(seconds * RATE))


def telephone(rng: Generator, seconds: float) -> Sound:
    """The tone of a line that waits, rings or is engaged: 425 Hz, or 350 and 440 Hz."""
    t = times(seconds)
    on, off = [(seconds, 0.0), (1.0, 4.0), (0.5, 0.5)][rng.integers(3)]
    pair = [(425.0, 425.0), (350.0, 440.0)][rng.integers(2)]
    return (t % (on + off) < on) * sum(np.sin(2 * np.pi * frequency * t) for frequency in pair)


def dialling(rng: Generator, seconds: float) -> Sound:
    """Keys of a telephone (DTMF), one after another."""
    t, rows, columns = times(seconds), [697, 770, 852, 941], [1209, 1336, 1477]
    sound = np.zeros_like(t)
    for start in np.arange(0, seconds, 0.3):
        pressed = (t >= start) & (t < start + 0.15)
        for frequency in (rng.choice(rows), rng.choice(columns)):
            sound[pressed] += np.sin(2 * np.pi * frequency * t[pressed])
    return sound


def clicks(rng: Generator, seconds: float, rate: float = 4.0) -> Sound:
    """Short cracks at random, so many a second."""
    n = round(seconds * RATE)
    sound = np.zeros(n + RATE)
    for _ in range(max(1, rng.poisson(rate * seconds))):
        start, length = rng.integers(n), rng.integers(20, 400)
        sound[start : start + length] += rng.uniform(0.2, 1) * rng.normal(size=length) * np.exp(-np.arange(length) / 40)
    return sound[:n]


def clock(rng: Generator, seconds: float) -> Sound:
    """A clock that ticks, twice a second, in a quiet room."""
    tick = band(rng, 0.03, 1500, 6000) * np.exp(-np.arange(480) / 60)
    sound = 0.02 * _unit(coloured(rng, seconds, -1)) * np.max(np.abs(tick))
    for start in range(0, len(sound) - len(tick), RATE // 2):
        sound[start : start + len(tick)] += tick
    return sound


def thumps(rng: Generator, seconds: float) -> Sound:
    """Doors and steps: dull blows with much silence between."""
    sound = 1e-3 * _unit(coloured(rng, seconds, -1))
    blow = times(0.3)
    for start in np.cumsum(rng.uniform(0.5, 4, size=int(2 * seconds) + 1)):
        at = round(start * RATE)
        if at + len(blow) > len(sound):
            break
        sound[at : at + len(blow)] += np.exp(-blow * 25) * np.sin(2 * np.pi * rng.uniform(50, 120) * blow)
    return sound


def nothing(rng: Generator, seconds: float) -> Sound:
    """Digital silence, or what a converter makes of it: a few steps of noise, perhaps beside zero."""
    steps = rng.choice([0, 1, 2])
    return (rng.integers(-steps, steps + 1, size=round(seconds * RATE)) + rng.choice([0, 0, 3])) / 2**15


def _unit(sound: Sound) -> Sound:
    """At a root mean square of 1."""
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-12)


def at_level(sound: Sound, decibels: float) -> Sound:
    """At so many dB below full scale (root mean square), with no peak beyond it."""
    sound = _unit(sound - sound.mean()) * 10 ** (decibels / 20)
    return sound / max(1.0, float(np.abs(sound).max()) / 0.98)


RECIPES: dict[str, Recipe] = {
    "white noise": of_colour(0),
    "pink noise": of_colour(-1),
    "brown noise": of_colour(-2),
    "blue noise": of_colour(1),
    "violet noise": of_colour(2),
    "mains hum": hum,
    "wind": wind,
    "rain": rain,
    "fan": fan,
    "pure tone": tone,
    "sweep": sweep,
    "beeps": beeps,
    "telephone tones": telephone,
    "dialling": dialling,
    "clicks": clicks,
    "clock": clock,
    "thumps": thumps,
}
