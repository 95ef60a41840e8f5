"""`viska completion SHELL`: a script by which a shell completes commands, flags and their values.

All of it comes from the parsers, so that a new flag is completed at once. File names are left to the shell.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from viska.cli.commands import COMMANDS
from viska.cli.parser import boolean, transcribe_parser
from viska.languages import LANGUAGES

EPILOG = """\
bash:  viska completion bash > ~/.local/share/bash-completion/completions/viska
zsh:   viska completion zsh > "${fpath[1]}/_viska"
fish:  viska completion fish > ~/.config/fish/completions/viska.fish
"""


@dataclass(frozen=True)
class Flag:
    """A flag by all its names, and the values it takes: these words, where it is `closed` nothing else."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    words: tuple[str, ...]
    closed: bool


@dataclass(frozen=True)
class Grammar:
    """What may follow a command: words, and flags."""

    words: tuple[str, ...]
    flags: tuple[Flag, ...]


def completion_parser() -> argparse.ArgumentParser:
    """The parser of `viska completion`."""
    parser = argparse.ArgumentParser(
        prog="viska completion",
        description="Print what makes a shell complete the flags of viska.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=sorted(SCRIPTS), help="whose script to print")
    return parser


def run_completion(flags: argparse.Namespace) -> int:
    """Print the script."""
    print(SCRIPTS[flags.shell](grammars()), end="")
    return 0


def grammars() -> dict[str, Grammar]:
    """The grammar of each command by its name; of transcribing by the empty name."""
    values = _known_values()
    known = {"": _grammar(transcribe_parser(), values)}
    for name, command in COMMANDS.items():
        try:
            known[name] = _grammar(command.parser(), values)
        except ImportError:  # an extra that is not installed
            known[name] = Grammar((), ())
    return known


def _known_values() -> Mapping[str, tuple[str, ...]]:
    """Values that can be told although the parser takes others too."""
    from viska.weights import available_models

    return {
        "model": tuple(available_models()),
        "names": tuple(available_models()),
        "language": tuple(LANGUAGES),
        "channel": ("all", "left", "right"),
        "compat": ("openai",),
        "device": ("cpu", "cuda", "mps"),
    }


def _grammar(parser: argparse.ArgumentParser, values: Mapping[str, tuple[str, ...]]) -> Grammar:
    words: dict[str, None] = {}
    flags: dict[tuple[str, ...], Flag] = {}
    for action in _actions(parser):
        known = _words(action, values)
        if not action.option_strings:
            words |= dict.fromkeys(known)
        elif action.help != argparse.SUPPRESS:
            names = tuple(sorted(action.option_strings, key=len, reverse=True))
            told = (action.help or "").replace("%%", "%")
            closed = action.choices is not None or action.type is boolean
            flags.setdefault(names, Flag(names, told, action.nargs != 0, known, closed))
    return Grammar(tuple(words), tuple(flags.values()))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Those of the parser and of the commands within it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)


def _words(action: argparse.Action, values: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    if action.choices is not None:
        return tuple(map(str, action.choices))
    return ("True", "False") if action.type is boolean else values.get(action.dest, ())


BASH = """\
_viska() {{
  local command= current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words= flags= IFS=$'\\n'
  (( COMP_CWORD > 1 )) && case ${{COMP_WORDS[1]}} in {names}) command=${{COMP_WORDS[1]}} ;; esac
  case $command in
{commands}
  esac
  case $command:$previous in
{values}
    *) [[ $current == -* ]] && words=$flags ;;
  esac
  COMPREPLY=($(compgen -W "${{words// /$'\\n'}}" -- "$current"))
  if (( COMP_CWORD == 1 )) && [[ $current != -* ]]; then
    COMPREPLY=($(compgen -W "{first}" -- "$current"; compgen -f -- "$current"))
  fi
}}
complete -o filenames -o default -o bashdefault -F _viska viska
"""


def bash_script(known: Mapping[str, Grammar]) -> str:
    """The script for bash; files are what it falls back on."""
    commands: list[str] = []
    values: dict[str, list[str]] = {}
    for name, grammar in known.items():
        flags = " ".join(label for flag in grammar.flags for label in flag.names)
        commands.append(f"    {quote(name)}) flags={quote(flags)} words={quote(' '.join(grammar.words))} ;;")
        for flag in grammar.flags:
            if flag.takes_value:
                values.setdefault(" ".join(flag.words), []).extend(f"{name}:{label}" for label in flag.names)
    names = [name for name in known if name]
    return BASH.format(
        names="|".join(names),
        first="\n".join(names),
        commands="\n".join(commands),
        values="\n".join(f"    {'|'.join(flags)}) words={quote(words)} ;;" for words, flags in values.items()),
    )


ZSH = """\
#compdef viska
_viska() {{
  local -a commands=({described})
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe command commands
    _files
    return
  fi
  case $words[2] in
{branches}
  esac
}}
if [[ $funcstack[1] == _viska ]]; then _viska "$@"; else compdef _viska viska; fi
"""


def zsh_script(known: Mapping[str, Grammar]) -> str:
    """The script for zsh, to be put into a folder of `$fpath` as `_viska`, or to be sourced."""
    described = " ".join(quote(f"{name}:{command.help}") for name, command in COMMANDS.items())
    branches = []
    for name, grammar in sorted(known.items(), reverse=True):  # the empty name, which is any word, last
        specs = [_zsh_flag(label, flag) for flag in grammar.flags for label in flag.names]
        positional = quote(f"*: :{_zsh_words(grammar.words, closed=True)}")
        shift = "shift words; (( CURRENT-- )); " if name else ""
        branches.append(f"    {name or '*'}) {shift}_arguments {' '.join(specs)} {positional} ;;")
    return ZSH.format(described=described, branches="\n".join(branches))


def _zsh_flag(label: str, flag: Flag) -> str:
    told = flag.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    return quote(f"{label}[{told}]" + (f": :{_zsh_words(flag.words, flag.closed)}" if flag.takes_value else ""))


def _zsh_words(words: Sequence[str], closed: bool) -> str:
    if not words:
        return "_files"
    listed = f"({' '.join(words)})"
    return listed if closed else rf' _alternative "words\: \:{listed}" "files\: \:_files"'


def fish_script(known: Mapping[str, Grammar]) -> str:
    """The script for fish."""
    names = " ".join(COMMANDS)
    lines = [
        f"complete -c viska -n __fish_use_subcommand -a {name} -d {_fish_quote(command.help)}"
        for name, command in COMMANDS.items()
    ]
    for name, grammar in known.items():
        inside = f"__fish_seen_subcommand_from {name}" if name else f"not __fish_seen_subcommand_from {names}"
        if grammar.words:
            lines.append(f"complete -c viska -f -n '{inside}' -a {_fish_quote(' '.join(grammar.words))}")
        lines += [f"complete -c viska -n '{inside}' {_fish_flag(flag)}" for flag in grammar.flags]
    return "\n".join([*lines, ""])


def _fish_flag(flag: Flag) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    value = (" -x" if flag.closed else " -r") if flag.takes_value else ""  # -r goes on to offer files
    words = f" -a {_fish_quote(' '.join(flag.words))}" if flag.words else ""
    return f"{names}{value}{words} -d {_fish_quote(flag.help)}"


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS: Mapping[str, Callable[[Mapping[str, Grammar]], str]] = {
    "bash": bash_script,
    "zsh": zsh_script,
    "fish": fish_script,
}
