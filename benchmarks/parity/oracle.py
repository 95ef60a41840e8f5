"""The rival's side: runs jobs with the `openai-whisper` package and writes their results as JSON lines.

A script for the rival's own interpreter: it imports whisper, torch and numpy and nothing of Viska. A job is a dict with
`key`, `kind` (detect, decode, transcribe or score), `audio` (paths of float32 `.npy` arrays) and `options`. Keys that
the results file already holds are passed over, so an interrupted run goes on where it stopped.
"""

import argparse
import json
import sys
import time
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import whisper
from whisper.decoding import DecodingTask

DECODE_FIELDS = ("language", "tokens", "text", "avg_logprob", "no_speech_prob", "temperature", "compression_ratio")
SEGMENT_FIELDS = (
    *("id", "seek", "start", "end", "text", "tokens"),
    *("temperature", "avg_logprob", "compression_ratio", "no_speech_prob"),
)


class WouldSample(Exception):
    """A window failed its thresholds, and the next attempt would draw from a random generator."""


class Oracle:
    """One loaded model and the jobs it can do."""

    def __init__(self, checkpoint: Path) -> None:
        self.model = whisper.load_model(str(checkpoint), device="cpu").eval()
        self.mel = lru_cache(maxsize=16)(self._mel)
        self.features = lru_cache(maxsize=256)(self._features)

    def _mel(self, path: str) -> torch.Tensor:
        audio = whisper.pad_or_trim(np.load(path))
        return whisper.log_mel_spectrogram(audio, n_mels=self.model.dims.n_mels)

    @torch.no_grad()
    def _features(self, path: str) -> torch.Tensor:
        return self.model.embed_audio(self.mel(path)[None])[0]

    def detect(self, job: dict) -> list[dict]:
        """The probabilities of all languages, for each array."""
        _, probabilities = self.model.detect_language(torch.stack([self.mel(path) for path in job["audio"]]))
        return [{"language_probs": probs} for probs in probabilities]

    def decode(self, job: dict) -> list[dict]:
        """The arrays as one batch, from log-mel spectrograms or (`input`: features) from the encoder's output."""
        read = self.features if job["input"] == "features" else self.mel
        options = whisper.DecodingOptions(fp16=False, **job["options"])
        results = self.model.decode(torch.stack([read(path) for path in job["audio"]]), options)
        return [{field: getattr(result, field) for field in DECODE_FIELDS} for result in results]

    def transcribe(self, job: dict) -> dict:
        """Segments of a whole array; `sampled` instead where a fallback to a temperature above 0 would come in."""

        def decode_at_zero(mel: torch.Tensor, options: whisper.DecodingOptions) -> whisper.DecodingResult:
            if options.temperature > 0:
                raise WouldSample
            return whisper.decode(self.model, mel, options)

        if "heads" in job:  # a checkpoint does not say which heads follow the speech
            self.model.set_alignment_heads(whisper._ALIGNMENT_HEADS[job["heads"]])
        self.model.decode = decode_at_zero
        try:
            result = self.model.transcribe(np.load(job["audio"][0]), fp16=False, **job["options"])
        except WouldSample:
            return {"sampled": True}
        finally:
            del self.model.decode
        fields = (*SEGMENT_FIELDS, "words") if job["options"].get("word_timestamps") else SEGMENT_FIELDS
        segments = [{field: segment[field] for field in fields} for segment in result["segments"]]
        return {"text": result["text"], "language": result["language"], "segments": segments}

    @torch.no_grad()
    def score(self, job: dict) -> list[dict]:
        """Filtered log-probabilities of given token sequences, teacher-forced: `steps`, end of text included.

        `rivals`: at the first place where the two sequences part, the log-probabilities of both tokens.
        """
        task = DecodingTask(self.model, whisper.DecodingOptions(fp16=False, **job["options"]))
        features = self.features(job["audio"][0])[None]
        first, second = ([*tokens, task.tokenizer.eot] for tokens in job["sequences"])
        fork = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
        table = [self._steps(task, features, tokens) for tokens in (first, second)]
        steps = [rows[range(len(tokens)), tokens].tolist() for rows, tokens in zip(table, (first, second), strict=True)]
        rivals = [table[0][fork, tokens[fork]].item() for tokens in (first, second)]
        return [{"fork": fork, "rivals": rivals, "steps": steps}]

    def _steps(self, task: DecodingTask, features: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        """Log-probabilities (n_tokens, n_vocab) after the filters, one row for each token of the sequence."""
        sequence = torch.tensor([[*task.initial_tokens, *tokens]])
        logits = self.model.logits(sequence[:, :-1], features)[0]
        rows = []
        for i in range(len(tokens)):
            row = logits[None, task.sample_begin - 1 + i].clone()
            for logit_filter in task.logit_filters:
                logit_filter.apply(row, sequence[:, : task.sample_begin + i])
            rows.append(row[0].float().log_softmax(dim=-1))
        return torch.stack(rows)


def finished_keys(results: Path) -> set[str]:
    """Keys of the whole lines of a results file; a last line that an interruption cut off is dropped from the file."""
    if not results.is_file():
        return set()
    text = results.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        results.write_text(whole)
    return {json.loads(line)["key"] for line in whole.splitlines()}


def run(job: dict, oracle: Oracle) -> dict:
    """One line of the results file; an error of the rival is a result too."""
    start = time.perf_counter()
    try:
        outcome = {"result": getattr(oracle, job["kind"])(job)}
    except Exception as error:
        outcome = {"error": f"{type(error).__name__}: {error}"}
    return {"key": job["key"], "seconds": round(time.perf_counter() - start, 2), **outcome}


def main() -> None:
    """Run the jobs of a file that the results file lacks."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--version", action="store_true", help="print the versions that results depend on, and stop")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--jobs", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.version:
        print(json.dumps({"openai-whisper": whisper.__version__, "torch": torch.__version__}))
        return
    warnings.filterwarnings("ignore", message="FP16 is not supported on CPU")
    torch.set_num_threads(args.threads)
    done = finished_keys(args.results)
    jobs = [job for job in map(json.loads, args.jobs.read_text().splitlines()) if job["key"] not in done]
    oracle = Oracle(args.checkpoint)
    with args.results.open("a") as out:
        for number, job in enumerate(jobs, 1):
            line = run(job, oracle)
            out.write(json.dumps(line) + "\n")
            out.flush()
            print(f"oracle {number}/{len(jobs)} {job['label']} {line['seconds']} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
