"""Audio: files of every kind against known samples and ffmpeg; log-mel against its definition and the oracle."""

import errno
import gc
import hashlib
import io
import json
import logging
import os
import shutil
import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sound_files import encode, riff, tone
from viska import audio
from viska.audio import load_audio, load_channels, log_mel_spectrogram, mel_filters, pad_or_trim
from viska.errors import AudioError, OptionError, OutputError


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


class Unseekable:
    """What a socket or a pipe offers: bytes, once."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, size=-1):
        return self._file.read(size)


class Breaking(io.BytesIO):
    """A file on a device that goes away after `good` bytes."""

    def __init__(self, data, good):
        super().__init__(data)
        self._good = good

    def read(self, size=-1):
        if self.tell() >= self._good:
            raise OSError("the device is gone")
        return super().read(size)


# name -> container, codec, rate, layout, with video
LOSSLESS = {
    "wav-s16": ("wav", "pcm_s16le", 16000, "mono", False),
    "wav-s16-stereo": ("wav", "pcm_s16le", 16000, "stereo", False),
    "wav-s24": ("wav", "pcm_s24le", 16000, "stereo", False),
    "wav-float": ("wav", "pcm_f32le", 16000, "mono", False),
    "aiff": ("aiff", "pcm_s16be", 16000, "mono", False),
    "flac": ("flac", "flac", 16000, "mono", False),
}
CONVERTED = {
    "wav-8k": ("wav", "pcm_s16le", 8000, "mono", False),
    "wav-48k-5.1": ("wav", "pcm_s24le", 48000, "5.1", False),
    "wav-f32-48k": ("wav", "pcm_f32le", 48000, "stereo", False),
    "flac-44k": ("flac", "flac", 44100, "stereo", False),
    "mulaw-8k": ("wav", "pcm_mulaw", 8000, "mono", False),
    "mp3-44k": ("mp3", "libmp3lame", 44100, "stereo", False),
    "mp3-16k": ("mp3", "libmp3lame", 16000, "mono", False),
    "m4a-44k": ("ipod", "aac", 44100, "stereo", False),
    "adts-32k": ("adts", "aac", 32000, "mono", False),
    "opus": ("ogg", "libopus", 48000, "mono", False),
    "vorbis": ("ogg", "vorbis", 44100, "stereo", False),
    "webm-opus": ("webm", "libopus", 48000, "stereo", False),
    "mp4-video": ("mp4", "aac", 48000, "stereo", True),
    "mkv-video": ("matroska", "libopus", 48000, "mono", True),
}
FORMATS = LOSSLESS | CONVERTED
# Raw AAC has no field for the encoder's delay of one frame, so that no reader can take it off.
DELAYED = {"adts-32k": 512}


@pytest.fixture(scope="module")
def made():
    """name -> file contents, made once."""
    cache = {}

    def make(name, seconds=2.0):
        if (name, seconds) not in cache:
            container, codec, rate, layout, video = FORMATS[name]
            cache[name, seconds] = encode(tone(rate, seconds), container, codec, rate, layout, video)
        return cache[name, seconds]

    return make


# --- constants -------------------------------------------------------------------------------------------------------


def test_constants():
    assert (audio.SAMPLE_RATE, audio.N_FFT, audio.HOP_LENGTH, audio.CHUNK_LENGTH) == (16000, 400, 160, 30)
    assert (audio.N_SAMPLES, audio.N_FRAMES, audio.N_SAMPLES_PER_TOKEN) == (480000, 3000, 320)
    assert (audio.FRAMES_PER_SECOND, audio.TOKENS_PER_SECOND) == (100, 50)


def test_import_does_not_load_ffmpeg():
    code = "import sys, viska.audio; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_give_the_samples_back(made, name):
    samples = load_audio(made(name))
    assert samples.dtype == np.float32
    assert samples.shape == (32000,)
    assert np.abs(samples - tone(seconds=2.0)).max() <= 1 / 32768


@pytest.mark.parametrize("name", CONVERTED)
def test_other_formats_give_the_same_sound_at_the_same_time(made, name):
    samples = load_audio(made(name))
    delay = DELAYED.get(name, 0)
    assert 32000 <= len(samples) <= 32000 + delay + 512  # what AAC pads its end with is not always declared
    assert rms(samples[delay + 160 : delay + 31840] - tone(seconds=2.0)[160:-160]) < 0.02


def test_16_bit_files_are_exact():
    values = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(load_audio(riff(values)), values.astype(np.float32) / 32768)


@pytest.mark.parametrize("sr", [8000, 16000, 22050])
def test_sample_rate_of_the_result(made, sr):
    samples = load_audio(made("flac-44k"), sr=sr)
    assert abs(len(samples) - 2 * sr) <= 1
    assert rms(samples[200:-200] - tone(sr, 2.0)[200 : len(samples) - 200]) < 0.02


@pytest.mark.parametrize("channels", range(1, 9))
def test_any_number_of_channels(channels):
    sound = np.repeat(tone()[:, None] * 8000, channels, axis=1)
    samples = load_audio(riff(sound, channels=channels))
    assert samples.shape == (16000,)
    assert 0.05 < rms(samples) < 0.5


@pytest.mark.parametrize(("container", "codec"), [("ipod", "aac"), ("ogg", "libopus"), ("wv", "wavpack")])
def test_eight_channels_that_are_not_interleaved(container, codec):
    """PyAV tells of a ninth, which is no memory of the process."""
    file = encode(tone(48000, 2.0), container, codec, 48000, "7.1")
    samples = load_audio(file)
    assert len(samples) == pytest.approx(32000, abs=200)
    assert rms(samples) > 0.05
    channels = load_channels(file)
    assert channels.shape == (8, len(samples))
    assert rms(channels[0][:32000] - tone(seconds=2.0)) < 0.1


def test_channels_are_averaged():
    left, right = np.full(16000, 8000), np.full(16000, 2000)
    assert np.abs(load_audio(riff(np.stack([left, right], axis=1), channels=2)) * 32768 - 5000).max() <= 1


def test_the_default_track_is_taken_before_others():
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        streams = [output.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        streams[1].disposition = int(av.stream.Disposition.default)
        for stream, level in zip(streams, (100, 2000), strict=True):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16000), level, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    assert np.all(load_audio(file.getvalue()) * 32768 == 2000)


def test_streams_whose_format_changes_in_the_middle():
    parts = [
        encode(tone(rate, 2.0), "mp3", "libmp3lame", rate, layout)
        for rate, layout in ((44100, "stereo"), (22050, "mono"))
    ]
    samples = load_audio(b"".join(parts))
    assert abs(len(samples) - 64000) < 2000
    assert rms(samples[-20000:-4000]) > 0.2


def test_tags_in_an_unknown_encoding():
    tag = struct.pack("<4sI", b"INAM", 6) + b"caf\xe9\xff\0"
    samples = load_audio(riff(np.arange(160), extra=struct.pack("<4sI", b"LIST", 4 + len(tag)) + b"INFO" + tag))
    assert len(samples) == 160


def test_a_header_that_declares_no_length_is_no_reason_to_warn(made, caplog):
    streamed = bytearray(riff(np.arange(16000)))
    streamed[4:8] = streamed[40:44] = b"\xff\xff\xff\xff"  # as programs write it that do not know the end yet
    assert len(load_audio(bytes(streamed))) == 16000
    assert not caplog.records


@pytest.mark.parametrize("name", FORMATS)
def test_whole_files_give_no_warning_and_nothing_on_stderr(made, name, caplog, capfd):
    load_audio(made(name))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


# --- where the input comes from --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [str, Path, os.fsencode], ids=["str", "Path", "PathLike-bytes"])
def test_paths(tmp_path, wrap):
    path = tmp_path / "Ümläut %03d: näme.wav"
    path.write_bytes(riff(np.arange(1000)))
    source = wrap(path)
    if isinstance(source, bytes):  # bytes are contents; only a PathLike may hold a path of bytes

        class BytesPath(os.PathLike):
            def __fspath__(self):
                return os.fsencode(path)

        source = BytesPath()
    assert len(load_audio(source)) == 1000


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO, Unseekable])
@pytest.mark.parametrize("name", ["wav-s16", "mp4-video", "opus"])
def test_contents_and_file_objects_give_what_the_file_gives(tmp_path, made, kind, name):
    path = tmp_path / "sound"
    path.write_bytes(made(name))
    assert np.array_equal(load_audio(kind(made(name))), load_audio(path))


def test_file_objects_are_read_from_their_beginning_and_left_open(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(np.arange(1000)))
    with path.open("rb") as file:
        file.seek(500)
        first = load_audio(file)
        assert not file.closed
        assert np.array_equal(load_audio(file), first)
    assert len(first) == 1000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_pipes_larger_than_their_buffer_and_named_pipes(tmp_path):
    contents = riff(np.arange(100000) % 1000)
    read_end, write_end = os.pipe()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def write(target):
        with open(target, "wb") as file:  # noqa: PTH123 - a file descriptor, or a path
            file.write(contents)

    writers = [threading.Thread(target=write, args=(target,), daemon=True) for target in (write_end, fifo)]
    for writer in writers:
        writer.start()
    with os.fdopen(read_end, "rb") as pipe:
        assert len(load_audio(pipe)) == 100000
    assert len(load_audio(fifo)) == 100000
    for writer in writers:
        writer.join()


def test_a_pipe_without_room_for_temporary_files(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audio, "copyfileobj", full)
    pipe = io.BytesIO(b"RIFF")
    pipe.seekable = lambda: False
    with pytest.raises(OutputError, match=r"cannot be kept in .*: No space left .* make room there, or name .* TMPDIR"):
        load_audio(pipe)


def test_large_pipes_go_through_the_disk(monkeypatch, made):
    monkeypatch.setattr(audio, "_SPOOL_IN_MEMORY", 1000)
    assert len(load_audio(Unseekable(made("mp4-video")))) >= 32000


def test_standard_input(made):
    code = "from viska.audio import load_audio; print(len(load_audio('-')))"
    result = subprocess.run([sys.executable, "-c", code], input=made("mp4-video"), capture_output=True, check=True)
    assert int(result.stdout) == len(load_audio(made("mp4-video")))
    assert result.stderr == b""


# --- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "zero", "scale"),
    [
        ("f2", 0, 1),
        ("f4", 0, 1),
        ("f8", 0, 1),
        (">f4", 0, 1),
        ("i2", 0, 2**15),
        (">i2", 0, 2**15),
        ("i4", 0, 2**31),
        ("u1", 128, 2**7),
    ],
)
def test_arrays_of_every_type(dtype, zero, scale):
    expected = np.array([0.0, 0.5, -0.25, -1.0])
    samples = load_audio((expected * scale + zero).astype(dtype))
    assert samples.dtype == np.float32
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors(dtype):
    tensor = torch.tensor([0.0, 0.5, -0.25], dtype=dtype, requires_grad=True)
    assert np.array_equal(load_audio(tensor), [0.0, 0.5, -0.25])
    assert np.array_equal(load_audio(torch.tensor([0, 16384], dtype=torch.int16)), [0.0, 0.5])


def test_channels_of_arrays_are_averaged():
    assert np.array_equal(load_audio(np.array([[0.5, 0.0, -0.5], [0.25, 0.0, 0.5]])), [0.375, 0.0, 0.0])
    assert np.array_equal(load_audio(np.array([[100, 200]], np.int16)) * 32768, [100, 200])


def test_float32_mono_is_not_copied():
    samples = tone()
    assert load_audio(samples) is samples
    assert load_audio(np.zeros(0, np.float32)).shape == (0,)


def test_samples_far_beyond_full_scale_are_suspicious(caplog):
    load_audio(tone() * 3)
    assert not caplog.records
    load_audio(tone() * 32768)
    assert "divide 16-bit values by 32768" in caplog.text


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([0.0, np.nan]), "NaN or infinity"),
        (np.array([0.0, np.inf], np.float32), "NaN or infinity"),
        (np.array([0.0, -np.inf]), "NaN or infinity"),
        (np.array([1e300]), "NaN or infinity"),
        (torch.tensor([float("nan")]), "NaN or infinity"),
        (np.zeros((2, 2, 100)), r"\(2, 2, 100\)"),
        (np.zeros(()), r"shape \(\)"),
        (np.zeros((0, 100)), r"\(0, 100\)"),
        (np.zeros((16000, 2)), "transpose"),
        (np.zeros(5, np.int64), "int64"),
        (np.zeros(5, np.complex64), "complex64"),
        (np.zeros(5, bool), "bool"),
        (np.array(["a"]), "accepted are float, int16, int32 and uint8"),
    ],
)
def test_arrays_that_are_no_audio(array, says):
    with pytest.raises(AudioError, match=says):
        load_audio(array)


# --- input that is no audio ------------------------------------------------------------------------------------------


def picture():
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="image2pipe") as output:
        stream = output.add_stream("png", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        output.mux(stream.encode(None))
    return file.getvalue()


def silent_video():
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        output.mux(stream.encode(None))
    return file.getvalue()


CONTENTS = {
    "empty": (lambda: b"", "is empty"),
    "text": (lambda: b"Never mind the text.\n" * 50, "cannot be read as audio"),
    "page": (lambda: b"<!DOCTYPE html><html>" + b"x" * 5000, "cannot be read as audio"),
    "pdf": (lambda: b"%PDF-1.7\n" + bytes(range(256)) * 40, "cannot be read as audio"),
    "zeros": (lambda: bytes(100000), "cannot be read as audio|no sound in it"),
    "picture": (picture, r"no audio track.*holds: video"),
    "video without sound": (silent_video, r"no audio track.*holds: video"),
    "subtitles": (lambda: b"1\n00:00:01,000 --> 00:00:02,000\nHello.\n\n", r"no audio track.*holds: subtitle"),
    "header alone": (lambda: riff([]), "no sound in it could be decoded"),
    "no channels": (lambda: riff(np.arange(100), channels=0), "cannot be read as audio|no sound in it"),
    "half a header": (lambda: riff(np.arange(100))[:30], "cannot be read as audio"),
    "mp4 without its index": (lambda: encode(tone(), "mp4", "aac", 16000)[:3000], "cannot be read as audio"),
}


@pytest.mark.parametrize("extension", ["", ".wav", ".mp3", ".m4a"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_files_that_are_no_audio(tmp_path, kind, extension, capfd):
    make, says = CONTENTS[kind]
    path = tmp_path / f"file{extension}"
    path.write_bytes(make())
    with pytest.raises(AudioError, match=says) as caught:
        load_audio(path)
    assert str(path) in str(caught.value)
    assert "ccepted are WAV, FLAC" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_contents_that_are_no_audio():
    with pytest.raises(AudioError, match="given as bytes is empty"):
        load_audio(b"")
    with pytest.raises(AudioError, match="file object 'Unseekable' is empty"):
        load_audio(Unseekable(b""))


def test_paths_that_cannot_be_opened(tmp_path, monkeypatch):
    with pytest.raises(AudioError, match="does not exist; check the path"):
        load_audio(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="addresses are not fetched"):
        load_audio("https://example.org/talk.mp3")
    with pytest.raises(AudioError, match="is a folder"):
        load_audio(tmp_path)
    with pytest.raises(AudioError, match="cannot be opened"):
        load_audio("null\0byte.wav")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match="may not be read; change its permissions"):
        load_audio(tmp_path / "secret.wav")


def test_file_objects_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(np.arange(1000)))
    with path.open("rb") as closed:
        pass
    with pytest.raises(AudioError, match="is closed"):
        load_audio(closed)
    with path.open(encoding="latin-1") as text, pytest.raises(AudioError, match="mode 'rb'"):
        load_audio(text)
    with path.open("ab") as write_only, pytest.raises(AudioError, match="cannot be read"):
        load_audio(write_only)
    with pytest.raises(AudioError, match="the device is gone"):
        load_audio(Breaking(riff(np.arange(1000)), good=0))


@pytest.mark.parametrize("given_type", [None, 3, 0.5, [0.1, 0.2], {"array": 1}, object()])
def test_types_that_are_no_audio(given_type):
    with pytest.raises(
        AudioError, match=rf"'{type(given_type).__name__}' cannot be read as audio; accepted are a path"
    ):
        load_audio(given_type)


@pytest.mark.parametrize("sr", [0, -16000, 16000.5, None])
def test_sample_rates_that_are_none(sr):
    with pytest.raises(AudioError, match="above 0"):
        load_audio(tone(), sr=sr)


def test_no_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(AudioError, match="cannot be read as audio"):
        load_audio("-")


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.aac\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile 'secret.aac'\n",
    ],
)
def test_a_file_cannot_make_us_open_another(tmp_path, made, playlist):
    (tmp_path / "secret.aac").write_bytes(made("adts-32k"))
    for name in ("list.m3u8", "list.txt"):
        (tmp_path / name).write_text(playlist)
        with pytest.raises(AudioError):
            load_audio(tmp_path / name)


# --- damaged files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wav-s16", "wav-8k", "wav-f32-48k", "aiff", "flac-44k", "mp3-44k", "webm-opus"])
def test_a_file_that_breaks_off_gives_what_it_holds_and_a_warning(made, name, caplog, capfd):
    contents = made(name, 8.0)
    with caplog.at_level(logging.WARNING):
        samples = load_audio(contents[: len(contents) * 6 // 10])
    assert 4.2 < len(samples) / 16000 < 5.2
    assert rms(samples[1600:48000] - tone(seconds=8.0)[1600:48000]) < 0.02
    assert f"breaks off: {len(samples) / 16000:.1f} s of 8.0 s" in caplog.text
    assert len(caplog.records) == 1
    assert capfd.readouterr() == ("", "")


def test_a_device_that_goes_away_gives_what_was_read_and_a_warning(made, caplog):
    contents = made("wav-s16", 8.0)
    samples = load_audio(Breaking(contents, good=len(contents) // 2))
    assert 3.5 < len(samples) / 16000 < 4.5
    assert "breaks off" in caplog.text


@pytest.mark.parametrize("name", ["flac", "mp3-44k", "m4a-44k"])
def test_damage_in_the_middle_is_left_out_with_a_warning(made, name, caplog):
    contents = bytearray(made(name, 8.0))
    middle = len(contents) // 2
    contents[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    samples = load_audio(bytes(contents))
    assert 7.0 < len(samples) / 16000 <= 8.1
    assert rms(samples[1600:32000] - tone(seconds=8.0)[1600:32000]) < 0.02
    assert "is damaged" in caplog.text


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_damage_escapes_as_another_error(made, data):
    contents = bytearray(made(data.draw(st.sampled_from(sorted(FORMATS)))))
    for _ in range(data.draw(st.integers(1, 8))):
        contents[data.draw(st.integers(0, min(2000, len(contents) - 1)))] = data.draw(st.integers(0, 255))
    contents = contents[: data.draw(st.integers(0, len(contents)))]
    try:
        samples = load_audio(
            bytes(contents), sr=data.draw(st.sampled_from([8000, 16000])), timed=data.draw(st.booleans())
        )
    except AudioError:
        return
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1


def test_loading_never_holds_several_copies():
    """Half an array of 16-bit samples, and the result: 6 bytes a sample, and what a growing buffer has in reserve."""
    contents = riff(np.arange(16000 * 300) % 3000)
    load_audio(contents[:10000])
    gc.collect()
    tracemalloc.start()
    samples = load_audio(contents)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - len(contents) < 6.6 * samples.size  # one copy of the contents is the file they are made into


# --- padding ---------------------------------------------------------------------------------------------------------


@given(
    size=st.integers(0, 50), length=st.integers(0, 50), other=st.integers(0, 3), axis=st.sampled_from([0, 1, -1, -2])
)
def test_pad_or_trim(size, length, other, axis):
    shape = [other, other]
    shape[axis] = size
    array = 1 + np.arange(size * other, dtype=np.float32).reshape(shape)
    result = pad_or_trim(array, length, axis=axis)
    assert result.shape[axis] == length
    kept = min(size, length)
    assert np.array_equal(result.take(range(kept), axis), array.take(range(kept), axis))
    assert not result.take(range(kept, length), axis).any()
    tensor = pad_or_trim(torch.from_numpy(array), length, axis=axis)
    assert np.array_equal(tensor.numpy(), result)


def test_pad_or_trim_to_a_window():
    assert pad_or_trim(np.ones(10, np.float32)).shape == (480000,)
    assert pad_or_trim(torch.ones(2, 80, 5000, dtype=torch.float16), 3000).shape == (2, 80, 3000)
    assert pad_or_trim(torch.ones(2, 5, dtype=torch.float16), 6).dtype == torch.float16


# --- log-mel ---------------------------------------------------------------------------------------------------------


def slaney_hz(mel):
    return 200 / 3 * mel if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def slaney_filters(n_mels):
    """The definition, one weight at a time."""
    top = 15 + 27 * np.log(8) / np.log(6.4)
    edges = [slaney_hz(top * i / (n_mels + 1)) for i in range(n_mels + 2)]
    filters = np.zeros((n_mels, 201))
    for band in range(n_mels):
        low, centre, high = edges[band : band + 3]
        for bin_ in range(201):
            hz = bin_ * 40
            height = (hz - low) / (centre - low) if hz < centre else (high - hz) / (high - centre)
            filters[band, bin_] = max(0, height) * 2 / (high - low)
    return filters


def defined_log_mel(samples, n_mels, padding):
    """The definition in float64, by a plain Fourier sum."""
    x = np.pad(samples.astype(np.float64), (0, padding))
    frames = len(x) // 160
    x = np.pad(x, (0, max(0, 201 - len(x))))
    x = np.pad(x, 200, mode="reflect")
    n = np.arange(400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(201), n) / 400)
    spectra = np.stack([fourier @ (window * x[160 * i : 160 * i + 400]) for i in range(frames)], axis=1)
    mel = np.log10(np.maximum(slaney_filters(n_mels) @ np.abs(spectra) ** 2, 1e-10))
    return (np.maximum(mel, mel.max() - 8) + 4) / 4


@pytest.mark.parametrize("n_mels", [80, 128])
def test_mel_filters(n_mels):
    filters = mel_filters("cpu", n_mels)
    assert filters.shape == (n_mels, 201)
    assert filters.dtype == torch.float32
    assert np.abs(filters.numpy() - slaney_filters(n_mels)).max() < 1e-8
    assert mel_filters("cpu", n_mels) is filters


@pytest.mark.parametrize("n_mels", [0, 40, 81, None])
def test_mel_filters_of_no_whisper_model(n_mels):
    with pytest.raises(OptionError, match="80 or 128"):
        mel_filters("cpu", n_mels)
    with pytest.raises(OptionError, match="80 or 128"):
        log_mel_spectrogram(tone(), n_mels)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("padding", [0, 1600])
@pytest.mark.parametrize("size", [160, 200, 201, 399, 16000])
def test_log_mel_is_what_it_is_defined_to_be(size, padding, n_mels):
    samples = tone()[:size] + 0.01 * np.random.default_rng(size).standard_normal(size).astype(np.float32)
    mel = log_mel_spectrogram(samples, n_mels, padding)
    assert mel.dtype == torch.float32
    assert np.abs(mel.numpy() - defined_log_mel(samples, n_mels, padding)).max() < 1e-4


@given(size=st.integers(0, 2000), padding=st.integers(0, 2000))
def test_number_of_frames_and_range(size, padding):
    mel = log_mel_spectrogram(np.random.default_rng(size).standard_normal(size), padding=padding)
    assert mel.shape == (80, (size + padding) // 160)
    if mel.numel():
        assert torch.isfinite(mel).all()
        assert mel.max() - mel.min() <= 2.0 + 1e-6


@pytest.mark.parametrize("padding", [0, 480000])
def test_silence_is_finite(padding):
    assert torch.equal(
        log_mel_spectrogram(np.zeros(32000), padding=padding), torch.full((80, 200 + padding // 160), -1.5)
    )


@pytest.mark.parametrize("rows", [None, 3])
def test_blocks_give_what_one_piece_gives(monkeypatch, rows):
    samples = np.random.default_rng(0).standard_normal(160 * 1000 + 77).astype(np.float32)
    samples = samples if rows is None else np.stack([samples * 0.1**row for row in range(rows)])
    whole = log_mel_spectrogram(samples, 128, padding=4800)
    monkeypatch.setattr(audio, "WHOLE_FRAMES", 100)
    for block in (33, 100, 1029, 1030):
        monkeypatch.setattr(audio, "BLOCK_FRAMES", block)
        assert (log_mel_spectrogram(samples, 128, padding=4800) - whole).abs().max() <= 1e-6


@settings(deadline=None, max_examples=40)
@given(size=st.integers(0, 4000), padding=st.integers(0, 2000), block=st.integers(1, 12))
def test_blocks_of_any_size(size, padding, block):
    samples = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    whole = log_mel_spectrogram(samples, padding=padding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio, "WHOLE_FRAMES", 0)
        patch.setattr(audio, "BLOCK_FRAMES", block)
        assert torch.allclose(log_mel_spectrogram(samples, padding=padding), whole, rtol=0, atol=1e-6)


def test_long_input_runs_in_blocks():
    samples = np.random.default_rng(1).standard_normal(160 * 61000, dtype=np.float32)
    mel = log_mel_spectrogram(samples)
    assert mel.shape == (80, 61000)
    edge = audio.BLOCK_FRAMES
    around = log_mel_spectrogram(samples[160 * (edge - 50) : 160 * (edge + 50)])
    same = (mel[:, edge - 45 : edge + 45] - around[:, 5:95]).abs()
    assert same[around[:, 5:95] > around.min()].max() < 1e-5


def test_a_batch_has_one_floor():
    loud, quiet = tone(), tone() * 1e-5
    batch = log_mel_spectrogram(np.stack([loud, quiet]))
    assert batch.shape == (2, 80, 100)
    assert torch.allclose(batch[0], log_mel_spectrogram(loud), rtol=0, atol=1e-6)
    assert batch[1].min() == batch[0].min() > log_mel_spectrogram(quiet).min()


def test_log_mel_of_files_and_of_other_types(tmp_path):
    path = tmp_path / "a.wav"
    values = (tone() * 32767).astype(np.int16)
    path.write_bytes(riff(values))
    expected = log_mel_spectrogram(values.astype(np.float32) / 32768)
    read_only = np.frombuffer(values.tobytes(), np.int16)
    sources = [path, str(path), path.read_bytes(), values, torch.from_numpy(values), values.astype(">i2"), read_only]
    sources += [
        values / 32768,
        torch.from_numpy(values / 32768),
        (np.repeat(values, 2) / 32768)[::2].astype(np.float32)[:],
    ]
    for source in sources:
        assert torch.equal(log_mel_spectrogram(source), expected)
    read_only_floats = values.astype(np.float32) / 32768
    read_only_floats.flags.writeable = False
    assert torch.equal(log_mel_spectrogram(read_only_floats, device="cpu"), expected)


def test_log_mel_leaves_its_input_alone_and_has_gradients():
    samples = torch.from_numpy(tone()).requires_grad_()
    before = samples.detach().clone()
    log_mel_spectrogram(samples).sum().backward()
    assert torch.equal(samples.detach(), before)
    assert torch.isfinite(samples.grad).all()
    assert samples.grad.abs().max() > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_log_mel_of_samples_that_are_none(bad):
    samples = torch.zeros(1600)
    samples[700] = bad
    with pytest.raises(AudioError, match="NaN, infinity"):
        log_mel_spectrogram(samples)


def test_log_mel_refuses_what_it_cannot_use():
    with pytest.raises(AudioError, match=r"\(1, 2, 1600\)"):
        log_mel_spectrogram(np.zeros((1, 2, 1600)))
    with pytest.raises(OptionError, match="padding=-1"):
        log_mel_spectrogram(tone(), padding=-1)
    with pytest.raises(AudioError, match="does not exist"):
        log_mel_spectrogram("missing.wav")


# --- the repo's own recordings ---------------------------------------------------------------------------------------


def test_recordings_are_what_their_manifest_says(recordings):
    lines = [json.loads(line) for line in (recordings / "manifest.jsonl").read_text().splitlines()]
    assert {line["path"] for line in lines} == {path.name for path in recordings.glob("*.[wf]*")}
    page = (recordings / "README.md").read_text()
    for line in lines:
        assert hashlib.sha256((recordings / line["path"]).read_bytes()).hexdigest() == line["sha256"]
        assert line["path"] in page
        assert line["text"] in page
        assert line["license"].startswith("public domain")
        samples = load_audio(recordings / line["path"])
        assert f"| {len(samples) / 16000:.2f} |" in page
        assert 0.2 < np.abs(samples).max() < 0.99


# --- against the programs that came before ---------------------------------------------------------------------------

# Resampling of 16-bit sound is that of ffmpeg before version 7; later ones round differently, by a few 16-bit steps.
# The MP3 decoder is that of later ones, and reads this file differently.
OLD_FFMPEG_DIFFERS = {"multilingual/multilingual.mp3"}


@pytest.fixture(scope="session")
def ffmpeg():
    """(command, major version) of the ffmpeg program; 99 for development builds."""
    command = os.environ.get("VISKA_FFMPEG") or shutil.which("ffmpeg")
    if command is None:
        pytest.skip("no ffmpeg program to compare with (install ffmpeg or set VISKA_FFMPEG)")
    version = subprocess.run([command, "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
    number = version.lstrip("nN").split(".")[0]
    return command, int(number) if number.isdigit() else 99


def assert_like_ffmpeg(path, ffmpeg, lossless):
    command, version = ffmpeg
    arguments = ["-nostdin", "-v", "error", "-i", str(path), "-f", "s16le", "-ac", "1", "-ar", "16000", "-"]
    result = subprocess.run([command, *arguments], capture_output=True, check=True)
    expected = np.frombuffer(result.stdout, "<i2").astype(np.float32) / 32768
    samples = load_audio(path)
    # ffmpeg 9 also cuts what AAC pads its last frame with.
    assert abs(len(samples) - len(expected)) <= (512 if path.suffix in (".m4a", ".mp4") else 0)
    common = min(len(samples), len(expected))
    difference = samples[:common] - expected[:common]
    assert rms(difference) < 2e-4
    if lossless:
        assert np.abs(difference).max() * 32768 <= (4 if version >= 7 else 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_generated_files_like_ffmpeg(tmp_path, made, ffmpeg, name):
    suffix = {"ipod": ".m4a", "adts": ".aac"}.get(FORMATS[name][0], f".{FORMATS[name][0]}")
    path = tmp_path / f"sound{suffix}"
    path.write_bytes(made(name))
    assert_like_ffmpeg(path, ffmpeg, FORMATS[name][1] == "flac" or "pcm" in FORMATS[name][1])


@pytest.mark.slow
def test_corpus_like_ffmpeg(corpus, ffmpeg):
    lines = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        if line.get("raw_format") or (ffmpeg[1] < 7 and line["path"] in OLD_FFMPEG_DIFFERS):
            continue
        assert_like_ffmpeg(corpus / line["path"], ffmpeg, line["codec"].startswith(("pcm", "flac")))


ORACLE = """
import sys
import numpy, torch
import whisper.audio as oracle
torch.set_num_threads(1)
given = numpy.load(sys.argv[1])
results = {}
for name in given.files:
    for n_mels in (80, 128):
        padded = oracle.pad_or_trim(given[name])
        results[f"{name}/{n_mels}/window"] = oracle.log_mel_spectrogram(padded, n_mels).numpy()
        results[f"{name}/{n_mels}/padding"] = oracle.log_mel_spectrogram(given[name], n_mels, padding=480000).numpy()
for n_mels in (80, 128):
    results[f"filters/{n_mels}"] = oracle.mel_filters("cpu", n_mels).numpy()
numpy.savez(sys.argv[2], **results)
"""


@pytest.mark.slow
def test_log_mel_like_the_oracle(tmp_path, recordings):
    interpreter = os.environ.get("VISKA_ORACLE_PYTHON")
    if not interpreter:
        pytest.skip("VISKA_ORACLE_PYTHON names no interpreter that has openai-whisper")
    speech = [load_audio(path) for path in sorted(recordings.glob("*.[wf]*"))]
    noise = np.random.default_rng(0).standard_normal(16000 * 45).astype(np.float32)
    inputs = {"speech": np.concatenate(speech), "long": noise * 0.1, "silence": np.zeros(32000, np.float32)}
    inputs |= {f"short{n}": noise[:n] for n in (0, 1, 160, 200, 201, 5000)}
    inputs["batch"] = np.stack([noise[:32000], noise[32000:64000] * 0.01])
    np.savez(tmp_path / "inputs.npz", **inputs)
    subprocess.run([interpreter, "-c", ORACLE, tmp_path / "inputs.npz", tmp_path / "oracle.npz"], check=True)
    with np.load(tmp_path / "oracle.npz") as oracle:
        for name, samples in inputs.items():
            for n_mels in (80, 128):
                window = log_mel_spectrogram(pad_or_trim(samples), n_mels).numpy()
                padded = log_mel_spectrogram(samples, n_mels, padding=480000).numpy()
                assert np.abs(window - oracle[f"{name}/{n_mels}/window"]).max() < 1e-4
                assert np.abs(padded - oracle[f"{name}/{n_mels}/padding"]).max() < 1e-4
        for n_mels in (80, 128):
            assert np.array_equal(mel_filters("cpu", n_mels).numpy(), oracle[f"filters/{n_mels}"])
