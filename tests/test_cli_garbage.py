"""What the command line spares itself of Python's search for garbage, in processes of its own."""

import gc
import subprocess
import sys

import torch

from viska.cli.garbage import imports_kept


def output_of(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_imports_are_not_searched_and_later_objects_are():
    code = """
import gc
from viska.cli.garbage import imports_kept
with imports_kept():
    inside = gc.isenabled()
    kept = [[] for _ in range(1000)]
print(inside, gc.isenabled(), gc.get_freeze_count() >= 1000)
"""
    assert output_of(code) == "False True True"


def test_the_search_goes_on_after_an_import_that_failed():
    code = """
import gc
from viska.cli.garbage import imports_kept
try:
    with imports_kept():
        import no_such_module
except ImportError:
    print(gc.isenabled())
"""
    assert output_of(code) == "True"


def test_where_torch_is_there_already_nothing_changes():
    assert torch.__name__ in sys.modules
    before = gc.get_freeze_count()
    with imports_kept():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_whoever_has_turned_the_search_off_finds_it_so():
    code = """
import gc
from viska.cli.garbage import imports_kept
gc.disable()
before = gc.get_freeze_count()
with imports_kept():
    pass
print(gc.isenabled(), gc.get_freeze_count() - before)
"""
    assert output_of(code) == "False 0"


def test_nothing_is_searched_at_the_end_of_the_process_and_all_is_written():
    code = """
import atexit, gc
atexit.register(lambda: print("frozen", gc.get_freeze_count() > 0))
from viska.cli.main import main
main(["completion", "bash"])
"""
    assert output_of(code).endswith("frozen True")
