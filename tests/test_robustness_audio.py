"""Every kind of bad input, through the command line: what it says, and its exit status."""

import os
import random
import struct
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from command import FAST, in_a_child
from sound_files import encode, riff, tone
from viska.audio import load_audio
from viska.errors import AudioError

CONTAINERS = {
    "wav": ("wav", "pcm_s16le", 16000, "mono"),
    "flac": ("flac", "flac", 16000, "mono"),
    "mp3": ("mp3", "libmp3lame", 16000, "mono"),
    "ogg": ("ogg", "vorbis", 44100, "stereo"),
    "opus": ("ogg", "libopus", 16000, "mono"),
    "m4a": ("ipod", "aac", 16000, "mono"),
    "webm": ("webm", "libopus", 48000, "stereo"),
}


@pytest.fixture(scope="module")
def files():
    """Two seconds of sound in every container."""
    return {
        name: encode(tone(rate, 2.0), container, codec, rate, layout)
        for name, (container, codec, rate, layout) in CONTAINERS.items()
    }


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def float_wav(samples, rate=16000):
    """A WAV file of float32 or float64 samples, mono."""
    data, width = samples.tobytes(), samples.itemsize
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate, width * rate, width, 8 * width)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm(seconds=1.0, rate=16000):
    return (tone(rate, seconds) * 30000).astype("<i2")


# Damage --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CONTAINERS.keys() - {"m4a"}))
def test_a_cut_off_file_gives_what_it_holds(command, files, tmp_path, name):
    whole = files[name]
    command.accepted(put(tmp_path, f"a.{name}", whole[: len(whole) * 7 // 10]), warning="is damaged or breaks off")


def test_a_cut_off_m4a_has_lost_its_index(command, files, tmp_path):
    whole = files["m4a"]
    path = put(tmp_path, "a.m4a", whole[: len(whole) * 7 // 10])
    command.refused(path, status=3, message="cannot be read as audio (Invalid data found")


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("size", [1, 3, 11, 40])
def test_a_few_bytes_of_a_file(command, files, tmp_path, name, size):
    command.refused(put(tmp_path, f"a.{name}", files[name][:size]), status=3, message="Accepted are WAV, FLAC, MP3")


@pytest.mark.parametrize("name", CONTAINERS)
def test_flipped_bits_give_sound_or_an_error(files, name):
    """A hundred files of each container with one to fifty wrong bits anywhere."""
    rng = random.Random(name)
    decoded = 0
    for _ in range(100):
        damaged = bytearray(files[name])
        for _ in range(rng.choice([1, 1, 3, 50])):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        try:
            samples = load_audio(bytes(damaged))
        except AudioError:
            continue
        decoded += 1
        assert samples.dtype == np.float32
        assert np.abs(samples).max() <= 1  # not so for NaN
        assert len(samples) < 16000 * 40
    assert decoded > 30


@pytest.mark.parametrize("name", CONTAINERS)
def test_flipped_bits_on_the_command_line(command, files, tmp_path, name):
    damaged = bytearray(files[name])
    for place in range(len(damaged) // 3, len(damaged), max(1, len(damaged) // 200)):
        damaged[place] ^= 0x10
    outcome = command(put(tmp_path, f"a.{name}", bytes(damaged)))
    assert outcome.status in (0, 3)
    assert outcome.status == 0 or "cannot be read as audio" in outcome.err or "no sound in it" in outcome.err
    assert "Traceback" not in outcome.err


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [*CONTAINERS, "txt", "xyz", "pt"])
def test_a_wrong_extension_does_not_matter(files, tmp_path, wrong):
    for name, content in files.items():
        samples = load_audio(put(tmp_path, f"a.{wrong}", content))
        assert np.array_equal(samples, load_audio(content)), name


def test_a_wrong_extension_on_the_command_line(command, files, tmp_path):
    command.accepted(put(tmp_path, "talk.mp3", files["flac"]))


def test_a_name_that_is_no_text(command, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.wav"
    Path(os.fsdecode(path)).write_bytes(b"no sound")
    command.refused(os.fsdecode(path), status=3, message="cannot be read as audio")


def test_a_name_that_is_too_long(command):
    command.refused("a" * 300 + ".wav", status=3, message="File name too long")


# What a header can claim ---------------------------------------------------------------------------------------------


def test_no_channels(command, tmp_path):
    command.refused(put(tmp_path, "a.wav", riff(pcm(), channels=0)), status=3, message="could be decoded")


@pytest.mark.parametrize("rate", [1, 999, 1_000_001, 2**30])
def test_rates_of_no_recording(command, tmp_path, rate):
    """At 1 Hz a few kilobytes would be hours; at 1 GHz the filter alone would take half a gigabyte."""
    path = put(tmp_path, "a.wav", riff(pcm(), rate=rate))
    command.refused(path, status=3, message=f"a sample rate of {rate} Hz; 1000 to 1000000 Hz are accepted")


def test_no_rate(command, tmp_path):
    command.refused(put(tmp_path, "a.wav", riff(pcm(), rate=0)), status=3, message="cannot be read as audio")


@pytest.mark.parametrize("rate", [1000, 4000, 384_000, 1_000_000])
def test_unusual_rates(rate):
    samples = load_audio(riff(pcm(1.0, rate), rate=rate))
    assert len(samples) == 16000
    assert np.abs(samples).max() > 0.3


def test_384_khz_on_the_command_line(command, tmp_path):
    command.accepted(put(tmp_path, "a.wav", riff(pcm(1.0, 384_000), rate=384_000)))


@pytest.mark.parametrize("channels", [9, 11, 24, 32, 64, 255])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_channels_at_no_known_place_are_averaged(channels, rate):
    """FFmpeg has no rule for 32 numbered channels, and refuses them."""
    one = pcm(0.5, rate)
    silent_but_one = np.zeros((len(one), channels), "<i2")
    silent_but_one[:, channels // 2] = one
    equal = load_audio(riff(np.repeat(one, channels), rate=rate, channels=channels))
    assert np.abs(equal - load_audio(riff(one, rate=rate))).max() < 2e-3
    if channels not in (24,):  # 22.2 is a layout that FFmpeg knows, with weights of its own
        single = load_audio(riff(silent_but_one.ravel(), rate=rate, channels=channels))
        assert np.abs(single - load_audio(riff(one, rate=rate)) / channels).max() < 2e-3


def test_32_channels_on_the_command_line(command, tmp_path):
    command.accepted(put(tmp_path, "a.wav", riff(np.repeat(pcm(), 32), channels=32)))


# Samples -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16000, 48000])
def test_samples_that_are_no_numbers_are_silenced(dtype, bad, rate, caplog):
    samples = tone(rate).astype(dtype)
    good = load_audio(float_wav(samples, rate))
    samples[rate // 2 : rate // 2 + 50] = bad
    repaired = load_audio(float_wav(samples, rate))
    assert "50 samples are NaN or infinite and were silenced" in caplog.text
    assert np.array_equal(repaired[: len(good) // 3], good[: len(good) // 3])
    assert np.abs(repaired).max() < 0.5


def test_nan_on_the_command_line(command, tmp_path):
    samples = tone()
    samples[100] = np.nan
    command.accepted(put(tmp_path, "a.wav", float_wav(samples)), warning="1 samples are NaN or infinite")


@pytest.mark.parametrize(("dtype", "scale"), [("<f4", 1e30), ("<f8", 1e300), ("<f4", 32768)])
def test_huge_samples_are_cut_off(dtype, scale, caplog):
    """Conversion to 16 bits would make silence of 1e300."""
    samples = load_audio(float_wav((tone(48000).astype("<f8") * scale).astype(dtype), 48000))
    assert "belong within ±1, and were cut off" in caplog.text
    assert np.abs(samples).max() <= 1
    assert np.mean(np.abs(samples) > 0.99) > 0.9


def test_huge_samples_on_the_command_line(command, tmp_path):
    path = put(tmp_path, "a.wav", float_wav(tone() * np.float32(1e30)))
    command.accepted(path, warning="samples reach 4e+29 but belong within ±1")


def test_loud_samples_are_left_alone(caplog):
    load_audio(float_wav(tone() * np.float32(100)))
    assert "cut off" not in caplog.text


def test_one_sample(command, tmp_path):
    command.accepted(put(tmp_path, "a.wav", riff([1000])))


@pytest.mark.parametrize("rate", [8000, 48000])
def test_one_sample_that_is_lost_in_resampling(command, tmp_path, rate):
    command.refused(
        put(tmp_path, "a.wav", riff([1000], rate=rate)), status=3, message="no sound in it could be decoded"
    )


# What is no file, or no whole file -----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_a_fifo(command, files, tmp_path):
    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(files["m4a"]))
    writer.start()
    command.accepted(fifo)
    writer.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_a_fifo_whose_writer_says_nothing(command, tmp_path):
    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(b""))
    writer.start()
    command.refused(fifo, status=3, message="is empty")
    writer.join()


@pytest.mark.parametrize("name", ["wav", "mp3", "flac"])
def test_a_file_that_grows_while_it_is_read(files, tmp_path, name):
    """The result is what was there: at least the part before the reading began, at most the whole."""
    whole = files[name]
    path = put(tmp_path, f"a.{name}", whole[: len(whole) // 2])
    done = threading.Event()

    def grow():
        with path.open("ab") as file:
            for start in range(len(whole) // 2, len(whole), 500):
                file.write(whole[start : start + 500])
                file.flush()
                time.sleep(0.001)
        done.set()

    thread = threading.Thread(target=grow)
    thread.start()
    while not done.is_set():
        assert 0.2 < len(load_audio(path)) / 16000 < 2.2
    thread.join()
    assert len(load_audio(path)) / 16000 > 1.9


def test_a_file_that_shrinks_while_it_is_read(files, tmp_path):
    path = put(tmp_path, "a.wav", files["wav"] * 1)
    with path.open("rb") as file:
        file.read(100)
        os.truncate(path, 20000)
        assert 0.5 < len(load_audio(file)) / 16000 < 0.7


def test_a_folder(command, tmp_path):
    (tmp_path / "empty").mkdir()
    command.refused(tmp_path / "empty", status=3, message="has no sound or video files in it")


def test_a_device_without_an_end(command):
    command.refused("/dev/zero", status=3, message="is empty")


@pytest.fixture
def private():
    """A folder with a file that this process may not read, although it may see it."""
    import av  # noqa: F401  # could not be loaded later, as another user

    if not hasattr(os, "geteuid"):
        pytest.skip("the permissions of POSIX")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        put(folder, "secret.wav", riff(pcm())).chmod(0)
        (folder / "closed").mkdir(mode=0o000)
        load_audio(riff(pcm()))
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            (folder / "closed").chmod(0o700)


def test_a_file_without_permission(private):
    with pytest.raises(AudioError, match="may not be read; change its permissions") as caught:
        load_audio(private / "secret.wav")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["closed", "closed/a.wav"])
def test_a_folder_without_permission(private, name):
    from viska.cli.inputs import expand

    with pytest.raises(AudioError, match=r"cannot be looked up .*Permission denied.*check the path") as caught:
        expand([str(private / name)])
    assert caught.value.exit_code == 3


# Size ----------------------------------------------------------------------------------------------------------------


def long_wav(path: Path, seconds: int) -> Path:
    """Silence of that length with a second of sound at its end; takes next to no room on the disk."""
    sound = pcm()
    n_bytes = 2 * 16000 * seconds
    with path.open("wb") as file:
        header = riff([])
        file.write(header[:4] + struct.pack("<I", n_bytes + 36) + header[8:-4] + struct.pack("<I", n_bytes))
        file.seek(44 + n_bytes - 2 * len(sound))
        file.write(sound.tobytes())
    return path


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory are those of Linux")
def test_sound_that_does_not_fit_into_memory(tmp_path):
    path = long_wav(tmp_path / "long.wav", 2 * 3600)
    code = """
from viska.audio import load_audio
may_take(300)
try:
    load_audio(sys.argv[1])
except MemoryError as error:
    print(error)
"""
    assert in_a_child(code, path).stdout == (
        f"The file {str(path)!r} holds more sound than fits into memory; give a part of it, or use a machine with "
        "more.\n"
    )


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory are those of Linux")
def test_a_long_file_does_not_lie_in_memory(tmp_path):
    """Two hours are 460 MB of samples."""
    path = long_wav(tmp_path / "long.wav", 2 * 3600)
    code = "use_made_up_model(); may_take(600); sys.exit(main(sys.argv[1:]))"
    clip = ["--clip_timestamps", "7190", "--guard", "False"]
    child = in_a_child(code, path, "-o", tmp_path / "results", *clip, *FAST)
    assert (child.returncode, child.stderr) == (0, "")
    assert (tmp_path / "results" / "long.txt").exists()


@pytest.mark.parametrize("allocate", [lambda: torch.empty(1 << 60), lambda: bytearray(1 << 60)])
def test_a_transcription_that_does_not_fit_into_memory(command, tmp_path, monkeypatch, allocate):
    monkeypatch.setattr("viska.transcription.Transcription", lambda *_, **__: allocate())
    path = put(tmp_path, "a.wav", riff(pcm()))
    command.refused(
        path, status=6, message=f"the transcription of {path} does not fit into memory; take a smaller model"
    )


def test_other_errors_of_torch_are_not_taken_for_memory(command, tmp_path, monkeypatch):
    monkeypatch.setattr("viska.transcription.Transcription", lambda *_, **__: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        command(put(tmp_path, "a.wav", riff(pcm())))


@pytest.mark.slow
def test_ten_hours_take_six_bytes_a_sample(tmp_path):
    path = long_wav(tmp_path / "long.wav", 10 * 3600)
    code = (
        "from viska.audio import load_audio; samples = load_audio(sys.argv[1]);"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "print(len(samples), samples[:-16000].any(), samples[-16000:].max() > 0.3, peak)"
    )
    child = in_a_child(code, path, timeout=900)
    length, sound_before, loud, kilobytes = child.stdout.split()
    assert (int(length), sound_before, loud) == (16000 * 36000, "False", "True")
    assert int(kilobytes) * 1024 < 6.6 * int(length) + 400e6
