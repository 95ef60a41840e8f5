"""The page of a report: its parts, and how it behaves in a real browser."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import browser
from conftest import missing
from viska.evaluation.hypothesis import HeardWord, Hypothesis
from viska.evaluation.manifest import Clip, RawFormat, read_manifest
from viska.evaluation.page import page, players
from viska.evaluation.plots import bars, calibration_curve
from viska.evaluation.run import evaluate, stored_engine
from viska.evaluation.storage import Report
from viska.evaluation.summary import summary


def heard(text, start=0.0, probability=0.8, confidence=None):
    words = tuple(
        HeardWord(" " + word, start + 0.3 * i, start + 0.3 * i + 0.3, probability if i % 3 else 0.3, confidence)
        for i, word in enumerate(text.split())
    )
    return Hypothesis(text=text, language="en", words=words, seconds=0.5)


@pytest.fixture(scope="module")
def clips(recordings, tmp_path_factory):
    """The repo's own recordings, as if one of them were noise, and some that cause trouble."""
    folder = tmp_path_factory.mktemp("sound and <b>more")
    copied = []
    for clip in read_manifest(recordings / "manifest.jsonl"):
        target = folder / clip.file.name
        shutil.copyfile(clip.file, target)
        copied.append(Clip(clip.path, target, "short", "en", text=clip.text, duration=5.0))
    (folder / "raw").write_bytes(b"\0" * 32000)
    raw = Clip("raw", folder / "raw", "silence", raw_format=RawFormat(16000, 1, "s16le"), duration=1.0)
    noise = Clip("<script>alert(1)</script>.wav", folder / copied[0].file.name, "noise", duration=7.1)
    arabic = Clip("arabic", folder / copied[1].file.name, "short", "ar", text="مرحبا بالعالم", duration=3.0)
    return [*copied, raw, noise, arabic, Clip("missing.wav", folder / "missing.wav", duration=1.0)]


@pytest.fixture(scope="module")
def report(clips):
    texts = [
        "And Mr. John Dashwood had then leisure to inspire how much there might be prudently in his power, no?",
        "He was not ill.",
        "unless to be rather cold hearted and rather selfish is to be ill disposed",
        "",
        "Thank you for watching!",
        "مرحبا يا عالم",
    ]
    hypotheses = {clip.path: heard(text) for clip, text in zip(clips, texts, strict=False)}
    return Report(
        "made <up>", tuple(evaluate(clips, stored_engine(hypotheses))), {"model": "tiny.en", "options": {"a": 1}}
    )


class Parts(HTMLParser):
    """The attributes of all elements, by their tags; elements that are not closed in order are an error."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = {}, []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.setdefault(tag, []).append(dict(attrs))
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.setdefault(tag, []).append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_parts_of_a_page(report, clips, tmp_path):
    parts = Parts(page(report, players(clips, tmp_path))).found
    assert len(parts["audio"]) == 6
    assert len(parts["svg"]) == 3
    assert len([one for one in parts["details"] if one.get("class") == "recording"]) == 7
    kinds = [one["class"] for one in parts["span"] if one.get("class", "").startswith("pair")]
    assert {kind.split()[1] for kind in kinds} == {"hit", "substitution", "deletion", "insertion"}
    assert len(parts["script"]) == 1  # the name of a recording is no program


def test_nothing_comes_from_elsewhere(report, clips, tmp_path):
    text = page(report, players(clips, tmp_path, embed=True))
    assert not re.findall(r"https?://|url\(|@import|src=\"(?!data:)", text)


def test_recordings_by_their_place_or_embedded(clips, tmp_path):
    by_place = players(clips, tmp_path)
    assert by_place[clips[0].path].startswith("../")
    assert "%3Cb%3Emore" in by_place[clips[0].path]
    assert by_place["raw"].startswith("data:audio/wav;base64,UklGR")
    assert "missing.wav" not in by_place
    embedded = players(clips, tmp_path, embed=True)
    assert embedded[clips[1].path].startswith("data:audio/")
    assert set(embedded) == set(by_place)


def test_a_recording_behind_a_link(clips, tmp_path):
    """Struck out by its name alone, `link/..` would be the folder of the link."""
    there = tmp_path / "there"
    (there / "inner").mkdir(parents=True)
    (there / "a.wav").write_bytes(clips[0].file.read_bytes())
    (tmp_path / "link").symlink_to(there / "inner", target_is_directory=True)
    clip = replace(clips[0], file=tmp_path / "link" / ".." / "a.wav")
    assert players([clip], tmp_path)[clip.path] == "there/a.wav"
    assert players([clip], tmp_path / "link" / "..")[clip.path] == "a.wav"


def test_a_folder_whose_name_is_no_text(clips, tmp_path):
    folder = tmp_path / "caf\udce9"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("names of files are UTF-8 here")
    shutil.copyfile(clips[0].file, folder / "a.wav")
    assert players([Clip("a.wav", folder / "a.wav")], tmp_path) == {"a.wav": "caf%E9/a.wav"}


def test_a_recording_that_may_not_be_read_has_no_player(clips, tmp_path, monkeypatch, caplog):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert players(clips[:1], tmp_path, embed=True) == {}
    assert "no player" in caplog.text
    assert players([Clip("long", tmp_path / ("x" * 300))], tmp_path) == {}


def test_plots_of_little():
    Parts(bars([], "none"))
    Parts(bars([("a", 0.0, "bar")], "zero"))
    assert bars([("a & b", 250.0, "bar"), ("c", 50.0, "bar")], "cut", top=100).count("<rect") == 2
    heights = re.findall(
        r'<rect[^>]* height="([\d.]+)"', bars([("a", 250.0, "bar"), ("c", 50.0, "bar")], "cut", top=100)
    )
    assert float(heights[0]) == pytest.approx(2 * float(heights[1]))


def test_two_calibration_curves(report):
    curve = summary("all", report.scores).probability
    drawing = calibration_curve([("probability", curve), ("confidence", curve)], "both")
    Parts(drawing)
    assert drawing.count("<polyline") == 2
    assert drawing.count("<circle") == 2 * len(curve.bins)


def test_a_page_without_words_says_how_to_get_them(clips):
    report = Report("run", tuple(evaluate(clips[:1], stored_engine({clips[0].path: Hypothesis(text="x")}))))
    assert "--word_timestamps True" in page(report, {})


# --- In a browser -----------------------------------------------------------------------------------------------------

CONTRASTS = """
const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = parse(getComputedStyle(node).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll("h1, p, th, td, .pair > span, summary, .bad, figcaption, .legend span")]
  .filter((node) => node.checkVisibility() && !node.closest(".free"))
  .map((node) => [light(parse(getComputedStyle(node).color)), light(behind(node)), node.textContent.slice(0, 40)])
  .map(([a, b, text]) => [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text]);
"""
METADATA = """
const players = [...document.querySelectorAll("audio")];
return Promise.all(players.map((player) => new Promise((done) => {
  player.addEventListener("loadedmetadata", () => done(player.duration));
  player.addEventListener("error", () => done(-1));
  player.load();
  player.preload = "auto";
})));
"""


@pytest.fixture(scope="module")
def written(report, clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(page(report, players(clips, folder)), encoding="utf-8")
    (folder / "embedded.html").write_text(page(report, players(clips, folder, embed=True)), encoding="utf-8")
    return folder


@pytest.fixture
def needs_chromium():
    if browser.ABSENT:
        missing(browser.ABSENT)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_chromium")
class TestInChromium:
    """Slow, because a browser is no part of the set-up; they take seconds where there is one."""

    @pytest.mark.parametrize("name", ["report.html", "embedded.html"])
    def test_players_play(self, written, name):
        with browser.browser() as window:
            window.open(written / name)
            durations = window.run(METADATA)
            assert sorted(durations) == pytest.approx([1.0, 2.99, 2.99, 5.3, 7.1, 7.1], abs=0.05)
            assert window.complaints() == []

    def test_a_click_on_a_word_plays_it(self, written):
        with browser.browser() as window:
            window.open(written / "report.html")
            played = window.run(
                """
                const word = [...document.querySelectorAll(".pair[data-start]")].find((one) => +one.dataset.start > 1);
                const player = word.closest(".recording").querySelector("audio");
                word.closest("details").open = true;
                return new Promise((done) => {
                  const state = () => [player.currentTime - word.dataset.start, player.paused];
                  player.addEventListener("playing", () => done(state()));
                  word.click();
                });
                """
            )
            assert played[0] == pytest.approx(0, abs=0.5)
            assert played[1] is False
            assert window.complaints() == []

    def test_alignment_and_plots_are_seen(self, written):
        with browser.browser() as window:
            window.open(written / "report.html")
            window.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            colours = window.run(
                """return ["hit", "substitution", "deletion", "insertion"].map(
                  (kind) => getComputedStyle(document.querySelector(".pair." + kind)).backgroundColor)"""
            )
            assert len(set(colours)) == 4
            sizes = window.run(
                """return [...document.querySelectorAll("svg rect, svg circle, .pair")].map(
                  (one) => one.getBoundingClientRect()).map((box) => Math.min(box.width, box.height))"""
            )
            assert len(sizes) > 40
            assert min(sizes) > 0.3
            tops = window.run(
                """const [said, given] = document.querySelector(".pair.hit").children;
                return [said, given].map((one) => one.getBoundingClientRect()).map((box) => [box.top, box.left])"""
            )
            assert tops[0][0] < tops[1][0]  # what was said above what was heard

    def test_recordings_can_be_chosen(self, written):
        with browser.browser() as window:
            window.open(written / "report.html")
            shown = """const [id, value] = arguments, field = document.getElementById(id);
                field.value = value;
                field.dispatchEvent(new Event("input", {bubbles: true}));
                return [...document.querySelectorAll(".recording")].filter((one) => one.checkVisibility()).length"""
            assert window.run(shown, "kind", "noise") == 1
            assert window.run(shown, "kind", "") == 7
            assert window.run(shown, "language", "ar") == 1
            assert window.run(shown, "language", "") == 7
            assert window.run(shown, "find", "SENSE_and") == 3

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_readable_on_a_phone(self, written, scheme):
        with browser.browser(mobile=(390, 844)) as window:
            window.scheme(scheme)
            window.open(written / "report.html")
            window.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert window.run("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
            sizes = window.run(
                """return [...document.querySelectorAll("p, td, summary, .pair > span")].map(
                  (one) => parseFloat(getComputedStyle(one).fontSize))"""
            )
            assert min(sizes) >= 12
            dark = window.run("return getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 26)"
            assert dark == (scheme == "dark")
            faint = [(round(ratio, 2), text) for ratio, text in window.run(CONTRASTS) if ratio < 4.5]
            assert faint == []
            assert window.complaints() == []
