"""What happens when a wheel is built: compiled code where it can be, a wheel of Python alone elsewhere."""

import importlib.util
import platform
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


class App:
    """Hatch, as far as the hook talks to it."""

    def __init__(self):
        self.warnings = []

    def display_warning(self, message):
        self.warnings.append(message)


@pytest.fixture
def build(monkeypatch, tmp_path):
    """The hook, which writes to a folder of its own, on a Linux machine."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "NATIVE", tmp_path)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return module


def hook(module, target="wheel"):
    made = module.NativeBuild(str(ROOT), {}, None, None, str(ROOT), target, App())
    data = {"artifacts": [], "pure_python": True}
    made.initialize("standard", data)
    return data, made.app.warnings


def pretend(monkeypatch, module, compiler):
    """Commands of the compiler, which wrote what `compiler` gives for each."""
    commands = []

    def run(command, **_options):
        commands.append(command)
        Path(command[command.index("-o") + 1]).write_bytes(compiler(command))

    monkeypatch.setattr(module.subprocess, "run", run)
    return commands


def test_each_set_of_instructions_is_compiled_and_the_wheel_is_for_this_platform(build, monkeypatch, tmp_path):
    (tmp_path / "decoder.c").touch()
    commands = pretend(monkeypatch, build, lambda command: command[-1].encode())
    data, warnings = hook(build)
    assert warnings == []
    assert data["pure_python"] is False
    assert data["tag"] == "py3-none-manylinux_2_17_x86_64"
    names = ["kernels-avx2.so", "kernels-avx512.so", "kernels-avx512bf16.so"]
    assert data["artifacts"] == [f"src/viska/engine/native/{name}" for name in names]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decoder.c", *names]
    assert ["-mcpu=x86_64_v3" in command for command in commands] == [True, False, False]


@pytest.mark.parametrize("failure", [OSError("no such file"), subprocess.CalledProcessError(1, "zig", stderr="bad C")])
def test_what_cannot_be_compiled_is_told_and_left_out(build, monkeypatch, tmp_path, failure):
    def fails(*_arguments, **_options):
        raise failure

    monkeypatch.setattr(build.subprocess, "run", fails)
    data, (warning,) = hook(build)
    assert data == {"artifacts": [], "pure_python": True}
    assert "compiled code is left out" in warning
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "aarch64")])
def test_elsewhere_nothing_is_compiled(build, monkeypatch, system, machine):
    commands = pretend(monkeypatch, build, lambda _: b"")
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert hook(build) == ({"artifacts": [], "pure_python": True}, [])
    assert commands == []


def test_a_source_distribution_needs_no_compiler(build, monkeypatch):
    commands = pretend(monkeypatch, build, lambda _: b"")
    assert hook(build, "sdist")[0]["pure_python"] is True
    assert commands == []
