"""A witness from outside: word error rates of Viska and `faster-whisper`, one model.bin, against what people wrote."""

import json
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from benchmarks.parity.clips import Arrays, Clip
from benchmarks.parity.environments import WORK

import viska
from viska.tokenizer import N_TIMESTAMPS
from viska.weights.load import locate

SCRIPT = Path(__file__).with_name("faster.py")
CLEAN_FOLDERS = (
    *("librispeech/dev-clean/", "librispeech/test-clean/", "ljspeech/", "vctk/"),
    *("speechbrain/", "pocketsphinx/sense_and_sensibility"),
)
HIGHEST_RATE = 0.08
FARTHEST_APART = 0.01


@dataclass(frozen=True)
class Testimony:
    """Word error rates, 0 to 1, over `clips` clips of `words` words."""

    clips: int
    words: int
    viska: float
    faster_whisper: float

    @property
    def passed(self) -> bool:
        """Low enough, and near enough to the other's."""
        return self.clips > 0 and self.viska < HIGHEST_RATE and abs(self.viska - self.faster_whisper) <= FARTHEST_APART

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps({"passed": self.passed, **asdict(self)})


def clean_clips(clips: Sequence[Clip]) -> list[Clip]:
    """English read aloud in quiet rooms, with a reference."""
    quiet = [clip for clip in clips if clip.path.startswith(CLEAN_FOLDERS) and "noisy True" not in clip.traits]
    return [clip for clip in quiet if clip.language == "en" and clip.text]


def plain_words(text: str) -> str:
    """Lower case, no punctuation, single spaces."""
    spaced = text.lower().replace("-", " ").replace("\N{RIGHT SINGLE QUOTATION MARK}", "").replace("'", "")
    kept = "".join(" " if unicodedata.category(letter)[0] in "PS" else letter for letter in spaced)
    return " ".join(kept.split())


def word_error_rate(references: Sequence[str], texts: Sequence[str]) -> float:
    """Errors over words of the references, all clips together."""
    return float(jiwer.wer([plain_words(text) for text in references], [plain_words(text) for text in texts]))


def testify(name: str, python: str, clips: Sequence[Clip], arrays: Arrays, threads: int) -> Testimony:
    """Transcribe the clips with both, greedily in float32, from one model.bin; `python` has faster-whisper."""
    folder = locate(name).path
    if not (folder / "model.bin").is_file():
        raise SystemExit(f"{folder} has no model.bin; the witness needs the model in CTranslate2's form.")
    paths = [arrays.whole(clip) for clip in clips]
    command = [python, str(SCRIPT), f"--model={with_vocabulary(folder)}", f"--threads={threads}", *map(str, paths)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    theirs = [json.loads(line) for line in out.splitlines()]
    model = viska.load_model(folder, device="cpu")
    texts = []
    for path, clip in zip(paths, clips, strict=True):
        texts.append(_transcribe(model, path))
        print(f"viska {clip.path}", file=sys.stderr, flush=True)
    references = [clip.text or "" for clip in clips]
    words = sum(len(plain_words(text).split()) for text in references)
    rates = [word_error_rate(references, side) for side in (texts, theirs)]
    return Testimony(len(clips), words, *(round(rate, 5) for rate in rates))


def with_vocabulary(folder: Path) -> Path:
    """A folder with links to these files and a vocabulary.json, which CTranslate2 wants and Viska does not keep."""
    linked = WORK / f"ctranslate2-{folder.name}"
    linked.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        link = linked / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    tokenizer = json.loads((folder / "tokenizer.json").read_bytes())
    ids = {**tokenizer["model"]["vocab"], **{token["content"]: token["id"] for token in tokenizer["added_tokens"]}}
    tokens = sorted(ids, key=lambda token: ids[token])
    tokens += [f"<|{0.02 * i:.2f}|>" for i in range(N_TIMESTAMPS)]  # the tokenizer's file stops before them
    (linked / "vocabulary.json").write_text(json.dumps(tokens))
    return linked


def _transcribe(model: viska.Whisper, path: Path) -> str:
    options: dict[str, Any] = {"language": "en", "temperature": 0.0, "condition_on_previous_text": False, "fp16": False}
    return viska.transcribe(model, np.load(path), compat="openai", **options).text
