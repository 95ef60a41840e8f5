"""`viska eval MANIFEST`: how good the transcripts of recordings are. `viska eval --compare A B`: which run is better.

The figures go to stdout, everything else to stderr.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viska.cli.parser import add_transcription_flags
from viska.cli.show import discard_output, output_full, tell, visible
from viska.errors import OptionError, OutputError, ViskaError

if TYPE_CHECKING:
    from viska.evaluation.manifest import Clip
    from viska.evaluation.run import Engine
    from viska.evaluation.score import Score
    from viska.evaluation.storage import Report

OWN = (
    "manifest",
    "compare",
    "hypotheses",
    "name",
    "limit",
    "only_kinds",
    "only_languages",
    "json",
    "html",
    "embed_audio",
)
"""Flags that say what to measure and where to, and not how to transcribe."""

EPILOG = """\
A manifest has one JSON object a line: {"path": "a.wav", "language": "en", "kind": "short", "text": "what is said"}.
Its paths are relative to it. text null: unknown, or nothing for the kinds noise, silence and music. partial_text: a
reference that leaves out an introduction or an ending. language mul: several, named in languages. segments: the times
of phrases, as [start, end, text].

The exit status is 1 where a recording could not be transcribed; the others are measured all the same. Ctrl-C writes the
reports of those that are done.
"""


def eval_parser() -> argparse.ArgumentParser:
    """The parser of `viska eval`: its own flags, and those of `viska AUDIO...` about how to transcribe."""
    parser = argparse.ArgumentParser(
        prog="viska eval", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "manifest", nargs="?", metavar="MANIFEST", help="recordings and what is said in them, as JSON lines"
    )
    parser.add_argument("--compare", nargs=2, metavar="REPORT", help="two reports of --json to set side by side")
    parser.add_argument(
        "--hypotheses", metavar="FILE", help="score these JSON lines {path, text, ...} of another engine"
    )
    parser.add_argument("--name", help="of the run, in reports (default: the model's, or that of the hypotheses)")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N recordings alone")
    parser.add_argument("--only_kinds", type=_listed, metavar="KIND,...", help="recordings of these kinds alone")
    parser.add_argument(
        "--only_languages", type=_listed, metavar="CODE,...", help="in these languages alone; none: no language"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures and scores")
    parser.add_argument("--html", metavar="FILE", help="write a page to look at and listen to")
    parser.add_argument("--embed_audio", action="store_true", help="put the recordings into the page")
    add_transcription_flags(parser)
    return parser


def run_eval(flags: argparse.Namespace) -> int:
    """Do what `eval_parser` has parsed; returns the exit status."""
    _check_together(flags)
    if flags.compare:
        return _compare(flags)
    if not flags.manifest:
        raise OptionError("nothing to measure: give a MANIFEST, or two reports behind --compare")
    with _extra():
        from viska.evaluation.manifest import read_manifest
        from viska.evaluation.storage import Report

    clips = read_manifest(flags.manifest)
    _check_targets(flags, [flags.manifest, flags.hypotheses, *(clip.file for clip in clips)])
    clips = chosen(clips, flags)
    name, engine = _engine(flags)
    scores, facts = list["Score"](), _facts(flags)
    try:
        with _terminable():
            for one in _evaluate(clips, engine):
                scores.append(one)
        report = Report(name, tuple(scores), facts)
        _write(report, clips, flags)  # before anything is printed, which may fail
    except (KeyboardInterrupt, BrokenPipeError) as stopped:  # the reader of standard error may go away
        if scores and (flags.json or flags.html):
            if len(scores) < len(clips):
                facts["incomplete"] = f"interrupted after {len(scores)} of {len(clips)} recordings"
            if isinstance(stopped, KeyboardInterrupt):
                print(
                    f"viska: interrupted after {len(scores)} of {len(clips)} recordings; writing these", file=sys.stderr
                )
            _write(Report(name, tuple(scores), facts), clips, flags)
        raise
    _print_summaries(report)
    return _status(report)


@contextmanager
def _terminable() -> "Iterator[None]":
    """Let SIGTERM, which batch systems send before they kill, end the work as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _write(report: "Report", clips: "list[Clip]", flags: argparse.Namespace) -> None:
    """Write what is asked for; where one file cannot be written, the other one all the same. Raises OutputError."""
    from viska.evaluation.storage import write_report

    try:
        if flags.json:
            write_report(report, flags.json)
    finally:
        if flags.html:
            _write_page(report, clips, flags)


def _check_targets(flags: argparse.Namespace, sources: Iterable[str | Path | None]) -> None:
    """Raise OptionError where a result would replace what is read, OutputError where it could not be written."""
    from viska.cli.run import check_writable

    targets = {f"--{name}": Path(path) for name in ("json", "html") if (path := getattr(flags, name))}
    taken = {os.path.realpath(source): "what is read here" for source in sources if source}
    for flag, target in targets.items():
        place = os.path.realpath(target)
        if place in taken:
            raise OptionError(f"{flag} {target} would replace {taken[place]}; give it a path of its own")
        taken[place] = f"what {flag} writes"
        _check_place(flag, target)
    for target in targets.values():
        check_writable(target.parent)


def _check_place(flag: str, target: Path) -> None:
    """Raise OutputError where no file can be written."""
    try:
        is_folder, folder_is_there = target.is_dir(), target.parent.is_dir()
    except OSError as error:  # a name that is too long
        raise OutputError(f"{flag} {target} cannot be written ({error.strerror}); give another path") from None
    if is_folder:
        raise OutputError(f"{flag} {target} is a folder; give the path of a file")
    if folder_is_there and not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{flag} {target} is in a folder that cannot be written to; choose another one")


def _check_together(flags: argparse.Namespace) -> None:
    """Raise OptionError for what one flag makes another do without."""
    if flags.compare and (left := [name for name in OWN if name not in ("compare", "json") and getattr(flags, name)]):
        raise OptionError(f"--compare sets two reports side by side, and writes --json alone: leave out {_flags(left)}")
    if flags.embed_audio and not flags.html:
        raise OptionError("--embed_audio puts recordings into a page: give --html FILE too")
    if (flags.hypotheses or flags.compare) and (given := _transcription_flags(flags)):
        raise OptionError(f"nothing is transcribed here: leave out {_flags(given)}")


def _flags(names: Iterable[str]) -> str:
    return ", ".join(name if name == "manifest" else f"--{name}" for name in names)


def _transcription_flags(flags: argparse.Namespace) -> dict[str, Any]:
    """Those that say how to transcribe, where they are not at their defaults."""
    defaults = vars(eval_parser().parse_args([]))
    return {name: value for name, value in vars(flags).items() if name not in OWN and value != defaults[name]}


def chosen(clips: "list[Clip]", flags: argparse.Namespace) -> "list[Clip]":
    """The clips that the flags ask for. Raises OptionError where that is none."""
    if flags.limit is not None and flags.limit < 1:
        raise OptionError(f"--limit is {flags.limit}; accepted is 1 or more")
    found = [
        clip
        for clip in clips
        if (not flags.only_kinds or clip.kind in flags.only_kinds)
        and (not flags.only_languages or (clip.language or "none") in flags.only_languages)
    ][: flags.limit]
    if found:
        return found
    kinds, languages = ({getattr(clip, name) or "none" for clip in clips} for name in ("kind", "language"))
    raise OptionError(
        f"no recording is left of {len(clips)}; the manifest has the kinds {', '.join(sorted(kinds))} and the "
        f"languages {', '.join(sorted(languages))}"
    )


def _engine(flags: argparse.Namespace) -> "tuple[str, Engine]":
    """What transcribes, and what to call it; a model is loaded at once, since nothing can be measured without."""
    from viska.cli.run import LazyModel, options_of, set_threads
    from viska.evaluation.hypothesis import read_hypotheses
    from viska.evaluation.run import stored_engine, viska_engine

    if flags.hypotheses:
        return flags.name or Path(flags.hypotheses).stem, stored_engine(read_hypotheses(flags.hypotheses))
    how = argparse.Namespace(**{name: value for name, value in vars(flags).items() if name not in OWN})
    options = options_of(how)
    set_threads(flags.threads)
    return flags.name or flags.model, viska_engine(LazyModel(flags).get(), options)


def _evaluate(clips: "list[Clip]", engine: "Engine") -> "Iterator[Score]":
    """The scores, each with a line on stderr."""
    from viska.evaluation.run import evaluate
    from viska.evaluation.table import percent

    for i, one in enumerate(evaluate(clips, engine), start=1):
        if one.error is not None:
            tell(f"viska: error: {one.path}: {one.error}")
        figure = f"{one.invented} words made up" if one.silent else f"{percent(one.error_rate)} % errors"
        tell(f"{i}/{len(clips)}  {one.path}  {'failed' if one.error else figure}")
        yield one


def _facts(flags: argparse.Namespace) -> dict[str, Any]:
    """What a reader has to know to make the run again; no more of paths than names."""
    from viska.version import __version__

    given = _transcription_flags(flags)
    for name in ("model", "model_dir"):
        given.pop(name, None)
    facts: dict[str, Any] = {"manifest": Path(flags.manifest).name, "limit": flags.limit}
    facts |= {"only_kinds": flags.only_kinds, "only_languages": flags.only_languages}
    if flags.hypotheses:
        facts["hypotheses"] = Path(flags.hypotheses).name
    else:
        import torch

        facts |= {"model": flags.model, "options": given, "viska": __version__}
        facts |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    return {name: value for name, value in facts.items() if value is not None}


def _print_summaries(report: "Report") -> None:
    from viska.evaluation.table import COLUMNS, calibration_line, rows, table

    found = report.summaries()
    _print(table(list(COLUMNS), rows(found)))
    for name in ("probability", "confidence"):
        if (calibration := getattr(found[0], name)) is not None:
            _print(calibration_line(name, calibration))


def _print(text: str) -> None:
    """Print to stdout. Raises OutputError where it takes no more."""
    try:
        print(visible(text), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise output_full(error) from error


def _write_page(report: "Report", clips: "list[Clip]", flags: argparse.Namespace) -> None:
    from viska.evaluation.page import page, players
    from viska.formats.files import write_text

    folder = Path(flags.html).parent
    write_text(Path(flags.html), page(report, players(clips, folder, embed=flags.embed_audio)))


def _status(report: "Report") -> int:
    return next((ViskaError.exit_code for one in report.scores if one.error is not None), 0)


def _compare(flags: argparse.Namespace) -> int:
    with _extra():
        from viska.evaluation.compare import compare, left_out
        from viska.evaluation.storage import read_report
        from viska.evaluation.table import COMPARED, comparison_rows, table
        from viska.formats.files import write_text

    _check_targets(flags, flags.compare)
    first, second = map(read_report, flags.compare)
    found, lacking = compare(first, second), left_out(first, second)
    if flags.json:
        names = {"first": first.name, "second": second.name}
        groups = [{**asdict(one), "verdict": one.verdict} for one in found]
        record = {**names, "left_out": asdict(lacking), "groups": groups}
        write_text(Path(flags.json), json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    _print(f"first: {first.name}   second: {second.name}")
    _print(table(COMPARED, comparison_rows(found)))
    if lacking:
        _print(lacking.line())
    return 0


@contextmanager
def _extra() -> Iterator[None]:
    """Tell which extra brings a package that is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ViskaError(
            f"viska eval needs the package {error.name}: install Viska with the extra eval, as in pip install '.[eval]'"
        ) from error


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
