"""Shell completion: what a real shell offers after sourcing the script that `viska completion` prints."""

import shutil
import subprocess

import pytest

from viska.cli import main
from viska.cli.commands import COMMANDS
from viska.cli.completion import SCRIPTS, grammars
from viska.cli.parser import transcribe_parser


@pytest.fixture
def script(tmp_path, capsys):
    """Writes the script of a shell, and returns its path."""

    def write(shell):
        assert main(["completion", shell]) == 0
        path = tmp_path / f"viska.{shell}"
        path.write_text(capsys.readouterr().out)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    """A folder with two recordings, one with a space in its name."""
    path = tmp_path / "recordings"
    path.mkdir()
    for name in ("my talk.wav", "other.wav"):
        (path / name).touch()
    return path


def shell_named(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} on this machine")
    return path


# What bash does on Tab: it fills these variables, calls the function and reads COMPREPLY.
BASH = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
$(complete -p viska | sed 's/.*-F \\([^ ]*\\) .*/\\1/') viska "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
CASES = [
    (["--output_f"], ["--output_format"]),
    (["other.wav", "--word_t"], ["--word_timestamps"]),
    (["other.wav", "--word_timestamps", ""], ["True", "False"]),
    (["--preset", ""], ["bbc", "children", "shorts", "tv"]),
    (["--task", "trans"], ["transcribe", "translate"]),
    (["-f", "js"], ["json"]),
    (["--model", "tiny"], ["tiny.en", "tiny"]),
    (["--language", "d"], ["de", "da"]),
    (["--channel", "a"], ["all"]),
    (["mod"], ["models"]),
    (["m"], ["models", "my talk.wav"]),
    (["models", "f"], ["fetch"]),
    (["models", "rm", "large-v3-"], ["large-v3-turbo"]),
    (["models", "--off"], ["--offline"]),
    (["completion", ""], ["bash", "fish", "zsh"]),
]


@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_bash_offers(script, folder, typed, offered):
    command = [shell_named("bash"), "--norc", "-c", BASH, "bash", str(script("bash")), "viska", *typed]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout.splitlines()) == ("", offered)


def test_bash_leaves_files_to_itself(script, folder):
    path = script("bash")
    command = [shell_named("bash"), "--norc", "-c", BASH, "bash", str(path), "viska", "a.wav", "--output_dir", "o"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""  # and then it completes files itself, because:
    assert "complete -o filenames -o default " in path.read_text()


@pytest.mark.parametrize(("typed", "offered"), CASES)
def test_fish_offers(script, folder, typed, offered):
    line = " ".join(["viska", *typed])
    code = f"source {script('fish')}; complete -C '{line}'"
    done = subprocess.run(
        [shell_named("fish"), "--no-config", "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert {row.split("\t")[0].replace("\\", "") for row in done.stdout.splitlines()} >= set(offered)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_shell_can_read_its_script(script, shell):
    path = script(shell)
    done = subprocess.run([shell_named(shell), "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_flag_of_every_parser_is_completed():
    known = grammars()
    assert set(known) == {"", *COMMANDS}
    flags = {name for flag in known[""].flags for name in flag.names}
    assert flags == {name for action in transcribe_parser()._actions for name in action.option_strings}
    for shell, write in SCRIPTS.items():
        content = write(known)
        assert [flag for flag in flags if flag.startswith("--") and flag.lstrip("-") not in content] == [], shell


def test_a_shell_that_is_not_known_is_told(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["completion", "cmd"])
    assert exit_.value.code == 2
    assert "invalid choice: 'cmd'" in capsys.readouterr().err


def test_help_says_where_the_script_goes(capsys):
    with pytest.raises(SystemExit):
        main(["completion", "--help"])
    assert "~/.local/share/bash-completion/completions/viska" in capsys.readouterr().out
