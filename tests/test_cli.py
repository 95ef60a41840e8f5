"""The command line: flags, messages, exit statuses, files."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import viska
from viska.cli import main
from viska.cli.inputs import expand, output_names
from viska.cli.parser import for_argparse, transcribe_parser
from viska.cli.run import ladder, options_of
from viska.cli.show import open_streams
from viska.errors import AudioError, OutputError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def recording(recordings) -> str:
    return str(recordings / "sense_and_sensibility_0870.wav")


@pytest.fixture
def loaded(tiny_en, monkeypatch):
    """The command line finds tiny.en loaded already; the list says what it asked for."""
    asked = []

    def load_model(name, device, model_dir, *, compute_type, offline):
        asked.append((name, device, model_dir, compute_type))
        return tiny_en

    monkeypatch.setattr("viska.weights.load_model", load_model)
    return asked


FAST = ["--beam_size", "None", "--temperature_increment_on_fallback", "None"]


def test_a_recording_becomes_text_on_the_screen_and_five_files(loaded, recording, tmp_path, capsys):
    assert main([recording, "--model", "tiny.en", "-o", str(tmp_path / "new"), *FAST]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("[00:00.000 --> 00:0")
    assert "Mr. John Dashwood had then leisure to consider" in printed
    stem = "sense_and_sensibility_0870"
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        f"{stem}.{ending}" for ending in ("txt", "vtt", "srt", "tsv", "json")
    }
    result = json.loads((tmp_path / "new" / f"{stem}.json").read_text())
    assert result["language"] == "en"
    assert result["text"].split() == (tmp_path / "new" / f"{stem}.txt").read_text().split()
    assert loaded == [("tiny.en", None, None, "auto")]


def test_one_format_and_silence(loaded, recording, tmp_path, capsys):
    assert main([recording, "--verbose", "False", "--output-format", "srt", "--output-dir", str(tmp_path), *FAST]) == 0
    assert capsys.readouterr().out == ""
    assert [path.suffix for path in tmp_path.iterdir()] == [".srt"]


def test_subtitles_are_laid_out_as_asked(loaded, recording, tmp_path):
    words = ["--word_timestamps", "True", "-f", "srt"]
    assert main([recording, *words, "--max_words_per_line", "3", "-o", str(tmp_path / "a"), *FAST]) == 0
    lines = (tmp_path / "a" / "sense_and_sensibility_0870.srt").read_text().splitlines()
    assert lines[2] == "And Mr. John"
    assert main([recording, *words, "--preset", "shorts", "-o", str(tmp_path / "b"), *FAST]) == 0
    cues = (tmp_path / "b" / "sense_and_sensibility_0870.srt").read_text().strip().split("\n\n")
    assert len(cues) > 5
    assert all(len(cue.splitlines()[2].split()) <= 3 for cue in cues)


def test_standard_input_is_named_once(tmp_path, capsys):
    assert main(["-", "-", "-o", str(tmp_path)]) == 2
    assert "- was given 2 times; it can be read but once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--max_line_count", "1", "--word_timestamps", "True"], "--max_line_count does nothing without"),
        (["-f", "txt", "--preset", "tv", "--word_timestamps", "True"], "txt has no subtitles to lay out: --preset"),
        (["--clip_timestamps", "100,200"], "clip_timestamps 100,200 have no part of this recording"),
        (["--task", "translate"], "knows English alone and translates nothing"),
    ],
)
def test_what_does_nothing_is_told(loaded, recording, tmp_path, caplog, arguments, told):
    assert main([recording, "-o", str(tmp_path), *arguments, *FAST]) == 0
    assert told in caplog.text


def test_a_bad_input_does_not_keep_the_others_from_being_transcribed(loaded, recording, tmp_path, capsys):
    missing, broken = tmp_path / "missing.wav", tmp_path / "broken.mp3"
    broken.write_bytes(b"no sound at all")
    status = main([str(missing), str(broken), recording, "-o", str(tmp_path / "out"), "-f", "txt", *FAST])
    assert status == 3
    errors = capsys.readouterr().err
    assert str(missing) in errors
    assert str(broken) in errors
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sense_and_sensibility_0870.txt"]


def test_inputs_that_share_a_stem_do_not_overwrite_each_other():
    names = output_names(["a/talk.wav", "b/talk.mp3", "talk.part1.wav", "talk.ogg", "-"])
    assert [name.stem for name in names] == ["talk", "talk-2", "talk.part1", "talk-3", "stdin"]
    assert [name.stem for name in output_names(["talk-2.wav", "talk.wav", "x/talk.wav"])] == [
        "talk-2",
        "talk",
        "talk-3",
    ]


@pytest.mark.parametrize("ending", ["tsv", "txt", "json"])
def test_no_transcript_replaces_a_recording(recording, tmp_path, capsys, ending):
    named = tmp_path / f"take.{ending}"  # the ending of a recording may be any
    named.write_bytes(Path(recording).read_bytes())
    (tmp_path / "other").mkdir()
    beside = tmp_path / "other" / "take.wav"
    beside.write_bytes(Path(recording).read_bytes())
    for inputs in ([named], [beside, named]):
        assert main([*map(str, inputs), "-o", str(tmp_path)]) == 2
        message = capsys.readouterr().err
        assert f"would replace the input {named}" in message
        assert "--output_dir" in message
    assert named.read_bytes() == Path(recording).read_bytes()


def test_an_input_without_a_name_is_not_the_current_folder(recording, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(Path(recording).parent)
    assert main(["", "-o", str(tmp_path)]) == AudioError.exit_code
    assert "named ''" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_folders_and_patterns_become_files(tmp_path):
    for name in ("b.mp3", "a.WAV", "notes.txt", "sub"):
        (tmp_path / name).mkdir() if name == "sub" else (tmp_path / name).touch()
    (tmp_path / "sub" / "c.ogg").touch()
    found = [Path(name).relative_to(tmp_path) for name in expand([str(tmp_path)])]
    assert found == [Path("a.WAV"), Path("b.mp3")]
    assert [Path(name).name for name in expand([str(tmp_path / "*.mp3"), str(tmp_path / "**" / "*.ogg")])] == [
        "b.mp3",
        "c.ogg",
    ]
    assert expand(["-", "missing.wav", str(tmp_path / "notes.txt")]) == [
        "-",
        "missing.wav",
        str(tmp_path / "notes.txt"),
    ]
    for nothing in (str(tmp_path / "*.flac"), str(ROOT / "docs")):
        with pytest.raises(AudioError, match=r"no file matches|has no sound or video"):
            expand([nothing])


def test_a_folder_says_what_of_it_is_left_out(tmp_path, caplog):
    talks = tmp_path / "talks"
    for name in ("a.wav", "day1/b.mp3", "day2/late/c.ogg", "transcripts/a.txt", "day2/late/c.txt"):
        (talks / name).parent.mkdir(parents=True, exist_ok=True)
        (talks / name).touch()
    assert expand([str(talks)]) == [str(talks / "a.wav")]
    (told,) = caplog.messages
    assert told == (
        f"left out, as folders in {talks} are not searched: {talks / 'day1'}, {talks / 'day2'}; "
        "name them too to have their files"
    )
    caplog.clear()
    assert expand([str(talks), f"{talks}/day1/", str(talks / "day2" / "late")]) == [
        str(talks / name) for name in ("a.wav", "day1/b.mp3", "day2/late/c.ogg")
    ]
    assert f": {talks / 'day2'}; name them" in caplog.messages[0]
    caplog.clear()
    assert expand([str(talks)], [f"{talks}/day1", str(talks / "day2")]) == [str(talks / "a.wav")]
    assert not caplog.messages
    (talks / "a.wav").unlink()
    with pytest.raises(AudioError, match=f"in folders below: name these, {talks / 'day1'}, {talks / 'day2'}$"):
        expand([str(talks)])


def test_json_lines_tell_scripts_everything(loaded, recording, tmp_path, capsys):
    missing = str(tmp_path / "missing.wav")
    assert (
        main([missing, recording, "--json", "-f", "txt", "-o", str(tmp_path), "--word_timestamps", "True", *FAST]) == 3
    )
    error, *segments, transcript = map(json.loads, capsys.readouterr().out.splitlines())
    assert (error["type"], error["audio"], error["exit_status"]) == ("error", missing, 3)
    assert "does not exist" in error["message"]
    assert {segment["type"] for segment in segments} == {"segment"}
    assert segments[0]["words"][0]["word"] == " And"
    assert (transcript["type"], transcript["language"]) == ("transcript", "en")
    assert transcript["files"] == [str(tmp_path / "sense_and_sensibility_0870.txt")]
    assert transcript["text"] == "".join(segment["text"] for segment in segments)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--hallucination_silence_threshold", "2"], 2, "give word_timestamps too"),
        (["--max_line_width", "40"], 2, "needs the times of words: give --word_timestamps True too"),
        (["--preset", "tv", "--max_line_width", "40"], 2, "--preset lays subtitles out by itself"),
        (["--language", "Elvish"], 2, "Elvish"),
        (["--patience", "2", "--beam_size", "None"], 2, "patience belongs to beam search"),
        (["--temperature", "-1"], 2, "temperature is -1.0"),
        (["--compat", "faster"], 2, "compat is 'faster'"),
        (["--suppress_tokens", "a"], 2, "suppress_tokens is 'a'"),
        (["--clip_timestamps", "x"], 2, "clip_timestamps is 'x'"),
        (["--clip_timestamps", "5,3"], 2, "the clip from 5.0 to 3.0 s has its end before its start"),
        (["--channel", "foo"], 2, "the channel is 'foo'; accepted are"),
        (["--audio_track", "-1"], 2, "the audio track is -1; accepted are"),
        (["--temperature", "nan"], 2, "temperature is nan"),
        (["--temperature", "inf"], 2, "temperature is inf"),
        (["--temperature_increment_on_fallback", "nan"], 2, "temperature_increment_on_fallback is nan"),
        (["--temperature_increment_on_fallback", "1e-9"], 2, "more than 100 temperatures; give 0.01 or more"),
        (["--temperature_increment_on_fallback", "-0.2"], 2, "temperature_increment_on_fallback is -0.2"),
        (["--logprob_threshold", "nan"], 2, "logprob_threshold is nan"),
        (["--threads", "100000000"], 2, "--threads is 100000000; accepted are 1 to 1024"),
        (["--threads", "-1"], 2, "--threads is -1; accepted are 1 to 1024"),
        (["--languages", "de", "--model", "tiny.en"], 2, "knows English alone, but languages are de"),
        (["--model", "enormous"], 4, "enormous"),
        (["--compute_type", "int3"], 2, "int3"),
        (["--device", "abacus"], 2, "abacus"),
    ],
)
def test_errors_are_one_message_and_a_status(recording, tmp_path, capsys, arguments, status, message):
    assert main([recording, "-o", str(tmp_path), *arguments]) == status
    captured = capsys.readouterr()
    assert captured.err.startswith("viska: error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [[], ["--verbose", "maybe", "a.wav"], ["--output_format", "doc", "a.wav"], ["--colour", "a.wav"]]
)
def test_wrong_flags_are_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: viska" in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_is_told_before_the_work(recording, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("viska.weights.load_model", lambda *_, **__: pytest.fail("the work was begun"))
    file = tmp_path / "file"
    file.write_text("")
    assert main([recording, "-o", str(file / "below")]) == 5
    assert "cannot make the output folder" in capsys.readouterr().err


def test_text_that_cannot_be_written_is_not_lost(loaded, recording, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OutputError("no space left")

    monkeypatch.setattr("viska.formats.write", full)
    assert main([recording, "-o", str(tmp_path), "--verbose", "False", *FAST]) == 5
    captured = capsys.readouterr()
    assert "John Dashwood" in captured.out
    assert "no space left" in captured.err


def test_an_interrupt_is_status_130(recording, monkeypatch, capsys, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("viska.weights.load_model", interrupt)
    assert main([recording, "-o", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "viska: interrupted\n"


def test_flags_have_the_defaults_of_the_whisper_command():
    flags = vars(transcribe_parser().parse_args(["a.wav"]))
    known = {
        "model": "base",  # ours; turbo there
        "model_dir": None,
        "device": None,
        "output_dir": ".",
        "output_format": "all",
        "verbose": True,
        "task": "transcribe",
        "language": None,
        "temperature": 0,
        "best_of": 5,
        "beam_size": 5,
        "patience": None,
        "length_penalty": None,
        "suppress_tokens": "-1",
        "initial_prompt": None,
        "carry_initial_prompt": False,
        "condition_on_previous_text": None,  # the same as True but with --batch_size
        "fp16": True,
        "temperature_increment_on_fallback": 0.2,
        "compression_ratio_threshold": 2.4,
        "logprob_threshold": -1.0,
        "no_speech_threshold": 0.6,
        "threads": 0,
        "clip_timestamps": "0",
    }
    assert {name: flags[name] for name in known} == known


def test_flags_of_batches_and_voice_activity_become_options():
    def options(*arguments):
        return options_of(transcribe_parser().parse_args(["a.wav", *arguments]))

    plain = options()
    assert (plain.batch_size, plain.vad_filter, plain.vad_parameters, plain.short_context) == (1, False, None, None)
    asked = options("--batch_size", "6", "--vad_filter", "True", "--short_context", "False")
    assert (asked.batch_size, asked.vad_filter, asked.short_context) == (6, True, False)
    tuned = options("--vad_filter", "True", "--vad_parameters", "threshold=0.4, min_silence_duration_ms=500")
    assert tuned.vad_parameters == {"threshold": 0.4, "min_silence_duration_ms": 500}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0.4", "'0.4' is no name=number; write for example threshold=0.4"),
        ("threshold=high", "'threshold=high' is no name=number"),
        ("threshold=0.4,", "'' is no name=number"),
        ("loudness=3", "unknown voice activity option loudness; accepted are threshold,"),
        ("threshold=7", "threshold is 7.0; accepted are numbers from 0 to 1"),
    ],
)
def test_parameters_of_voice_activity_that_make_no_sense(given, message, capsys, tmp_path):
    try:
        status = main(["a.wav", "--vad_filter", "True", "--vad_parameters", given, "-o", str(tmp_path)])
    except SystemExit as left:
        status = left.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_a_flag_that_is_left_out_means_the_default_of_the_option():
    from viska.decoding import DecodingOptions
    from viska.transcription import TranscribeOptions

    flags = vars(transcribe_parser().parse_args(["a.wav"]))
    known = {**vars(TranscribeOptions()), **vars(DecodingOptions())}
    command_line_only = {"temperature", "best_of", "beam_size", "clip_timestamps"}  # those of the `whisper` command
    shared = (set(flags) & set(known)) - command_line_only
    assert len(shared) > 20
    assert {name: flags[name] for name in shared} == {name: known[name] for name in shared}


def test_every_flag_reaches_the_options():
    text = "a.wav --task translate --language fr --temperature 0.4 --best_of 3 --beam_size 2 --length_penalty 0.5 "
    text += "--suppress_tokens 5,6 --initial_prompt Hi --carry_initial_prompt True --condition_on_previous_text False "
    text += "--fp16 False --seed 7 --temperature_increment_on_fallback 0.3 --compression_ratio_threshold None "
    text += "--logprob_threshold -2 --no_speech_threshold 0.5 --clip_timestamps 1,2 --compat openai"
    options = options_of(transcribe_parser().parse_args(text.split()))
    assert options.temperature == (0.4, 0.7, 1.0)
    assert (options.compression_ratio_threshold, options.logprob_threshold, options.no_speech_threshold) == (
        None,
        -2,
        0.5,
    )
    assert (options.initial_prompt, options.carry_initial_prompt, options.condition_on_previous_text) == (
        "Hi",
        True,
        False,
    )
    assert (options.clip_timestamps, options.compat) == ((1.0, 2.0), "openai")
    decoding = options.decoding
    assert (decoding.task, decoding.language, decoding.best_of, decoding.beam_size) == ("translate", "fr", 3, 2)
    assert (decoding.length_penalty, decoding.suppress_tokens, decoding.fp16, decoding.seed) == (0.5, "5,6", False, 7)


@pytest.mark.parametrize(
    ("first", "step", "temperatures"),
    [
        (0.0, 0.2, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0.5, 0.2, (0.5, 0.7, 0.9)),
        (0.0, None, (0.0,)),
        (0.3, 0.0, (0.3,)),
        (1.5, 0.2, (1.5,)),
    ],
)
def test_temperatures_climb_to_1(first, step, temperatures):
    assert ladder(first, step) == temperatures


def test_hyphens_are_taken_for_underscores_in_flags_alone():
    given = ["my-talk.wav", "--beam-size", "5", "--initial-prompt=so-so", "-o", "a-b", "--", "--not-a-flag"]
    expected = ["my-talk.wav", "--beam_size", "5", "--initial_prompt=so-so", "-o", "a-b", "--", "--not-a-flag"]
    assert for_argparse(given) == expected


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path, capsys):
    assert main([str(tmp_path / "red\x1b[31m.wav")]) == 3
    assert "red\\x1b[31m.wav" in capsys.readouterr().err


def test_nor_do_those_in_a_warning():
    code = "import logging; from viska.cli.show import open_log; open_log(); logging.warning('%s', chr(27) + '[31m')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "viska: \\x1b[31m\n"


def test_lists_that_begin_with_a_negative_number_are_values():
    given = ["a.wav", "--suppress-tokens", "-1,50257", "--", "--suppress_tokens", "-1,50257"]
    assert for_argparse(given) == ["a.wav", "--suppress_tokens=-1,50257", *given[3:]]
    assert for_argparse(["--beam_size=5", "-1,2"]) == ["--beam_size=5", "-1,2"]
    assert transcribe_parser().parse_args(for_argparse(given[:3])).suppress_tokens == "-1,50257"
    assert transcribe_parser().parse_args(for_argparse(["a.wav", "--suppress_tokens", "-1"])).suppress_tokens == "-1"


def viska_process(*arguments: str, **settings) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "viska", *arguments], capture_output=True, text=True, check=False, **settings
    )


def test_version_and_help_answer_without_torch():
    code = "import sys, viska.cli; viska.cli.main.__module__; import viska.cli.parser; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    version = viska_process("--version")
    assert (version.returncode, version.stdout) == (0, f"viska {viska.__version__}\n")
    help_ = viska_process("--help")
    assert help_.returncode == 0
    assert "exit status:" in help_.stdout


def test_standard_input_and_a_reader_that_goes_away(recordings, tiny_en, tmp_path):
    command = [sys.executable, "-m", "viska", "-", "--model", "tiny.en", "-f", "txt", "-o", str(tmp_path), *FAST]
    audio = (recordings / "sense_and_sensibility_0880.flac").read_bytes()
    done = subprocess.run(command, input=audio, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert "young man" in (tmp_path / "stdin.txt").read_text()

    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, input=audio, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("stream", "redirection"), [("stdout", ">&-"), ("stderr", "2>&-"), ("both", ">&- 2>&-")])
def test_a_stream_that_is_closed_costs_nothing(recording, tiny_en, tmp_path, together, stream, redirection):
    folder = str(tmp_path / "out")
    inputs = [recording, str(Path(recording).with_name("sense_and_sensibility_0880.flac"))][: 1 + together]
    flags = ["--model", "tiny.en", "-f", "txt", "-o", folder, *(["--batch_size", "2"] if together else [])]
    shell = ["sh", "-c", f'exec "$0" -m viska "$@" {redirection}', sys.executable, *inputs, *flags]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    assert stream == "stdout" or not done.stdout.startswith("viska")
    assert len(list(Path(folder).iterdir())) == len(inputs)


@pytest.mark.skipif(sys.platform == "win32", reason="keeps a folder that somebody stands in")
def test_a_current_folder_that_was_removed_is_told(recording, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'cd "{gone}" && rmdir "{gone}" && exec "{sys.executable}" -m viska "{recording}" -o "{tmp_path}"'
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (5, "")
    assert result.stderr == (
        "viska: error: the current folder is not there any more; change to one that is, as with `cd`\n"
    )


def test_letters_that_the_screen_lacks_are_escaped(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    open_streams()
    print("d\u00e9j\u00e0")
    screen.flush()
    assert screen.buffer.getvalue() == b"d\\xe9j\\xe0\n"


def test_programs_without_a_console_may_ask_for_a_bar(loaded, recording, tiny_en, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert tiny_en.transcribe(recording, verbose=False, beam_size=None, temperature=0.0)["text"]


@pytest.mark.parametrize("arguments", ["models", "models --json", "completion bash"])
def test_a_full_disk_behind_standard_output_is_told(arguments):
    done = subprocess.run(
        f'"{sys.executable}" -m viska {arguments} >/dev/full', shell=True, capture_output=True, text=True
    )
    assert done.returncode == OutputError.exit_code
    assert done.stderr.startswith("viska: error: standard output takes no more")
    assert "Traceback" not in done.stderr


def test_models_is_a_command_of_its_own(capsys):
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "large-v3-turbo" in listed
    assert "tiny.en" in listed


def test_the_exit_statuses_of_the_readme_are_those_of_the_help():
    rows = (Path(__file__).parent.parent / "README.md").read_text().split("| exit status | meaning |\n|---|---|\n")[1]
    table = dict(row.strip("| ").split(" | ") for row in rows.split("\n\n")[0].splitlines())
    help_text = transcribe_parser().format_help()
    for status, meaning in table.items():
        assert f"  {status:<4} {meaning}\n" in help_text
