"""The package as a whole: public names, light import, budgets of the source, documentation that runs."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import viska

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src" / "viska").rglob("*.py"))

WHISPER_NAMES = {
    "load_model",
    "available_models",
    "load_audio",
    "log_mel_spectrogram",
    "pad_or_trim",
    "DecodingOptions",
    "DecodingResult",
    "decode",
    "detect_language",
    "transcribe",
    "ModelDimensions",
    "Whisper",
}


def test_the_names_of_the_whisper_module_are_there():
    assert set(viska.__all__) >= WHISPER_NAMES
    assert viska.__all__ == sorted(viska.__all__)
    for name in viska.__all__:
        assert getattr(viska, name) is not None
        assert name in dir(viska)
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        viska.no_such_name  # noqa: B018


@pytest.mark.parametrize("submodule", ["audio", "decoding", "model", "tokenizer", "errors", "formats", "weights"])
def test_submodules_are_found_as_attributes(submodule):
    code = f"import viska; assert viska.{submodule}.__name__ == 'viska.{submodule}'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_loads_nothing_heavy():
    code = "import sys, viska; print(sorted({'torch', 'numpy', 'av', 'tiktoken', 'requests'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "first",
    ["import viska.transcribe", "from viska.transcribe import transcribe", "from viska import transcribe", "pass"],
)
def test_transcribe_is_callable_and_a_module_in_whatever_order_it_is_imported(first):
    code = f"""
import viska
{first}
from viska.transcribe import cli, transcribe
import inspect
assert callable(viska.transcribe) and callable(transcribe) and callable(cli)
assert list(inspect.signature(viska.transcribe).parameters)[:2] == ["model", "audio"]
try:
    viska.transcribe(None, b"")
except ValueError:
    raise SystemExit(0)  # it was called, and None is no model
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_is_typed_and_its_version_is_in_the_changelog():
    assert (ROOT / "src" / "viska" / "py.typed").is_file()
    assert re.search(
        rf"^## \[{re.escape(viska.__version__)}\] - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


def test_every_dependency_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    explained = (ROOT / "docs" / "dependencies.md").read_text()
    everything = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = [re.split(r"[<>=\[ ]", requirement)[0] for requirement in everything]
    assert len(names) > 10
    assert [name for name in names if name not in explained] == []
    pinned = (ROOT / "constraints.txt").read_text()
    assert [name for name in names if not re.search(rf"^{re.escape(name)}==", pinned, re.M)] == []


def functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_functions_and_modules_fit_in_the_head(path):
    assert len(path.read_text().splitlines()) <= 450
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions(path)}
    assert {name: lines for name, lines in long.items() if lines >= 60} == {}


def test_tests_are_worth_their_share_of_the_source():
    lines = {
        kind: sum(len(path.read_text().splitlines()) for path in paths)
        for kind, paths in {"src": SOURCES, "tests": (ROOT / "tests").rglob("*.py")}.items()
    }
    assert lines["tests"] >= 0.6 * lines["src"]


def test_errors_stand_in_the_tree_that_their_module_draws():
    from viska import errors

    classes = [item for item in vars(errors).values() if inspect.isclass(item)]
    assert len(classes) >= 9
    for class_ in classes:
        assert issubclass(class_, errors.ViskaError)
        assert class_.__name__ in errors.__doc__
    assert issubclass(errors.AudioError, RuntimeError)
    assert issubclass(errors.OptionError, ValueError)
    assert issubclass(errors.OutputError, OSError)


def test_the_python_of_the_readme_runs(base, monkeypatch, capsys):
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(viska, "load_model", lambda name: {"base": base}[name])
    exec(snippet, {})
    assert "Mr. John Dashwood had then leisure to consider" in capsys.readouterr().out
