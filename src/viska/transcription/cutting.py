"""A recording into the stretches that are transcribed each on its own: one in all, or windows that share a batch."""

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from viska.audio import CHUNK_LENGTH, HOP_LENGTH, N_FRAMES, N_SAMPLES
from viska.recording import LogMel, Recording
from viska.transcription.options import TranscribeOptions
from viska.transcription.packing import PackedWindow, TimeMap, pack_regions
from viska.transcription.planner import clips_in_frames
from viska.transcription.speech import SpeechTrack, speech_track
from viska.transcription.stretch import Stretch
from viska.vad import Region, VoiceActivity, regions_from_times, speech_regions, vad_options, voice_activity

logger = logging.getLogger(__name__)

QUIET, AUDIBLE = 0.03, 0.1
"""Loudest samples: of a recording in which voice activity would miss speech, and of one in which it does not. Whisper's
features are those of a recording that is made louder."""


def cut(recording: Recording, mel: LogMel, options: TranscribeOptions) -> list[Stretch]:
    """The stretches that the options ask for, in order.

    Without `vad_filter` they leave nothing out of what is to be transcribed, and those of a batch are cut where speech
    pauses. With it, and without a batch, all speech is one stretch.
    """
    clips = _clips(options.clip_timestamps, recording.duration_s)
    if not clips and recording.duration_s > 0:
        given = ",".join(f"{point:g}" for point in options.clip_timestamps)
        logger.warning(
            "clip_timestamps %s have no part of this recording, which has %.2f s", given, recording.duration_s
        )
    activity = _activity(recording, options, clips)
    speech = speech_track(activity, mel.n_frames) if activity is not None and options.guarded else None
    if not (options.independent or options.vad_filter):
        return [whole(mel, options.clip_timestamps, speech)]
    regions = regions_from_times(clips, recording.n_samples)
    if activity is not None and options.vad_filter:
        regions = _overlaps(speech_regions(activity, vad_options(options.vad_parameters)), regions)
    if options.independent:
        probabilities = None if activity is None else activity.probabilities
        return list(_packed(mel, pack_regions(regions, probabilities), speech))
    return list(_packed(mel, [PackedWindow(regions)], speech)) if regions else []


def whole(mel: LogMel, clip_timestamps: Sequence[float], speech: SpeechTrack | None = None) -> Stretch:
    """A recording in order."""
    return Stretch(mel, ((0, mel.n_frames),), tuple(clips_in_frames(clip_timestamps, mel.n_frames)), speech=speech)


def _activity(
    recording: Recording, options: TranscribeOptions, clips: Iterable[tuple[float, float]]
) -> VoiceActivity | None:
    """Where somebody speaks, if anything depends on it."""
    to_be_cut = options.independent and any(end - start > CHUNK_LENGTH for start, end in clips)
    needed = options.vad_filter or options.guarded or to_be_cut
    return voice_activity(_audible(recording)) if needed else None


def _audible(recording: Recording) -> Iterator[NDArray[np.float32]]:
    """The samples; where all of them are quiet, louder."""
    loudest = max((float(np.abs(block).max(initial=0)) for block in recording.blocks()), default=0.0)
    gain = np.float32(AUDIBLE / loudest if 0 < loudest < QUIET else 1)
    return (block * gain for block in recording.blocks())


def _packed(mel: LogMel, windows: Iterable[PackedWindow], speech: SpeechTrack | None) -> Iterator[Stretch]:
    for window in windows:
        pieces = _in_frames(window)
        if not pieces:  # less than a frame of sound
            continue
        heard = None if speech is None else speech.joined(pieces)
        n_frames = sum(end - start for start, end in pieces)
        times = TimeMap([Region(start * HOP_LENGTH, end * HOP_LENGTH) for start, end in pieces])
        yield Stretch(mel, pieces, ((0, n_frames),), times, heard)


def _in_frames(window: PackedWindow) -> tuple[tuple[int, int], ...]:
    """The pieces of a window in whole mel frames: pieces that touch still do, and what fits a window still fits."""
    bounds = [(piece.start // HOP_LENGTH, piece.end // HOP_LENGTH) for piece in window.pieces]
    pieces = [(start, end) for start, end in bounds if start < end]
    excess = sum(end - start for start, end in pieces) - N_FRAMES
    if 0 < excess <= len(pieces) and window.n_samples <= N_SAMPLES:
        start, end = pieces.pop()
        pieces += [(start, end - excess)] if end - start > excess else []
    return tuple(pieces)


def _clips(clip_timestamps: Sequence[float], duration_s: float) -> list[tuple[float, float]]:
    """Start, end, start, end ... in seconds -> pairs within a recording of this length."""
    points = [min(point, duration_s) for point in clip_timestamps]
    if len(points) % 2:
        points.append(duration_s)
    return [(start, end) for start, end in zip(points[::2], points[1::2], strict=True) if start < end]


def _overlaps(first: Iterable[Region], second: Sequence[Region]) -> tuple[Region, ...]:
    """What is in both, in order."""
    common = [Region(max(a.start, b.start), min(a.end, b.end)) for a in first for b in second]
    return tuple(sorted((region for region in common if region.start < region.end), key=lambda region: region.start))
