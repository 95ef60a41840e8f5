"""A transcript as txt, vtt, srt, tsv, json, lrc and ass, and its way into files.

    to_srt(transcript)                                           -> the content, a str, in openai/whisper's layout
    to_srt(transcript, LineOptions(max_line_width=42))           -> the same with its line options; needs words
    to_srt(transcript, PRESETS["tv"])                            -> Viska's own layout: made to be read
    write(transcript, "talk.wav", "out", "srt", PRESETS["tv"])   -> [Path("out/talk.srt")]
    save(transcript, "out/talk.srt", preset="tv")                -> the same by the path of the file

Each `to_*` is a pure function of a `Transcript`, or of any mapping laid out like openai/whisper's results. Where there
are words, cues take their times from them.
"""

from viska.formats.cues import Cue, TimedText, format_timestamp
from viska.formats.files import FORMATS, LAID_OUT, save, write, write_text
from viska.formats.karaoke import to_ass, to_lrc
from viska.formats.lines import LineOptions
from viska.formats.plain import to_json, to_tsv, to_txt
from viska.formats.presets import PRESETS, Preset
from viska.formats.subtitles import to_cues, to_srt, to_vtt

__all__ = [
    "FORMATS",
    "LAID_OUT",
    "PRESETS",
    "Cue",
    "LineOptions",
    "Preset",
    "TimedText",
    "format_timestamp",
    "save",
    "to_ass",
    "to_cues",
    "to_json",
    "to_lrc",
    "to_srt",
    "to_tsv",
    "to_txt",
    "to_vtt",
    "write",
    "write_text",
]
