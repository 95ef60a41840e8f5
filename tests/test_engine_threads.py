"""Programs whose main thread is through while another one transcribes."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import threading

import torch
from made_up import made_up_model
from viska.engine import Engine

def work():
    threading.main_thread().join()
    FURTHER
    engine = Engine(made_up_model(), "float32")
    print(tuple(engine.decoder.logits(torch.zeros(1, engine.decoder.positions.shape[1])).shape))

threading.Thread(target=work).start()
"""


NONE_BEGINS = """
    def refuse(*_):
        raise RuntimeError("can't create new thread at interpreter shutdown")
    threading._start_new_thread = threading._start_joinable_thread = refuse
"""
"""As Python 3.12 does by itself then."""


@pytest.mark.parametrize("further", ["", NONE_BEGINS.strip()])
def test_an_engine_is_made_where_the_main_thread_is_through(further):
    program = PROGRAM.replace("FURTHER", further)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith("(1, ")
