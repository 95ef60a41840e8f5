"""A recording of any length to a transcript.

`planner` says which window comes next, `fallback` decodes it until the text looks sound, `splitter` cuts the text into
segments, `assembler` makes the transcript; `pipeline` lets the data through them. `options` is all that can be asked.
"""

from viska.transcription.channels import merge_channels as merge_channels
from viska.transcription.channels import transcribe_channels as transcribe_channels
from viska.transcription.many import Transcribed as Transcribed
from viska.transcription.many import transcribe_many as transcribe_many
from viska.transcription.options import TranscribeOptions as TranscribeOptions
from viska.transcription.options import transcribe_options as transcribe_options
from viska.transcription.pipeline import Transcription as Transcription
from viska.transcription.pipeline import transcribe as transcribe
