"""The flags of `viska AUDIO...`: those of the `whisper` command, by the same names and with the same defaults."""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from viska.compute import COMPUTE_TYPES
from viska.formats import FORMATS, PRESETS
from viska.version import __version__

EXIT_CODES = """\
exit status:
  0    everything was transcribed and written
  1    an unexpected error
  2    an option, or a combination of options, is not accepted
  3    an input cannot be read as audio
  4    a model cannot be had
  5    a result cannot be written
  6    the work does not fit into memory
  130  interrupted
With several inputs the others are still transcribed, and the status is that of the first error.

Flags may be written with hyphens too, as in --beam-size.

`viska models --help` tells about models, `viska eval --help` about measuring how good transcripts are.
"""


_NUMBERS = re.compile(r"-\d+(,-?\d+)+")
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001  # full-width marks


def transcribe_parser() -> argparse.ArgumentParser:
    """The parser of `viska AUDIO...`."""
    parser = argparse.ArgumentParser(
        prog="viska",
        description="Turn speech into text with OpenAI's Whisper models.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "audio", nargs="+", metavar="AUDIO", help="sound or video files, folders of them, patterns; - is standard input"
    )
    parser.add_argument("--version", action="version", version=f"viska {__version__}")
    _add_input_flags(parser.add_argument_group("input"))
    _add_output_flags(parser.add_argument_group("output"))
    add_transcription_flags(parser)
    return parser


def add_transcription_flags(parser: argparse.ArgumentParser) -> None:
    """Add what every command that transcribes takes: which model, and how."""
    _add_model_flags(parser.add_argument_group("model"))
    _add_decoding_flags(parser.add_argument_group("decoding"))
    _add_long_form_flags(parser.add_argument_group("long recordings"))


def _add_input_flags(group: Any) -> None:
    _flag(group, "--audio_track", type=optional(int), help="which track of a film, from 0 (default: the best)")
    _flag(group, "--channel", type=channel, help="from 0, or left, right; all: each apart (default: mixed)")


def _add_model_flags(group: Any) -> None:
    _flag(group, "--model", default="base", help="official name, file, folder or hub id (default: base)")
    _flag(group, "--model_dir", help="where models are kept (default: the user's cache folder)")
    _flag(group, "--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one, else cpu)")
    _flag(group, "--compute_type", default="auto", help=f"{', '.join(COMPUTE_TYPES)} (default: auto)")
    group.add_argument("--offline", action="store_true", help="fetch nothing and open no connection")
    _flag(group, "--threads", type=int, default=0, help="processor threads (default: 0, one for each core)")


def _add_output_flags(group: Any) -> None:
    _flag(group, "--output_dir", "-o", default=".", help="where to write (default: the current folder)")
    _flag(
        group,
        "--output_format",
        "-f",
        default="all",
        choices=[*FORMATS, "all"],
        help="all: txt, vtt, srt, tsv, json (default)",
    )
    _flag(group, "--verbose", type=boolean, default=True, help="print the text as it comes (default: True)")
    _flag(
        group, "--highlight_words", type=boolean, default=False, help="underline each word of srt and vtt as it is said"
    )
    _flag(group, "--karaoke", type=boolean, default=False, help="tell in vtt when each word is said, as lrc and ass do")
    _flag(group, "--max_line_width", type=optional(int), help="characters a line of srt and vtt")
    _flag(group, "--max_line_count", type=optional(int), help="lines a cue of srt and vtt; needs --max_line_width")
    _flag(group, "--max_words_per_line", type=optional(int), help="words a line of srt and vtt")
    _flag(
        group,
        "--preset",
        choices=sorted(PRESETS),
        help="readable subtitles; leaves --max_... and --highlight_words out",
    )
    group.add_argument("--json", action="store_true", help="print JSON lines for scripts instead")
    group.add_argument(
        "--resume", action="store_true", help="go on where the same command was broken off; keeps a journal in -o"
    )


def _add_decoding_flags(group: Any) -> None:
    _flag(group, "--task", default="transcribe", choices=["transcribe", "translate"], help="translate: into English")
    _flag(group, "--language", help="code or English name (default: told by the model)")
    _flag(group, "--languages", help="those among which to tell, with commas between (default: all)")
    _flag(group, "--temperature", type=float, default=0.0, help="of the sampling; 0 takes the likeliest (default: 0)")
    _flag(group, "--best_of", type=optional(int), default=5, help="samples at temperatures above 0 (default: 5)")
    _flag(group, "--beam_size", type=optional(int), default=5, help="beams at temperature 0 (default: 5; None: greedy)")
    _flag(group, "--patience", type=optional(float), help="of the beam search (default: None, the same as 1)")
    _flag(group, "--length_penalty", type=optional(float), help="exponent, 0 to 1 (default: plain division by length)")
    _flag(group, "--suppress_tokens", default="-1", help="tokens never to produce; -1: all that is not speech")
    _flag(group, "--suppress_regex", help="text tokens in which this is found are never produced")
    _flag(group, "--repetition_penalty", type=float, default=1.0, help="above 1: words said before lose (default: 1)")
    _flag(group, "--no_repeat_ngram_size", type=int, default=0, help="no run of so many tokens twice (default: 0, off)")
    _flag(group, "--bias", help="words and phrases to expect, with commas between")
    _flag(group, "--bias_strength", type=float, default=2.0, help="of --bias (default: 2)")
    _flag(group, "--fp16", type=boolean, default=True, help="half precision on a GPU (default: True)")
    _flag(group, "--seed", type=int, default=0, help="of the sampling (default: 0)")


def _add_long_form_flags(group: Any) -> None:
    _flag(group, "--initial_prompt", help="text to stand before the first window: names, spellings, style")
    _flag(
        group, "--carry_initial_prompt", type=boolean, default=False, help="put it before all windows (default: False)"
    )
    _flag(group, "--condition_on_previous_text", type=boolean, help="the text before as prompt (default: no batches)")
    _flag(group, "--batch_size", type=int, default=1, help="windows decoded at once, across inputs (default: 1)")
    _flag(group, "--short_context", type=boolean, help="short windows cost less (default: but for float32)")
    _flag(group, "--vad_filter", type=boolean, default=False, help="leave out where nobody speaks (default: False)")
    _flag(group, "--vad_parameters", type=parameters, help="threshold=0.5,min_silence_duration_ms=2000,...")
    _flag(group, "--temperature_increment_on_fallback", type=optional(float), default=0.2, help="(default: 0.2)")
    _flag(
        group, "--compression_ratio_threshold", type=optional(float), default=2.4, help="above: a loop (default: 2.4)"
    )
    _flag(group, "--logprob_threshold", type=optional(float), default=-1.0, help="below: decode again (default: -1)")
    _flag(
        group, "--no_speech_threshold", type=optional(float), default=0.6, help="above: may be skipped (default: 0.6)"
    )
    _flag(group, "--clip_timestamps", default="0", help="start,end,start,... in seconds: the parts to transcribe")
    _flag(group, "--word_timestamps", type=boolean, default=False, help="tell when each word was said (default: False)")
    _flag(group, "--prepend_punctuations", default=PREPENDED, help="marks that belong to the word behind them")
    _flag(group, "--append_punctuations", default=APPENDED, help="marks that belong to the word before them")
    _flag(
        group,
        "--hallucination_silence_threshold",
        type=optional(float),
        help="seconds of silence around odd text to jump over",
    )
    _flag(
        group, "--language_detection_segments", type=optional(int), help="half minutes that vote (default: by speech)"
    )
    _flag(
        group,
        "--language_detection_threshold",
        type=optional(float),
        default=0.5,
        help="least probability (default: 0.5)",
    )
    _flag(
        group, "--multilingual", type=boolean, default=False, help="tell the language of each window (default: False)"
    )
    _flag(group, "--guard", type=boolean, default=True, help="hold text against the sound (default: True)")
    _flag(group, "--compat", type=optional(str), help="openai: the behaviour of openai/whisper to the token")


def _flag(group: Any, name: str, *short: str, **settings: Any) -> None:
    """One flag; the help names its value by what it is, not by the flag again."""
    kind = settings.get("type", str).__name__.upper().replace("STR", "TEXT")
    group.add_argument(name, *short, **({} if "choices" in settings else {"metavar": kind}), **settings)


def for_argparse(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--beam-size` as `--beam_size` and `--suppress_tokens -1,50257` as one with an equals sign.

    (argparse takes a list that begins with a negative number for a flag.) All behind `--` stays as it is.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found: list[str] = []
    for argument in arguments[:end]:
        if found and found[-1].startswith("--") and "=" not in found[-1] and _NUMBERS.fullmatch(argument):
            found[-1] += "=" + argument
        else:
            found.append(_with_underscores(argument))
    return [*found, *arguments[end:]]


def _with_underscores(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return name[:2] + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument


def boolean(text: str) -> bool:
    """True or False, as the `whisper` command writes them."""
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return values[text.lower()]


def channel(text: str) -> int | str:
    """The number of a channel, or its name."""
    return int(text) if text.isdecimal() else text


def parameters(text: str) -> dict[str, float]:
    """Numbers by their names, as in a=1,b=0.5."""
    found = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{part!r} is no name=number; write for example threshold=0.4,min_silence_duration_ms=500"
            ) from None
    return found


def optional(kind: type) -> Any:
    """A value of that kind, or the word None."""

    def parse(text: str) -> Any:
        return None if text == "None" else kind(text)

    parse.__name__ = kind.__name__  # for argparse's message about what is not one
    return parse
