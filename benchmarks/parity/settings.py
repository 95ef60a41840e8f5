"""What is compared: the decoding and transcription options, each under a name.

Options are those of `DecodingOptions` and `transcribe`, which both sides share, in a form that JSON can hold.
"""

from dataclasses import dataclass, field
from typing import Any

GETTYSBURG = (
    "Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in "
    "Liberty, and dedicated to the proposition that all men are created equal. Now we are engaged in a great civil "
    "war, testing whether that nation, or any nation so conceived and so dedicated, can long endure. We are met on "
    "a great battle-field of that war. We have come to dedicate a portion of that field, as a final resting place "
    "for those who here gave their lives that that nation might live. It is altogether fitting and proper that we "
    "should do this. But, in a larger sense, we can not dedicate, we can not consecrate, we can not hallow this "
    "ground. The brave men, living and dead, who struggled here, have consecrated it, far above our poor power to "
    "add or detract. The world will little note, nor long remember what we say here, but it can never forget what "
    "they did here. It is for us the living, rather, to be dedicated here to the unfinished work which they who "
    "fought here have thus far so nobly advanced. It is rather for us to be here dedicated to the great task "
    "remaining before us, that from these honored dead we take increased devotion to that cause for which they here "
    "gave the last full measure of devotion, that we here highly resolve that these dead shall not have died in "
    "vain."
)
PROMPT_TOKENS = [383, 2068, 7586, 21831, 18045, 625, 262, 16931, 3290, 13]
CLIP_LANGUAGE = "the clip's own"
LADDER = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


@dataclass(frozen=True)
class Setting:
    """One row of the comparison; `widely`: on every chosen clip instead of the first few, which vary the most.

    `window`: mel or features, what both sides' decode is given. `batch`: how many windows Viska decodes at once;
    `single`: the rival decodes the same windows one by one, because its batches of beams crash.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    kind: str = "decode"
    widely: bool = False
    window: str = "features"
    batch: int = 1
    single: bool = False
    multilingual_only: bool = False


DECODE = (
    Setting("detect", kind="detect", widely=True, multilingual_only=True),
    Setting("greedy", widely=True, window="mel"),
    Setting("beam5", {"beam_size": 5}, widely=True),
    Setting("beam5-patience2", {"beam_size": 5, "patience": 2.0}),
    Setting("beam5-length-penalty", {"beam_size": 5, "length_penalty": 0.6}),
    Setting("beam5-without-timestamps", {"beam_size": 5, "without_timestamps": True}),
    Setting("without-timestamps", {"without_timestamps": True}),
    Setting("prompt-text", {"prompt": "The birch canoe, the smooth planks; a list of short sentences."}),
    Setting("prompt-tokens", {"prompt": PROMPT_TOKENS}),
    Setting("prompt-too-long", {"prompt": GETTYSBURG}),
    Setting("beam5-prompt", {"beam_size": 5, "prompt": "The birch canoe, the smooth planks."}),
    Setting("prefix", {"prefix": "And so"}),
    Setting("prefix-cut", {"prefix": GETTYSBURG, "sample_len": 215}),
    Setting("sample-len-20", {"sample_len": 20}),
    Setting("beam5-sample-len-20", {"beam_size": 5, "sample_len": 20}),
    Setting("suppress-nothing", {"suppress_tokens": ""}),
    Setting("suppress-default", {"suppress_tokens": "-1"}),
    Setting("suppress-list", {"suppress_tokens": [-1, 11, 13]}),
    Setting("suppress-blank-off", {"suppress_blank": False}),
    Setting("beam5-suppress-blank-off", {"beam_size": 5, "suppress_blank": False}),
    Setting("max-initial-timestamp-none", {"max_initial_timestamp": None}),
    Setting("max-initial-timestamp-0", {"max_initial_timestamp": 0.0}),
    Setting("translate", {"task": "translate"}, multilingual_only=True),
    Setting("language-given", {"language": CLIP_LANGUAGE}, multilingual_only=True),
    Setting("greedy-batch", window="mel", batch=4),
    Setting("beam5-batch", {"beam_size": 5}, batch=4, single=True),
)
TRANSCRIBE = (
    Setting("transcribe", {"temperature": 0.0}, kind="transcribe", widely=True),
    Setting(
        "transcribe-unconditioned",
        {"temperature": 0.0, "condition_on_previous_text": False},
        kind="transcribe",
        widely=True,
    ),
    Setting("transcribe-ladder", {"temperature": LADDER}, kind="transcribe", widely=True),
    Setting("transcribe-beam5", {"temperature": 0.0, "beam_size": 5}, kind="transcribe"),
)
QUICK = ("detect", "greedy", "beam5")
