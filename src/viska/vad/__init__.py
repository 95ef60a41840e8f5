"""Voice activity: where in a recording somebody speaks.

    activity = voice_activity(samples)          # probability of speech for every 32 ms, from Silero's network
    regions = speech_regions(activity, VadOptions(min_silence_duration_ms=500))

`samples` is an array, or blocks of samples one after the other: a long file need not be held in memory.
"""

from viska.vad.activity import VoiceActivity, speech_probabilities, voice_activity
from viska.vad.options import VadOptions, vad_options
from viska.vad.regions import Region, regions_from_times, speech_regions

__all__ = [
    "Region",
    "VadOptions",
    "VoiceActivity",
    "regions_from_times",
    "speech_probabilities",
    "speech_regions",
    "vad_options",
    "voice_activity",
]
