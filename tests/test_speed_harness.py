"""The harness that measures speed: what is asked, how results are compared, shown, stored and guarded."""

import json
import os
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks.speed import __main__ as command
from benchmarks.speed import contenders, docs, gate, ggml, goals, machine, race, report, work
from benchmarks.speed.client import Worker, WorkerError
from benchmarks.speed.contenders import Contender
from benchmarks.speed.engines import CPP, FASTER, ISAS, VISKA, Engines
from benchmarks.speed.errors import error_rate
from benchmarks.speed.race import Race, Result
from benchmarks.speed.recordings import Recording, Recordings, evenly, seconds_of
from benchmarks.speed.stages import Clock
from hypothesis import given
from hypothesis import strategies as st

import viska
from viska._openmp import LOOKS
from viska.engine.plan import ComputePlan

BASE = viska.ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6)
WORKER = """
import sys
sys.path.insert(0, {folder!r})
from protocol import serve

def each(path, options):
    print("a library that talks")
    if path == "bad":
        raise ValueError("no such sound")
    return {{"text": path + str(options["beam_size"]), "language": "en"}}

serve(lambda args: (each, None, {{"weights": args.weights}}))
"""


def recording(name="a.wav", language="en", duration_s=10.0, text="And so my fellow Americans"):
    return Recording(Path(name), language, duration_s, text)


def result(engine=VISKA, compute_type="auto", seconds=(2.0,), note="", **fields):
    return Result(Contender(engine, compute_type, note=note), list(seconds), **fields)


def raced(*results, key="long greedy", audio_s=60.0):
    return Race(key, "Long", audio_s, list(results))


# --- what is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choose", [contenders.batched, contenders.sequential, contenders.short])
@pytest.mark.parametrize("beam_size", [1, 5])
def test_a_race_has_one_baseline_and_names_tell_contenders_apart(choose, beam_size):
    chosen = choose(beam_size)
    assert [each.name for each in chosen if each.is_baseline] == ["viska auto"]
    assert len({each.name for each in chosen}) == len(chosen)


def test_a_quick_run_keeps_the_baseline_and_every_engine():
    for chosen in (*(contenders.sequential(n) for n in (1, 5)), contenders.many()):
        kept = contenders.essential(chosen)
        assert len(kept) < len(chosen)
        assert {each.engine for each in kept} == {each.engine for each in chosen}
        assert sum(each.is_baseline for each in kept) == 1


def test_many_files_and_the_ladder_have_a_baseline_too():
    for chosen in (contenders.many(), contenders.ladder()):
        assert sum(each.is_baseline for each in chosen) == 1


def test_one_beam_is_told_to_viska_as_none_and_to_the_others_as_one():
    options = {each.engine: each.options for each in contenders.sequential(1)}
    assert "beam_size" not in options[VISKA]
    assert options[FASTER]["beam_size"] == 1
    assert {each.engine: each.options for each in contenders.sequential(5)}[VISKA]["beam_size"] == 5


def test_viska_accepts_the_options_that_it_is_asked_with():
    from viska.transcription.options import transcribe_options

    tables = [choose(n) for choose in (contenders.batched, contenders.sequential, contenders.short) for n in (1, 5)]
    for chosen in (*tables, contenders.many(), contenders.ladder()):
        for each in chosen:
            if each.engine == VISKA:
                transcribe_options(each.options)


def write_manifest(folder: Path, lines):
    (folder / "manifest.jsonl").write_text("".join(json.dumps({"kind": "short", **line}) + "\n" for line in lines))


def test_recordings_without_a_whole_reference_are_left_out(tmp_path):
    write_manifest(
        tmp_path,
        [
            {"path": "long.wav", "language": "en", "duration": 90.0, "text": "so"},
            {"path": "longer.wav", "language": "en", "duration": 99.0, "text": "so"},
            {"path": "partial.wav", "language": "en", "duration": 90.0, "text": None},
            {"path": "clip.wav", "language": "en", "duration": 3.0, "text": "so"},
            {"path": "brief.wav", "language": "en", "duration": 1.0, "text": "so"},
            {"path": "clip_de.wav", "language": "de", "duration": 3.0, "text": "so"},
        ],
    )
    found = Recordings(tmp_path)
    assert [each.path.name for each in found.long()] == ["longer.wav", "long.wav"]
    assert [each.path.name for each in found.short(9)] == ["clip.wav"]
    assert [each.path.name for each in found.small(9)] == ["brief.wav", "clip.wav", "clip_de.wav"]


def test_a_folder_without_long_recordings_is_refused(tmp_path):
    write_manifest(tmp_path, [{"path": "clip.wav", "language": "en", "duration": 3.0, "text": "so"}])
    with pytest.raises(SystemExit, match="no English recording"):
        Recordings(tmp_path)


@given(st.integers(1, 60), st.integers(1, 60))
def test_evenly_takes_as_many_as_asked_in_order(n, count):
    pieces = [recording(str(number)) for number in range(n)]
    taken = [int(str(each.path)) for each in evenly(pieces, count)]
    assert taken == sorted(set(taken))
    assert len(taken) == min(n, count)


def test_about_takes_the_longest_that_fit_and_never_none():
    pieces = [recording(duration_s=seconds) for seconds in (600.0, 150.0, 60.0, 50.0)]
    assert [each.duration_s for each in command.about(pieces, 200)] == [150.0, 60.0]
    assert [each.duration_s for each in command.about(pieces, 10)] == [50.0]
    assert seconds_of(pieces) == 860.0


# --- who answers -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stand_in(tmp_path):
    """Engines whose workers are a small program."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(folder=str(Path(race.__file__).with_name("workers"))))

    def command_of(engine, compute_type):
        return [sys.executable, str(script), "--weights=w", f"--compute-type={compute_type}", "--threads=1"]

    return SimpleNamespace(command=command_of, variables=None, log_folder=tmp_path)


def test_a_worker_answers_in_order_and_keeps_what_libraries_print_apart(stand_in):
    with Worker(Contender(FASTER, "int8", {"beam_size": 5}), stand_in) as worker:
        answer = worker.transcribe([recording("x"), recording("y")])
    assert [one["text"] for one in answer["answers"]] == ["x5", "y5"]
    assert answer["seconds"] >= sum(one["seconds"] for one in answer["answers"]) >= 0
    assert answer["peak_bytes"] > 1e6
    assert worker.versions == {"weights": "w"}
    assert "a library that talks" in worker.log.read_text()


def test_an_error_of_a_contender_names_it_and_the_next_request_is_answered(stand_in):
    with Worker(Contender(FASTER, "int8", {"beam_size": 5}), stand_in) as worker:
        with pytest.raises(WorkerError, match="faster-whisper int8: ValueError: no such sound"):
            worker.transcribe([recording("bad")])
        assert worker.transcribe([recording("x")])["answers"][0]["text"] == "x5"


def test_a_contender_that_does_not_start_is_an_error(stand_in):
    stand_in.command = lambda *_: [sys.executable, "-c", "raise SystemExit('gone')"]
    with pytest.raises(WorkerError, match="gone"):
        Worker(Contender(FASTER, "int8"), stand_in)


def test_a_race_goes_on_without_those_that_fail(stand_in):
    contenders_ = [Contender(VISKA, "auto", {"beam_size": 1}), Contender(FASTER, "int8", {})]
    found = race.race("long greedy", "Long", contenders_, stand_in, [recording("and so")], [recording("w")], 2)
    assert [each.contender.engine for each in found.finished] == [VISKA]
    assert len(found.baseline.seconds) == 2
    assert "KeyError" in found.results[1].failure
    assert "faster-whisper int8: KeyError" not in report.race_table(found).splitlines()[0]
    assert "KeyError" in report.race_table(found)


def test_the_hopeless_are_not_asked_again_but_the_baseline_is():
    slow, best, ours = result(FASTER, "float32", [3.0]), result(FASTER, "int8", [1.0]), result(seconds=[9.0])
    found = raced(ours, result(compute_type="int8", seconds=[1.0]), slow, best)
    assert not race.worth_asking(slow, found)
    assert race.worth_asking(best, found)
    assert race.worth_asking(ours, found)
    assert race.worth_asking(result(CPP, "q8_0", []), found)


def test_only_avx2_reaches_every_library(monkeypatch):
    monkeypatch.setenv("UNRELATED", "kept")
    variables = Engines("base", 2, "avx2").variables
    assert variables["OMP_NUM_THREADS"] == "2"
    assert variables["UNRELATED"] == "kept"
    assert ISAS["avx2"].items() <= variables.items()
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert Engines("base", 2).variables == {**os.environ, "OMP_NUM_THREADS": "2"}


def test_rivals_do_not_wait_as_viska_does_but_as_they_or_users_would(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", LOOKS)  # which `import viska` sets
    assert "GOMP_SPINCOUNT" not in Engines("base", 2).variables
    monkeypatch.setenv("GOMP_SPINCOUNT", "12345")
    assert Engines("base", 2).variables["GOMP_SPINCOUNT"] == "12345"


def test_another_program_is_there_while_it_lasts_and_gone_behind():
    with machine.beside_another_program() as other:
        assert other.poll() is None
        assert os.getsid(other.pid) == other.pid
    assert other.poll() is not None


# --- what came of it -------------------------------------------------------------------------------------------------


def test_errors_count_over_all_words_after_normalisation():
    said = [recording(text="Mr. Smith's colour, twenty-five!"), recording(text="one two three", language="de")]
    assert error_rate(said, ["mister smith's color 25", "one two three"]) == 0
    assert error_rate(said[1:], ["one too three four"]) == pytest.approx(2 / 3)
    assert error_rate([recording(text="日本語", language="ja")], ["日本"]) == pytest.approx(1 / 3)


def test_ratios_are_those_of_the_fastest_rival_over_viska_as_it_is():
    found = raced(
        result(seconds=[4.0, 2.0, 3.0]), result(compute_type="int8", seconds=[1.0]),
        result(FASTER, "float32", [9.0]), result(FASTER, "int8", [6.0]), result(CPP, "q8_0", []),
    )  # fmt: skip
    assert goals.ratios([found]) == {"long greedy: faster-whisper": 2.0}
    assert "reached" in goals.verdicts({"long greedy: faster-whisper": 2.0})[0]
    assert "enough" in goals.verdicts({"long greedy: faster-whisper": 1.6})[0]
    assert "NOT ENOUGH" in goals.verdicts({"long greedy: faster-whisper": 1.4})[0]


def test_what_a_user_has_to_do_by_hand_is_a_rival_of_its_own():
    joined = result(FASTER, "int8", [3.0], note="joined by hand, batch 8")
    found = goals.ratios([raced(result(), result(FASTER, "int8", [8.0]), joined, key="many")])
    assert found == {"many: faster-whisper": 4.0, "many: faster-whisper, joined by hand": 1.5}
    lines = goals.verdicts(found)
    assert "enough" in lines[0]
    assert lines[1].endswith("1.50")


def test_short_clips_are_compared_by_the_median_latency():
    ours = result(seconds=[9.0, 9.0], each=[[0.1, 0.2, 8.0], [0.3, 0.2, 8.0]])
    theirs = result(FASTER, "int8", [1.0], each=[[0.4, 0.4, 0.4]])
    found = raced(ours, theirs, key="short greedy")
    assert ours.latencies() == [0.2, 0.2, 8.0]
    assert goals.ratios([found]) == {"short greedy: faster-whisper": pytest.approx(2.0)}
    assert "200" in report.race_table(found)
    assert "8000" in report.race_table(found)


def test_every_goal_belongs_to_a_race_that_is_run():
    keys = {"long greedy", "long beam 5", "sequential greedy", "sequential beam 5", "short greedy", "short beam 5"}
    assert {goal.ratio.split(":")[0] for goal in goals.GOALS} == keys | {"cold", "many"}


def test_a_table_shows_speed_ratio_errors_and_memory():
    ours = result(seconds=[2.0], error_rate=0.051, peak_bytes=700 * 2**20)
    found = raced(ours, result(FASTER, "int8", [6.0], disturbed=[0.4]))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.race_table(found).splitlines()[2:4]]
    assert rows[0] == ["**viska auto**", "2.00", "1", "30.0", "1.00", "5.1", "700"]
    assert rows[1][:5] == ["faster-whisper int8", "6.00", "1", "10.0", "3.00"]
    assert "40 % of one processor" in report.race_table(found)
    json.dumps(report.race_json(found))


def test_stages_within_stages_are_counted_once():
    clock = Clock()
    inner = clock.wrap("inner", lambda: sum(range(200_000)), lambda: 0.5)
    outer = clock.wrap("outer", lambda: inner() and inner(), lambda: 0.0)
    outer()
    assert clock.calls == {"inner": 2, "outer": 1}
    assert clock.floors["inner"] == 1.0
    assert clock.seconds["outer"] < clock.seconds["inner"] / 2


def test_the_encoder_is_told_beside_the_machines_own_product():
    line = report.encoder_line({"encoder": 240e9, "product": 320e9})
    assert "240 of 320 Gop/s, 75 % (medians)" in line


def test_the_work_of_base_is_what_is_known_of_it():
    todo = work.Work(BASE, ComputePlan("float32", "float32", torch.float32))
    assert todo.encode(3000) == pytest.approx(87.4e9, rel=0.01)
    assert todo.hear(1500) == pytest.approx(2 * 1500 * 512 * 512 * 12)
    assert todo.step_bytes(1500, 0, 1) == pytest.approx(194e6 + 37e6, rel=0.01)
    small = work.Work(BASE, ComputePlan("bfloat16", "int8", torch.bfloat16))
    assert small.step_bytes(1500, 0, 1) == pytest.approx(49e6 + 18e6, rel=0.02)


def test_the_machine_says_what_it_is():
    assert set(machine.describe("avx2")) == {"processor", "instructions", "cores", "load", "date"}
    assert machine.busy_seconds() >= 0


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_the_page_gets_the_parts_of_a_run_and_keeps_the_others():
    page = "<!-- a -->\nold\n<!-- end -->\ntext\n<!-- b -->\nkept\n<!-- end -->\n"
    once = docs.fill(page, {"a": r"new \1", "missing": "x"})
    assert once == "<!-- a -->\n\nnew \\1\n\n<!-- end -->\ntext\n<!-- b -->\nkept\n<!-- end -->\n"
    assert docs.fill(once, {"a": r"new \1"}) == once


def test_the_page_has_a_place_for_every_part():
    page = docs.PAGE.read_text()
    keys = {goal.ratio.split(":")[0] for goal in goals.GOALS} | {
        "machine",
        "ceilings",
        "stages",
        "goals",
        "ladder",
        "memory",
    }
    for key in keys:
        assert f"<!-- {key} -->\n" in page


def run_of(ratios, **fields):
    return json.dumps({"model": "base", "quick": True, "isa": "native", "ratios": ratios, **fields})


def test_the_gate_stores_ratios_and_sees_them_fall(tmp_path, capsys):
    run, stored = tmp_path / "run.txt", tmp_path / "ratios.json"

    def pass_gate(ratios, *options, **fields):
        run.write_text(f"# a report\n{run_of(ratios, **fields)}\n")
        return gate.main([str(run), f"--stored={stored}", *options])

    assert pass_gate({"many: x": 3.0}) == 2
    assert pass_gate({"many: x": 3.0, "cold: x": 1.2}, "--store") == 0
    assert pass_gate({"many: x": 2.8}) == 0
    assert pass_gate({"many: x": 2.6}) == 1
    assert "many: x: 3.00 -> 2.60" in capsys.readouterr().out
    assert pass_gate({"many: x": 2.6}, "--tolerance=0.2") == 0
    assert pass_gate({"new: x": 9.0}) == 1  # nothing was compared
    assert pass_gate({"many: x": 2.6}, isa="avx2") == 2


def test_modes_that_do_not_exist_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.parse(["--modes", "long,fast"])
    assert "no such modes: fast" in capsys.readouterr().err
    assert "memory" not in command.parse(["--quick"]).modes
    assert command.parse(["--modes", "memory"]).modes == ["memory"]


# --- whisper.cpp's files ---------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-8, 8, width=32), min_size=32, max_size=32))
def test_blocks_of_eight_bits_come_back_within_half_a_step(values):
    block = np.array(values, dtype=np.float32)
    packed = ggml.q8_0(block)
    scale = float(np.frombuffer(packed[:2], "<f2")[0])
    restored = np.frombuffer(packed[2:], "i1") * scale
    assert len(packed) == 34
    assert np.abs(restored - block).max() <= np.abs(block).max() * (0.5 / 127 + 1e-3) + 1e-4


def read_tensors(file):
    """Name -> (type, shape) of what stands behind the vocabulary, as far as the file goes."""
    found = {}
    while head := file.read(12):
        n_dims, length, kind = struct.unpack("<3i", head)
        shape = struct.unpack(f"<{n_dims}i", file.read(4 * n_dims))[::-1]
        name = file.read(length).decode()
        n = int(np.prod(shape))
        file.seek({ggml.FLOAT32: 4 * n, ggml.FLOAT16: 2 * n, ggml.Q8_0: n // 32 * 34}[kind], 1)
        found[name] = (kind, shape)
    return found


@pytest.mark.parametrize(("number_format", "kind"), [("float16", ggml.FLOAT16), ("q8_0", ggml.Q8_0)])
def test_a_ggml_file_has_every_tensor_once_in_the_type_asked_for(tmp_path, number_format, kind):
    dims = viska.ModelDimensions(80, 16, 64, 2, 1, 51865, 16, 64, 2, 1)
    model = viska.Whisper(dims)
    path = ggml.write_ggml(model, tmp_path / "m.bin", number_format)
    with path.open("rb") as file:
        numbers = struct.unpack("<12i", file.read(48))
        n_mels, n_frequencies = struct.unpack("<2i", file.read(8))
        file.seek(4 * n_mels * n_frequencies, 1)
        words = [file.read(struct.unpack("<i", file.read(4))[0]) for _ in range(struct.unpack("<i", file.read(4))[0])]
        tensors = read_tensors(file)
    assert numbers[:6] == (ggml.MAGIC, 51865, 16, 64, 2, 1)
    assert numbers[-2:] == (80, ggml.FILE_TYPES[number_format])
    assert words[:2] == [b"!", b'"']
    assert len(words) == 50257
    assert set(tensors) == set(model.state_dict())
    assert tensors["decoder.token_embedding.weight"] == (kind, (51865, 64))
    assert tensors["encoder.conv1.weight"][0] == ggml.FLOAT16
    assert tensors["encoder.conv1.bias"] == (ggml.FLOAT32, (64, 1))
    assert tensors["decoder.positional_embedding"][0] == ggml.FLOAT32
