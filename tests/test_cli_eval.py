"""`viska eval`: what it measures, prints, writes and refuses."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from viska.cli import evaluate, main
from viska.errors import OutputError
from viska.evaluation.score import score
from viska.evaluation.storage import read_report

SAID = (
    "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his power to do for them."
)


@pytest.fixture
def hypotheses(tmp_path):
    """What another engine made of two of the three recordings."""
    file = tmp_path / "rival.jsonl"
    lines = [
        {"path": "sense_and_sensibility_0870.wav", "text": SAID, "language": "en", "seconds": 1.0},
        {"path": "sense_and_sensibility_0880.flac", "text": "He was not an old man.", "language": "de", "seconds": 0.5},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.fixture
def manifest(recordings):
    return str(recordings / "manifest.jsonl")


@pytest.fixture
def loaded(tiny_en, monkeypatch):
    monkeypatch.setattr("viska.weights.load_model", lambda *arguments, **keywords: tiny_en)


def test_another_engine_is_scored_by_the_same_rules(manifest, hypotheses, tmp_path, capsys):
    json_file, html_file = tmp_path / "new" / "a.json", tmp_path / "a.html"
    arguments = ["eval", manifest, "--hypotheses", str(hypotheses), "--json", str(json_file), "--html", str(html_file)]
    assert main(arguments) == 1  # one recording has no hypothesis
    printed, told = capsys.readouterr()
    header, _, every, *_ = printed.splitlines()
    assert header.split()[:4] == ["group", "clips", "min", "error"]
    assert every.split()[:2] == ["all", "3"]
    assert "sense_and_sensibility_0890.flac: there is no hypothesis for it" in told
    found = json.loads(json_file.read_text())
    assert found["name"] == "rival"
    assert found["facts"] == {"manifest": "manifest.jsonl", "hypotheses": "rival.jsonl"}
    assert found["summaries"][0]["error_rate"]["value"] == pytest.approx(3 / 30)
    assert found["summaries"][0]["language_accuracy"] == 0.5
    assert html_file.read_text().startswith("<!doctype html>")
    assert str(tmp_path) not in json_file.read_text()


@pytest.mark.parametrize(("redirection", "status"), [(">/dev/full", 5), ("| true", None), (">&-", 1)])
def test_reports_do_not_depend_on_what_is_printed(manifest, hypotheses, tmp_path, redirection, status):
    file = tmp_path / "a.json"
    arguments = [sys.executable, manifest, str(hypotheses), str(file), str(tmp_path / "both.json")]
    evaluated = f'"$0" -m viska eval "$1" --hypotheses "$2" --json "$3" {redirection}'
    done = subprocess.run(["sh", "-c", evaluated, *arguments], capture_output=True, text=True)
    assert status is None or done.returncode == status
    assert "Traceback" not in done.stderr
    assert read_report(file).name == "rival"
    compared = f'"$0" -m viska eval --compare "$3" "$3" --json "$4" {redirection}'
    done = subprocess.run(["sh", "-c", compared, *arguments], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "both.json").read_text())["first"] == "rival"


def test_what_is_done_is_written_where_nobody_reads_the_messages(manifest, hypotheses, tmp_path, monkeypatch):
    whole = evaluate._evaluate

    def broken(clips, engine):
        yield next(whole(clips, engine))
        raise BrokenPipeError

    monkeypatch.setattr("viska.cli.evaluate._evaluate", broken)
    file = tmp_path / "a.json"
    main(["eval", manifest, "--hypotheses", str(hypotheses), "--json", str(file)])
    assert len(read_report(file).scores) == 1


def test_a_page_is_written_where_the_figures_cannot_be(manifest, hypotheses, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OutputError("cannot write it: no space")

    monkeypatch.setattr("viska.evaluation.storage.write_report", full)
    page = tmp_path / "a.html"
    flags = ["--json", str(tmp_path / "a.json"), "--html", str(page)]
    assert main(["eval", manifest, "--hypotheses", str(hypotheses), *flags]) == OutputError.exit_code
    assert page.is_file()


def test_a_model_is_measured(loaded, manifest, tmp_path, capsys):
    file = tmp_path / "a.json"
    flags = ["--model", "tiny.en", "--beam-size", "None", "--word-timestamps", "True", "--temperature", "0"]
    assert main(["eval", manifest, "--limit", "1", *flags, "--json", str(file), "--name", "ours"]) == 0
    assert "probability of 22 words" in capsys.readouterr().out
    report = read_report(file)
    assert report.name == "ours"
    assert report.facts["options"] == {"beam_size": None, "word_timestamps": True}
    assert report.facts["model"] == "tiny.en"
    (one,) = report.scores
    assert one.error_rate == 0
    assert one.seconds > 0
    assert one.language_right is None  # it was not told: the model knows English alone


def test_durations_are_measured_where_recordings_are_read(loaded, recordings, tmp_path, caplog):
    shutil.copy(recordings / "sense_and_sensibility_0880.flac", tmp_path / "a.flac")
    (tmp_path / "manifest.jsonl").write_text('{"path": "a.flac", "duration": 1e9}')
    flags = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "--json", str(tmp_path / "a.json")]
    assert main(["eval", str(tmp_path / "manifest.jsonl"), *flags]) == 0
    assert read_report(tmp_path / "a.json").scores[0].duration == pytest.approx(2.99, abs=0.01)
    assert "wrong durations in the manifest: 1" in caplog.text


def test_a_broken_recording_does_not_end_the_run(loaded, recordings, tmp_path, capsys):
    shutil.copy(recordings / "sense_and_sensibility_0880.flac", tmp_path / "good.flac")
    (tmp_path / "bad.wav").write_bytes(b"no sound at all")
    lines = [{"path": "bad.wav"}, {"path": "missing.wav"}, {"path": "good.flac", "language": "en", "text": "he was"}]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    flags = ["--beam_size", "None", "--temperature_increment_on_fallback", "None"]
    assert main(["eval", str(tmp_path / "manifest.jsonl"), *flags]) == 1
    printed, told = capsys.readouterr()
    assert printed.splitlines()[2].split()[-1] == "2"
    assert "missing.wav' does not exist" in told
    assert "3/3  good.flac" in told


def test_two_runs_are_compared(manifest, hypotheses, tmp_path, capsys):
    for name in ("a", "b"):
        main(
            [
                "eval",
                manifest,
                "--hypotheses",
                str(hypotheses),
                "--name",
                name,
                "--json",
                str(tmp_path / f"{name}.json"),
            ]
        )
    capsys.readouterr()
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert main(["eval", "--compare", *files, "--json", str(tmp_path / "difference.json")]) == 0
    printed = capsys.readouterr().out
    assert "first: a   second: b" in printed
    assert "left out: 1 recordings (1 failed in the first run, 1 failed in the second run)" in printed
    assert "no difference shown" in printed
    found = json.loads((tmp_path / "difference.json").read_text())
    assert found["groups"][0]["error_rate"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["groups"][0]["first"]["n_clips"] == 2


def test_recordings_of_one_report_alone_are_left_out_and_counted(manifest, hypotheses, tmp_path, capsys):
    files = []
    for name, limit in (("a", "2"), ("b", "1")):
        files.append(str(tmp_path / f"{name}.json"))
        main(["eval", manifest, "--hypotheses", str(hypotheses), "--limit", limit, "--json", files[-1]])
    assert main(["eval", "--compare", *files]) == 0
    assert "left out: 1 recordings (1 in the first run alone)" in capsys.readouterr().out


def test_recordings_that_failed_in_one_run_are_told(manifest, hypotheses, tmp_path, capsys):
    lines = hypotheses.read_text().splitlines()
    files = []
    for name, kept in (("a", lines), ("b", lines[1:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(kept))
        files.append(str(tmp_path / f"{name}.json"))
        main(["eval", manifest, "--hypotheses", str(tmp_path / f"{name}.jsonl"), "--json", files[-1]])
    capsys.readouterr()
    assert main(["eval", "--compare", *files, "--json", str(tmp_path / "c.json")]) == 0
    assert "left out: 2 recordings (1 failed in the first run, 2 failed in the second run)" in capsys.readouterr().out
    both, second = "sense_and_sensibility_0890.flac", "sense_and_sensibility_0870.wav"
    assert json.loads((tmp_path / "c.json").read_text())["left_out"] == {
        "only_first": [],
        "only_second": [],
        "failed_first": [both],
        "failed_second": [second, both],
    }


@pytest.mark.parametrize(
    ("arguments", "n", "status"),
    [
        (["--only_kinds", "speech"], 3, 1),
        (["--only_languages", "en,de", "--limit", "2"], 2, 0),
        (["--limit", "2"], 2, 0),
    ],
)
def test_some_of_the_recordings(manifest, hypotheses, capsys, arguments, n, status):
    assert main(["eval", manifest, "--hypotheses", str(hypotheses), *arguments]) == status
    assert capsys.readouterr().out.splitlines()[2].split()[:2] == ["all", str(n)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to measure: give a MANIFEST"),
        (["MANIFEST", "--limit", "0"], "--limit is 0; accepted is 1 or more"),
        (["MANIFEST", "--only_kinds", "noise"], "no recording is left of 3; the manifest has the kinds speech"),
        (["MANIFEST", "--only_languages", "none"], "and the languages en"),
        (["MANIFEST", "--temperature", "-1"], "temperature"),
        (["--compare", "MANIFEST", "MANIFEST"], "give one that 'viska eval --json' has written"),
        (["MANIFEST", "--compare", "a", "b"], "writes --json alone: leave out manifest"),
        (["--compare", "a", "b", "--html", "c", "--limit", "2"], "leave out --limit, --html"),
        (["MANIFEST", "--embed_audio"], "give --html FILE too"),
        (["MANIFEST", "--hypotheses", "a", "--beam_size", "0"], "nothing is transcribed here: leave out --beam_size"),
        (["MANIFEST", "--threads", "-4"], "--threads is -4; accepted are 1 to 1024"),
    ],
)
def test_what_is_refused(manifest, capsys, arguments, message):
    assert main(["eval", *(manifest if one == "MANIFEST" else one for one in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_a_manifest_that_is_not_there(tmp_path, capsys):
    assert main(["eval", str(tmp_path / "no.jsonl")]) == 3
    assert "cannot be read" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told_before_the_work(manifest, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["eval", manifest, "--json", str(tmp_path / "file" / "a.json")]) == 5
    assert "cannot make the output folder" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--json", "--html"])
def test_a_folder_cannot_be_replaced(manifest, hypotheses, tmp_path, capsys, flag):
    (tmp_path / "folder").mkdir()
    assert main(["eval", manifest, "--hypotheses", str(hypotheses), flag, str(tmp_path / "folder")]) == 5
    assert capsys.readouterr() == (
        "",
        f"viska: error: {flag} {tmp_path / 'folder'} is a folder; give the path of a file\n",
    )


def test_a_name_that_is_too_long(manifest, hypotheses, tmp_path, capsys):
    assert main(["eval", manifest, "--hypotheses", str(hypotheses), "--html", str(tmp_path / ("x" * 300))]) == 5
    printed, told = capsys.readouterr()
    assert printed == ""
    assert "cannot be written (File name too long); give another path" in told


def test_a_folder_that_cannot_be_written_to(manifest, hypotheses, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda *_: False)
    assert main(["eval", manifest, "--hypotheses", str(hypotheses), "--json", str(tmp_path / "a.json")]) == 5
    printed, told = capsys.readouterr()
    assert printed == ""
    assert "a.json is in a folder that cannot be written to; choose another one" in told


@pytest.fixture
def own(recordings, tmp_path):
    """A folder with a manifest, a recording and hypotheses, to be replaced by mistake."""
    shutil.copy(recordings / "sense_and_sensibility_0880.flac", tmp_path / "a.flac")
    (tmp_path / "m.jsonl").write_text('{"path": "a.flac", "text": "he was"}')
    (tmp_path / "h.jsonl").write_text('{"path": "a.flac", "text": "he was"}')
    assert main(["eval", *map(str, (tmp_path / "m.jsonl", "--hypotheses", tmp_path / "h.jsonl"))]) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "m.jsonl"], "--json m.jsonl would replace what is read here; give it a path of its own"),
        (["--html", "./new/../m.jsonl"], "would replace what is read here"),
        (["--json", "h.jsonl"], "--json h.jsonl would replace what is read here"),
        (["--html", "a.flac"], "--html a.flac would replace what is read here"),
        (["--json", "new/x", "--html", "new/x"], "--html new/x would replace what --json writes"),
    ],
)
def test_nothing_that_is_read_or_written_is_replaced(own, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(own)
    before = {file.name: file.read_bytes() for file in own.iterdir()}
    capsys.readouterr()
    assert main(["eval", "m.jsonl", "--hypotheses", "h.jsonl", *arguments]) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert message in told
    assert {file.name: file.read_bytes() for file in own.iterdir()} == before


def test_reports_are_not_replaced_by_their_comparison(own, monkeypatch, capsys):
    monkeypatch.chdir(own)
    for name in ("a.json", "b.json"):
        main(["eval", "m.jsonl", "--hypotheses", "h.jsonl", "--json", name])
    assert main(["eval", "--compare", "a.json", "b.json", "--json", "b.json"]) == 2
    assert "--json b.json would replace what is read here" in capsys.readouterr().err
    assert read_report("b.json").name == "h"
    assert main(["eval", "--compare", "a.json", "b.json", "--json", "."]) == 5


def test_names_that_are_no_text(own, monkeypatch, capsys):
    """As the arguments have them where the name of a file is not UTF-8."""
    monkeypatch.chdir(own)
    flags = ["--name", "caf\udce9", "--json", "a.json", "--html", "a.html"]
    assert main(["eval", "m.jsonl", "--hypotheses", "h.jsonl", *flags]) == 0
    assert read_report("a.json").name == "caf\udce9"
    assert "<h1>caf\\udce9</h1>" in (own / "a.html").read_text("utf-8")
    assert main(["eval", "--compare", "a.json", "a.json", "--json", "c.json"]) == 0
    assert "first: caf\\udce9" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_keep_what_is_done(manifest, hypotheses, tmp_path, monkeypatch, capsys, number):
    def interrupted(clip, heard, duration):
        if clip.path == "sense_and_sensibility_0880.flac":
            signal.raise_signal(number)
        return score(clip, heard, duration)

    monkeypatch.setattr("viska.evaluation.run.score", interrupted)
    files = [str(tmp_path / "a.json"), str(tmp_path / "a.html")]
    arguments = ["eval", manifest, "--hypotheses", str(hypotheses), "--json", files[0], "--html", files[1]]
    assert main(arguments) == 130
    printed, told = capsys.readouterr()
    assert printed == ""
    assert "viska: interrupted after 1 of 3 recordings; writing these" in told
    report = read_report(files[0])
    assert [one.path for one in report.scores] == ["sense_and_sensibility_0870.wav"]
    assert report.facts["incomplete"] == "interrupted after 1 of 3 recordings"
    assert "incomplete interrupted after 1 of 3" in (tmp_path / "a.html").read_text()


def test_ctrl_c_before_anything_is_done_writes_nothing(manifest, hypotheses, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("viska.evaluation.run.score", interrupted)
    assert main(["eval", manifest, "--hypotheses", str(hypotheses), "--json", str(tmp_path / "a.json")]) == 130
    assert not (tmp_path / "a.json").exists()


def test_what_it_needs_is_told():
    script = (
        "import sys; sys.modules['rapidfuzz'] = None; from viska.cli import main; sys.exit(main(['eval', 'm.jsonl']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install '.[eval]'" in done.stderr
