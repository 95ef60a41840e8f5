"""Each channel of a recording transcribed apart, as where every speaker has a microphone, and merged in time order."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from viska.audio import AudioSource, load_channels
from viska.errors import OptionError
from viska.formats.channels import mark
from viska.model import Whisper
from viska.result import GuardEvent, Segment, Transcript
from viska.transcription.pipeline import segment_line, transcribe


def transcribe_channels(
    model: Whisper,
    audio: AudioSource,
    *,
    audio_track: int | None = None,
    verbose: bool | None = None,
    on_segment: Callable[[Segment], None] | None = None,
    journal: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Transcript:
    """Transcribe each channel by itself; every segment of the merged transcript tells its `channel`, from 0.

    `audio` is what `transcribe` takes, an array being (channels, samples); the options are those of `transcribe`. One
    channel comes after the other, so that `on_segment` is called in time order only within each, and has a `journal` of
    its own, by its number behind that name. Raises what `transcribe` does, and AudioError for an audio track that is
    not there.

    >>> [(segment.channel, segment.text) for segment in transcribe_channels(model, "call.wav").segments]
    [(0, ' Hello, how can I help?'), (1, ' I would like to know when you close.')]
    """
    if options.get("channel") is not None:
        raise OptionError(f"channel is {options['channel']!r}, and all channels are asked for: leave it out")
    transcripts = []
    timed = options.get("compat") is None
    for number, samples in enumerate(load_channels(audio, track=audio_track, timed=timed)):

        def told(segment: Segment, number: int = number) -> None:
            segment = replace(segment, channel=number)
            if verbose:
                print(channel_line(segment), flush=True)  # noqa: T201  # verbose asks for it
            if on_segment is not None:
                on_segment(segment)

        bar = False if verbose is False else None
        own_journal = None if journal is None else channel_journal(journal, number)
        transcripts.append(transcribe(model, samples, verbose=bar, on_segment=told, journal=own_journal, **options))
    return merge_channels(transcripts)


def channel_journal(journal: str | os.PathLike[str], number: int) -> str:
    """The path of the journal of one channel."""
    return f"{os.fspath(journal)}.{number}"


def channel_line(segment: Segment) -> str:
    """A segment for reading along, with its channel where it has one: [start --> end] [CHANNEL_0]: text."""
    return segment_line(replace(segment, text=mark(segment) + segment.text))


def merge_channels(transcripts: Sequence[Transcript]) -> Transcript:
    """One transcript of those of the channels 0, 1, ...: segments by their start, those of equal start by channel.

    Its language is that of the channel that says most; where channels differ, each segment tells its own. Its record is
    that of all, in order of time; each event tells its channel.
    """
    several = len({transcript.language for transcript in transcripts if transcript.segments}) > 1
    segments = [
        replace(segment, channel=channel, language=segment.language or (transcript.language if several else None))
        for channel, transcript in enumerate(transcripts)
        for segment in transcript.segments
    ]
    segments.sort(key=lambda segment: segment.start)  # stable
    numbered = tuple(replace(segment, id=number) for number, segment in enumerate(segments))
    chief = max(transcripts, key=lambda transcript: len(transcript.text))
    return Transcript("".join(segment.text for segment in numbered), numbered, chief.language, _merged(transcripts))


def _merged(transcripts: Sequence[Transcript]) -> tuple[GuardEvent, ...] | None:
    """The records of the channels; None where the guard was off."""
    if all(transcript.record is None for transcript in transcripts):
        return None
    events = [
        replace(event, channel=channel)
        for channel, transcript in enumerate(transcripts)
        for event in transcript.record or ()
    ]
    return tuple(sorted(events, key=lambda event: event.start))
