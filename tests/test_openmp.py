"""What torch's OpenMP is told before torch is loaded: how long to wait, and with how many threads to compute."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viska import _openmp
from viska._openmp import LOOKS, prepare

UNIFIED, OWN = "0::/services/viska\n", "sys/fs/cgroup/services/viska"
SPLIT = "9:memory:/a\n4:cpu,cpuacct:/docker/0123abcd\n1:name=systemd:/b\n"


@pytest.fixture(autouse=True)
def before_torch(monkeypatch):
    """As it is when viska is imported first, on a machine of eight processors."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(_openmp.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(_openmp.os, "cpu_count", lambda: 8)


def system(root, files, groups=UNIFIED):
    """The files that a system would show."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def told(root, **given):
    prepare(given, root)
    return given


def threads(root):
    return told(root).get("OMP_NUM_THREADS")


def test_waiting_threads_sleep_soon(tmp_path):
    assert told(tmp_path) == {"GOMP_SPINCOUNT": LOOKS}


@pytest.mark.parametrize("own", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": ""}])
def test_what_the_user_says_of_waiting_holds(own, tmp_path):
    assert told(tmp_path, **own) == own


def test_what_the_user_says_of_threads_holds(tmp_path):
    root = system(tmp_path, {f"{OWN}/cpu.max": "200000 100000\n"})
    assert told(root, OMP_NUM_THREADS="5")["OMP_NUM_THREADS"] == "5"


def test_once_torch_is_loaded_nothing_would_be_read(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", object())
    assert told(system(tmp_path, {f"{OWN}/cpu.max": "200000 100000\n"})) == {}


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000", "2"),
        ("150000 100000", "2"),
        ("10000 100000", "1"),
        ("50000 10000", "5"),
        ("799999 100000", "8"),
        ("800000 100000", None),
        ("1600000 100000", None),
        ("max 100000", None),
    ],
)
def test_no_more_threads_than_a_group_is_granted_processors(quota, expected, tmp_path):
    assert threads(system(tmp_path, {f"{OWN}/cpu.max": quota + "\n"})) == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", "3"), ("-1", None)])
def test_groups_of_version_1(quota, expected, tmp_path):
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/0123abcd"
    files = {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}
    assert threads(system(tmp_path, files, SPLIT)) == expected


@pytest.mark.parametrize("groups", [UNIFIED, "0::/../../elsewhere\n", "0::/\n"])
def test_within_a_container_the_files_lie_at_the_top(groups, tmp_path):
    assert threads(system(tmp_path, {"sys/fs/cgroup/cpu.max": "400000 100000\n"}, groups)) == "4"


def test_of_groups_in_groups_the_narrowest_counts(tmp_path):
    files = {f"{OWN}/cpu.max": "max 100000\n", "sys/fs/cgroup/services/cpu.max": "300000 100000\n"}
    assert threads(system(tmp_path, files)) == "3"
    assert threads(system(tmp_path, {f"{OWN}/cpu.max": "500000 100000\n"})) == "3"
    assert threads(system(tmp_path, {f"{OWN}/cpu.max": "100000 100000\n"})) == "1"


def test_two_hardware_threads_of_a_core_count_once(tmp_path):
    root = system(tmp_path, {f"{OWN}/cpu.max": "400000 100000\n", "sys/devices/system/cpu/smt/active": "1\n"})
    assert threads(root) is None  # four cores, which torch takes by itself
    assert threads(system(root, {f"{OWN}/cpu.max": "300000 100000\n"})) == "3"
    assert threads(system(root, {f"{OWN}/cpu.max": "600000 100000\n"})) is None


def test_processors_that_the_process_may_not_run_on_do_not_count(monkeypatch, tmp_path):
    monkeypatch.setattr(_openmp.os, "sched_getaffinity", lambda _: {3, 5})
    monkeypatch.setattr(_openmp.sys, "platform", "linux")
    assert threads(system(tmp_path, {f"{OWN}/cpu.max": "400000 100000\n"})) is None


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_odd_files_are_no_reason_to_fail(tmp_path_factory, groups, quota):
    root = tmp_path_factory.mktemp("system")
    odd = system(root, {"sys/fs/cgroup/cpu.max": quota, "sys/devices/system/cpu/smt/active": quota})
    (odd / "proc/self/cgroup").write_bytes(b"0::/\n" + groups)
    found = told(odd)
    assert found.pop("GOMP_SPINCOUNT") == LOOKS
    assert set(found) <= {"OMP_NUM_THREADS"}
    assert 1 <= int(found.get("OMP_NUM_THREADS", 1)) <= 8


def test_import_tells_it_before_torch_is_there():
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = "import os, sys, viska; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [LOOKS, "False"]
