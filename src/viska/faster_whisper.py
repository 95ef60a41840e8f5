"""The call that users of faster-whisper know, on Viska's engine.

>>> model = viska.WhisperModel("base")
>>> segments, info = model.transcribe("talk.mp3", beam_size=5)
>>> for segment in segments: print(segment.start, segment.end, segment.text)
>>> segments, info = viska.BatchedInferencePipeline(model).transcribe("talk.mp3", batch_size=8)

Names, defaults and results are those of faster-whisper; what Viska cannot do, or does in another way, is refused and
not ignored (docs/moving.md). Decoding is Viska's own: the text is not faster-whisper's to the token.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from viska import weights
from viska.audio import AudioSource
from viska.compute import COMPUTE_TYPES as OURS
from viska.decoding import tokenizer_for
from viska.errors import OptionError
from viska.result import Segment as ViskaSegment
from viska.transcription import TranscribeOptions, Transcription, transcribe_options
from viska.transcription.pipeline import progress_bar


# Not frozen: users of faster-whisper shift times in place.
@dataclass
class Word:
    """A word; `start` and `end` in seconds, `word` with its leading space, `probability` in 0..1."""

    start: float
    end: float
    word: str
    probability: float


@dataclass
class Segment:
    """A stretch of speech; `id` counts from 1, `seek` is the mel frame (10 ms) at which its window began."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None
    temperature: float


@dataclass(frozen=True)
class TranscriptionInfo:
    """What is known before the first segment: durations in seconds, languages as codes, the likeliest first.

    A language that was given has the probability 1, and `all_language_probs` is None then.
    """

    language: str
    language_probability: float
    duration: float
    duration_after_vad: float
    all_language_probs: list[tuple[str, float]] | None
    transcription_options: TranscribeOptions


RENAMED = {"log_prob_threshold": "logprob_threshold", "max_new_tokens": "sample_len"}

COMPUTE_TYPES = {"default": "auto", "int8_float32": "int8", "int8_float16": "int8", "int8_bfloat16": "int8"}
"""Their names of compute types that are not ours -> ours, which chooses the format beside int8 by itself."""

# Options that Viska has none of, or has by another meaning -> the values that ask for nothing, and what
# to do instead.
MISSING: dict[str, tuple[tuple[Any, ...], str]] = {
    "prompt_reset_on_temperature": ((0.5,), "the temperature above which a text is no prompt is fixed"),
    "chunk_length": ((None, 30), "windows are 30 seconds long"),
    "hotwords": ((None, ""), "give words to expect in initial_prompt, or as bias"),
    "files": ((None,), "give the path of the model"),
    "revision": ((None,), "write it behind the hub id, as in owner/name@revision"),
    "use_auth_token": ((None, False), "set the environment variable HF_TOKEN"),
}
DIFFERENT: dict[str, tuple[tuple[Any, ...], str]] = {
    "length_penalty": ((1, None), "Viska divides by the length itself, which is 1, and not by another power of it"),
    "prefix": ((None,), "it would begin every window and not the first alone; use initial_prompt"),
}
REFUSED = MISSING | DIFFERENT


class WhisperModel:
    """A model that is called as faster-whisper's is; several threads may use one.

    `model_size_or_path` is what `viska.load_model` takes. `device` "auto" takes a GPU where there is one,
    `device_index` counts GPUs. `compute_type` is a type of `viska.load_model`, or of theirs "default" or one of int8.
    `cpu_threads` above 0 sets the threads of the whole process. `num_workers` may be any number. `download_root` is the
    folder for fetched models; `local_files_only` forbids to fetch one. Raises what `viska.load_model` raises.
    """

    def __init__(
        self,
        model_size_or_path: str | Path,
        device: str = "auto",
        device_index: int = 0,
        compute_type: str = "default",
        cpu_threads: int = 0,
        num_workers: int = 1,
        download_root: str | Path | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> None:
        refuse(options)
        if options:
            raise OptionError(f"unknown option {', '.join(sorted(options))} of WhisperModel")
        if num_workers < 1:
            raise OptionError(f"num_workers is {num_workers}; accepted is any number from 1 on: threads share a model")
        accepted = (*COMPUTE_TYPES, *OURS)
        if compute_type not in accepted:
            raise OptionError(f"compute_type is {compute_type!r}; accepted are {', '.join(accepted)}")
        if cpu_threads > 0:
            torch.set_num_threads(cpu_threads)
        self.model = weights.load_model(
            model_size_or_path,
            device_name(device, device_index),
            download_root,
            compute_type=COMPUTE_TYPES.get(compute_type, compute_type),
            offline=local_files_only or None,
        )

    @property
    def supported_languages(self) -> list[str]:
        """The codes of the languages that the model can transcribe."""
        return list(tokenizer_for(self.model).all_language_codes) if self.model.is_multilingual else ["en"]

    def transcribe(
        self,
        audio: AudioSource,
        language: str | None = None,
        task: str = "transcribe",
        log_progress: bool = False,
        beam_size: int = 5,
        **options: Any,
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """The segments, each decoded when it is asked for, and what is known of the recording beforehand.

        The other keywords are those of faster-whisper and of `viska.TranscribeOptions`. Reading the audio and telling
        the language happen before this returns. Raises AudioError for what cannot be read, OptionError and
        LanguageError for options that are not accepted.
        """
        asked = {"language": language, "task": task, "beam_size": beam_size, **options}
        job = Transcription(self.model, audio, viska_options(asked))
        probs = sorted((job.language_probs or {}).items(), key=lambda item: item[1], reverse=True)
        info = TranscriptionInfo(
            language=job.language,
            language_probability=probs[0][1] if probs else 1.0,
            duration=job.duration_s,
            duration_after_vad=job.kept_s,
            all_language_probs=probs or None,
            transcription_options=job.options,
        )
        return _segments(job, show=log_progress), info

    def detect_language(self, audio: AudioSource) -> tuple[str, float, list[tuple[str, float]]]:
        """The language, its probability, and those of all languages, likeliest first, as `transcribe` tells them."""
        info = self.transcribe(audio)[1]
        known = info.language, info.language_probability
        return *known, info.all_language_probs or [known]


class BatchedInferencePipeline:
    """A WhisperModel, many windows at a time; called as faster-whisper's is."""

    def __init__(self, model: WhisperModel) -> None:
        self.model = model

    def transcribe(
        self,
        audio: AudioSource,
        language: str | None = None,
        task: str = "transcribe",
        log_progress: bool = False,
        beam_size: int = 5,
        **options: Any,
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """As `WhisperModel.transcribe`, but `batch_size` is 8, and `vad_filter` and `without_timestamps` are True.

        Windows know nothing of each other, whatever `condition_on_previous_text` says. `clip_timestamps`, which may
        also be dicts with "start" and "end" in seconds, take the place of the `vad_filter`. Both are as in
        faster-whisper, and the only options that may be without effect.
        """
        asked = {"batch_size": 8, "vad_filter": True, "without_timestamps": True, **options}
        asked["condition_on_previous_text"] = False
        if clips := asked.pop("clip_timestamps", None):
            asked |= {"clip_timestamps": flat_clips(clips), "vad_filter": False, "vad_parameters": None}
        return self.model.transcribe(audio, language, task, log_progress, beam_size, **asked)


def flat_clips(clips: Any) -> Any:
    """Start, end, start, end ... of clips that are dicts; others as they are. Raises OptionError for other dicts."""
    if isinstance(clips, str) or not any(isinstance(clip, dict) for clip in clips):
        return clips
    try:
        return [clip[edge] for clip in clips for edge in ("start", "end")]
    except (KeyError, TypeError):
        raise OptionError(f"clip_timestamps is {clips!r}; accepted are dicts with start and end in seconds") from None


def _segments(job: Transcription, *, show: bool) -> Iterator[Segment]:
    with progress_bar(job, show=show) as bar:
        for segment in job:
            bar.update(job.position_s - bar.n)
            yield _as_known(segment)
        bar.update(job.position_s - bar.n)


def _as_known(segment: ViskaSegment) -> Segment:
    words = segment.words
    return Segment(
        id=segment.id + 1,
        seek=segment.seek,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        tokens=list(segment.tokens),
        avg_logprob=segment.avg_logprob,
        compression_ratio=segment.compression_ratio,
        no_speech_prob=segment.no_speech_prob,
        words=None if words is None else [Word(word.start, word.end, word.word, word.probability) for word in words],
        temperature=segment.temperature,
    )


def refuse(options: dict[str, Any]) -> None:
    """Take away what asks for nothing. Raises OptionError for what asks for something that Viska does not do."""
    for name in REFUSED.keys() & options.keys():
        neutral, advice = REFUSED[name]
        value = options.pop(name)
        if not any(value is accepted or value == accepted for accepted in neutral):
            raise OptionError(f"{name} is {value!r}; accepted is {' or '.join(map(repr, neutral))}: {advice}")


def viska_options(asked: dict[str, Any]) -> TranscribeOptions:
    """Options with faster-whisper's names and defaults as Viska's. Raises OptionError for what is not accepted."""
    options = {"best_of": 5, "patience": 1, **asked}
    refuse(options)
    for theirs, ours in RENAMED.items():
        if theirs in options:
            options[ours] = options.pop(theirs)
    prompt = options.get("initial_prompt")
    if not isinstance(prompt, str | None):
        raise OptionError(f"initial_prompt is of type {type(prompt).__name__}; accepted is text")
    if options.get("language_detection_segments") == 1:
        options["language_detection_segments"] = None  # their default becomes ours
    if options["beam_size"] == 1:
        options["beam_size"] = None  # greedy decoding
    if options["beam_size"] is None or options["patience"] == 1:
        options["patience"] = None
    return transcribe_options(options)


def device_name(device: str, index: int) -> str | None:
    """The name of a device for `viska.load_model`. Raises OptionError for several GPUs at once."""
    if not isinstance(index, int):
        raise OptionError(f"device_index is {index!r}; accepted is one number: load one model for each GPU")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return f"cuda:{index}" if device == "cuda" else device
