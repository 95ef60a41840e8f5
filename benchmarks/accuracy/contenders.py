"""Who is compared: both rivals with the settings that their users get, and Viska in every mode."""

from benchmarks.speed.contenders import BATCH, Contender, Options
from benchmarks.speed.engines import FASTER, OPENAI, VISKA

LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
COMMAND_LINE: Options = {"beam_size": 5, "best_of": 5, "temperature": LADDER}
"""What openai-whisper's and Viska's command lines set where nothing is asked for."""

RIVALS = (
    Contender(OPENAI, "float32", COMMAND_LINE, "command line's defaults"),
    Contender(FASTER, "float32", {"vad_filter": True}, "defaults, voice activity on"),
)
DEFAULT = Contender(VISKA, "auto", COMMAND_LINE, "defaults")
MODES = (
    DEFAULT,
    *(Contender(VISKA, kind, COMMAND_LINE, "in order") for kind in ("float32", "int8")),
    Contender(VISKA, "auto", {**COMMAND_LINE, "vad_filter": True}, "in order, voice activity"),
    *(Contender(VISKA, kind, {**COMMAND_LINE, "batch_size": BATCH}, "batched") for kind in ("auto", "float32", "int8")),
    Contender(VISKA, "auto", {**COMMAND_LINE, "batch_size": BATCH, "vad_filter": True}, "batched, voice activity"),
)
