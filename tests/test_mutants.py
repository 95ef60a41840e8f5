"""The tests notice a change of a central line: each mutant of the source makes one of them fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow

MUTANTS = [
    # timestamp rules
    ("decoding/filters.py", "last + (not closes_segment)", "last", "filters"),
    ("decoding/filters.py", "last + (not closes_segment)", "last + 1", "filters"),
    ("decoding/filters.py", "len(sampled) < 2 or self._is_timestamp(sampled[-2])", "len(sampled) < 2", "filters"),
    ("decoding/filters.py", "index + 1 : end", "index : end", "filters"),
    ("decoding/filters.py", "timestamps > likeliest_other", "timestamps < likeliest_other", "filters"),
    ("decoding/filters.py", "tokens.shape[1] == self.sample_begin", "tokens.shape[1] > self.sample_begin", "filters"),
    # search and ranking
    ("decoding/search.py", "self.beam_size + 1, dim=-1", "self.beam_size, dim=-1", "search"),
    ("decoding/search.py", "reverse=True", "reverse=False", "search"),
    ("decoding/search.py", "chosen * ~finished", "chosen", "search"),
    ("decoding/search.py", "logits.float() / self.temperature", "logits.float()", "search"),
    ("decoding/search.py", "self.inference.rearrange_kv_cache(source_indices)", "pass", "search"),
    ("decoding/search.py", "len(found) >= self.max_candidates:", "len(found) > self.max_candidates:", "search"),
    ("decoding/ranking.py", "(5 + length) / 6", "(6 + length) / 6", "search"),
    ("decoding/ranking.py", "logprob / max(length, 1)", "logprob", "search"),
    # caches
    ("decoding/inference.py", "[source_indices].detach()", ".detach()", "search"),
    ("decoding/inference.py", "tokens[:, -1:]", "tokens", "search"),
    ("model.py", "output.shape[1] > n_text_ctx", "output.shape[1] >= n_text_ctx", "model"),
    ("model.py", "is not owner", "is owner", "model"),
    ("model.py", "offset : offset + n_tokens", ": n_tokens", "model"),
    ("model.py", "mask[n_keys - n_queries : n_keys, :n_keys]", "mask[:n_queries, :n_keys]", "model"),
    # prompt and result
    ("decoding/prompt.py", "-(n_ctx // 2 - 1) :", "-(n_ctx // 2) :", "decoding"),
    ("decoding/task.py", "(len(tokens) + 1)", "len(tokens)", "decoding"),
    ("decoding/task.py", "logits[:, self.sot_index]", "logits[:, 0]", "decoding"),
    # seek
    ("transcription/splitter.py", "FRAMES_PER_TIMESTAMP = 2", "FRAMES_PER_TIMESTAMP = 1", "transcription"),
    ("transcription/splitter.py", "== [False, True]", "== [True, True]", "transcription"),
    ("transcription/planner.py", "consumed if consumed > 0 else window.size", "consumed", "transcription"),
    ("transcription/planner.py", "min(N_FRAMES, end - self.seek)", "N_FRAMES", "transcription"),
    ("transcription/planner.py", "temperature > PROMPT_RESET_TEMPERATURE", "temperature > 1", "transcription"),
    ("transcription/fallback.py", "unsound and not hopeless", "unsound", "transcription"),
]


@pytest.mark.parametrize(("file", "line", "mutated", "tests"), MUTANTS)
def test_a_mutant_is_noticed(file, line, mutated, tests, tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    source = tmp_path / "src" / "viska" / file
    text = source.read_text()
    assert line in text, "the line to mutate is not there any more"
    source.write_text(text.replace(line, mutated))
    # A folder on PYTHONPATH comes before the installed checkout.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/test_{tests}.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, f"no test failed:\n{done.stdout[-2000:]}"
