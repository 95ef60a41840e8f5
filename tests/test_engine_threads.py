"""Programs whose main thread is through while another one transcribes."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import threading

import torch
from made_up import made_up_model
from viska.engine import Engine

def work():
    threading.main_thread().join()
    engine = Engine(made_up_model(), "float32")
    print(tuple(engine.decoder.logits(torch.zeros(1, engine.decoder.positions.shape[1])).shape))

threading.Thread(target=work).start()
"""


def test_an_engine_is_made_where_the_main_thread_is_through():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith("(1, ")
