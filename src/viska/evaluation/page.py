"""The report as one page for a browser: nothing is fetched from anywhere, but recordings that lie beside it."""

import base64
import json
import logging
import mimetypes
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from viska.errors import AudioError
from viska.evaluation.manifest import Clip
from viska.evaluation.plots import bars, calibration_curve
from viska.evaluation.run import raw_as_wav
from viska.evaluation.score import Aligned, Score
from viska.evaluation.storage import Report
from viska.evaluation.summary import Summary
from viska.evaluation.table import COLUMNS, calibration_line, percent, rows

logger = logging.getLogger(__name__)

MARKS = {"hit": "right", "substitution": "wrong", "deletion": "missing", "insertion": "added", "free": "not scored"}
"""What the colours of an alignment mean."""


def players(clips: Sequence[Clip], folder: Path, *, embed: bool = False) -> dict[str, str]:
    """Where the page in that folder finds each recording: a relative address, or the recording itself.

    Headerless files have to be embedded, since no browser plays them. What cannot be read has no player, and the log
    says so: its figures are there all the same.
    """
    found = {}
    for clip in clips:
        try:
            if clip.file.is_file():
                found[clip.path] = _address(clip, folder, embed=embed)
        except (OSError, AudioError) as error:
            logger.warning("the page has no player for %s: %s", clip.path, error)
    return found


def _address(clip: Clip, folder: Path, *, embed: bool) -> str:
    if clip.raw_format is not None:
        return _data_uri(raw_as_wav(clip), "audio/wav")
    if embed:
        kind = mimetypes.guess_type(clip.file.name)[0] or "application/octet-stream"
        return _data_uri(clip.file.read_bytes(), kind)
    return quote(os.fsencode(Path(os.path.relpath(_without_parents(clip.file), _without_parents(folder))).as_posix()))


def _without_parents(path: Path) -> Path:
    """The path without `..`: behind a link that is not the folder that its names tell."""
    return path.resolve() if ".." in path.parts else path


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def page(report: Report, audio: Mapping[str, str]) -> str:
    """The HTML of a report; `audio` has the address of each recording, by its path in the manifest."""
    assets = files("viska.evaluation") / "assets"
    style, script = ((assets / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    found = report.summaries()
    ordered = sorted(report.scores, key=_badness, reverse=True)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">',
            f"<title>viska eval: {escape(report.name)}</title><style>{style}</style></head><body>",
            f"<header><h1>{escape(report.name)}</h1>{_facts(report)}</header><main>",
            _figures(found),
            _plots(found[0], report.scores),
            _filters(report.scores),
            '<section id="recordings">',
            *(_recording(one, audio.get(one.path)) for one in ordered),
            f"</section></main><script>{script}</script></body></html>",
            "",
        ]
    )


def _badness(one: Score) -> tuple[float, float]:
    """What to look at first: failures, then words made up in silence, then error rates."""
    if one.error is not None:
        return (float("inf"), 0)
    return (float(one.invented), one.error_rate or 0.0)


def _facts(report: Report) -> str:
    facts = ", ".join(
        f"{escape(name)} {escape(value if isinstance(value, str) else json.dumps(value))}"
        for name, value in report.facts.items()
    )
    return f'<p class="facts">{facts}</p>'


def _figures(found: Sequence[Summary]) -> str:
    head = "".join(f'<th scope="col" title="{escape(help_)}">{escape(name)}</th>' for name, help_ in COLUMNS.items())
    body = "".join(
        f'<tr><th scope="row">{escape(cells[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])}</tr>'
        for cells in rows(found)
    )
    explained = "".join(f"<dt>{escape(name)}</dt><dd>{escape(help_)}</dd>" for name, help_ in COLUMNS.items())
    return (
        f'<section><h2>Figures</h2><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"</div><details><summary>What the columns are</summary><dl>{explained}</dl></details></section>"
    )


def _plots(every: Summary, scores: Sequence[Score]) -> str:
    rates = [
        (f"{one.path}: {percent(one.error_rate)} %", 100 * one.error_rate, "bar")
        for one in scores
        if one.error_rate is not None
    ]
    parts = [bars(rates, f"error rate of {len(rates)} recordings, in %; above 100 cut", top=100)] if rates else []
    invented = [(f"{one.path}: {one.invented} words", float(one.invented), "bar bad") for one in scores if one.silent]
    if invented:
        parts.append(bars(invented, f"words made up in {len(invented)} recordings without speech"))
    curves = [(name, curve) for name in ("probability", "confidence") if (curve := getattr(every, name)) is not None]
    if curves:
        told = "; ".join(calibration_line(name, curve) for name, curve in curves)
        parts.append(
            calibration_curve(curves, f"confidence (across) against the share of words that are right. {told}")
        )
    else:
        parts.append(
            "<p>No confidences: the words have no probabilities. Ask for them with --word_timestamps True.</p>"
        )
    return f'<section id="plots"><h2>Plots</h2><div class="plots">{"".join(parts)}</div></section>'


def _filters(scores: Sequence[Score]) -> str:
    choices = []
    for name in ("kind", "language"):
        values = sorted({getattr(one, name) or "-" for one in scores})
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        choices.append(f'<label>{name} <select id="{name}"><option value="">all</option>{options}</select></label>')
    marks = "".join(f'<span class="{kind}">{escape(name)}</span> ' for kind, name in MARKS.items())
    return (
        f'<section class="filters"><h2>Recordings</h2><label>find <input id="find" type="search"></label> '
        f'{" ".join(choices)} <span id="shown"></span><p class="legend">{marks}</p></section>'
    )


def _recording(one: Score, address: str | None) -> str:
    player = f'<audio controls preload="none" src="{escape(address)}"></audio>' if address else ""
    opened = " open" if one.error or one.invented or one.lost or one.loops else ""
    data = f'data-kind="{escape(one.kind)}" data-language="{escape(one.language or "-")}"'
    return (
        f'<details class="recording"{opened} {data}>'
        f"<summary><b>{escape(one.path)}</b> {_verdict(one)}</summary>{player}{_content(one)}</details>"
    )


def _verdict(one: Score) -> str:
    """The figures of a recording in a line."""
    if one.error is not None:
        return '<span class="bad">failed</span>'
    said = [f"{percent(one.error_rate)} %"] if one.scored else []
    told = [f"made up: {one.invented}" if one.invented else ""]
    told.append(f"lost: {sum(run.units for run in one.lost)}" if one.lost else "")
    told.append(f"loops: {one.loops}" if one.loops else "")
    told.append(f"taken for {one.heard_language}" if one.language_right is False else "")
    bad = "".join(f' <span class="bad">{escape(text)}</span>' for text in told if text)
    return escape(", ".join([f"{one.language or '-'} {one.kind}", f"{one.duration:.1f} s", *said])) + bad


def _content(one: Score) -> str:
    if one.error is not None:
        return f'<p class="bad">{escape(one.error)}</p>'
    language = f' lang="{escape(one.language)}"' if one.language and one.language != "mul" else ""
    if one.aligned:
        words = "".join(map(_pair, one.aligned))
        return f'<div class="aligned" dir="auto"{language}>{words}</div>{_raw(one)}'
    what = "nothing is said" if one.silent else "no reference"
    style = ' class="insertion"' if one.silent and one.text.strip() else ""
    return (
        f'<p dir="auto"{language}><i>{what};</i> heard: <span{style}>{escape(one.text.strip()) or "nothing"}</span></p>'
    )


def _pair(pair: Aligned) -> str:
    """Two lines of one word each: as it was said, and as it was heard. A click plays it, where its time is known."""
    time = f' data-start="{pair.start:.2f}"' if pair.start is not None else ""
    said, heard = (escape(text) if text else "&nbsp;" for text in (pair.reference, pair.hypothesis))
    label = f' title="{MARKS[pair.kind]}"' if pair.kind != "hit" else ""
    return f'<span class="pair {pair.kind}"{time}{label}><span>{said}</span><span>{heard}</span></span>'


def _raw(one: Score) -> str:
    return (
        "<details><summary>as it was written</summary>"
        f'<p dir="auto"><i>reference:</i> {escape(one.reference or "")}</p>'
        f'<p dir="auto"><i>heard:</i> {escape(one.text.strip())}</p></details>'
    )
