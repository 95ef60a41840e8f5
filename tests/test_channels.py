"""Audio tracks and channels: chosen by number or name, listed, and each transcribed apart."""

import io
import json
import re
import threading
from dataclasses import replace

import numpy as np
import pytest

import viska
from made_up import made_up_model
from made_up_transcripts import make_segment, make_spoken, make_transcript
from viska.audio import SAMPLE_RATE, audio_tracks, load_audio, load_channels
from viska.cli import main
from viska.errors import AudioError, OptionError
from viska.formats import PRESETS, LineOptions, to_ass, to_cues, to_json, to_lrc, to_srt, to_tsv, to_txt, to_vtt
from viska.result import GuardEvent, Transcript
from viska.transcription import merge_channels, transcribe, transcribe_channels

LEFT, RIGHT = 220, 550  # Hz: each channel has a tone of its own


def tones(*frequencies, rate=SAMPLE_RATE, seconds=0.5):
    """(channels, samples): one tone a channel."""
    time = np.arange(int(rate * seconds)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * frequency * time) for frequency in frequencies]).astype(np.float32)


def file_of(*tracks, container="wav", codec="pcm_s16le", layout="stereo", rate=SAMPLE_RATE, languages=()):
    """A sound file with these tracks, each (channels, samples), as bytes."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        streams = [output.add_stream(codec, rate=rate, layout=layout) for _ in tracks]
        for stream, language in zip(streams, languages, strict=False):
            stream.metadata["language"] = language
        for stream, samples in zip(streams, tracks, strict=True):
            whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
            whole.sample_rate, whole.pts = rate, 0
            converter = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
            for frame in (*converter.resample(whole), *converter.resample(None)):
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return file.getvalue()


def pitch(samples):
    """The frequency in Hz at which the samples are loudest."""
    spectrum = np.abs(np.fft.rfft(samples))
    return round(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)[spectrum.argmax()])


STEREO = file_of(tones(LEFT, RIGHT))
FILM = file_of(
    *(tones(frequency, frequency + 100) for frequency in (200, 400, 600)),
    container="matroska",
    codec="flac",
    languages=("eng", "deu", "fra"),
)


# Channels


@pytest.mark.parametrize(
    ("channel", "frequency"),
    [(0, LEFT), (1, RIGHT), ("left", LEFT), ("Right", RIGHT), ("FL", LEFT), ("fr", RIGHT)],
)
@pytest.mark.parametrize("kind", ["file", "array"])
def test_a_channel_by_number_or_name(kind, channel, frequency):
    audio = STEREO if kind == "file" else tones(LEFT, RIGHT)
    assert pitch(load_audio(audio, channel=channel)) == frequency


@pytest.mark.parametrize(
    ("container", "codec"),
    [("wav", "pcm_u8"), ("wav", "pcm_f32le"), ("wav", "pcm_s24le"), ("flac", "flac"), ("ogg", "libopus")],
)
@pytest.mark.parametrize("rate", [16000, 48000])
def test_packed_and_planar_sound_of_every_format(container, codec, rate):
    audio = file_of(tones(LEFT, RIGHT, rate=rate), container=container, codec=codec, rate=rate)
    assert [pitch(samples) for samples in load_channels(audio)] == [LEFT, RIGHT]


def test_a_channel_is_taken_bit_for_bit():
    samples = np.random.default_rng(1).integers(-32768, 32767, (2, 4000)).astype(np.float32) / 32768
    audio = file_of(samples)
    assert np.array_equal(load_channels(audio), samples)
    assert np.array_equal(load_audio(audio, channel=1), samples[1])
    mono = file_of(samples[:1], layout="mono", rate=48000)
    assert np.array_equal(load_audio(mono, channel=0), load_audio(mono))  # resampled the same way


def test_without_a_choice_channels_are_mixed():
    mixed = load_audio(STEREO)
    assert np.abs(mixed - load_channels(STEREO).mean(axis=0)).max() <= 1 / 32768
    assert np.array_equal(load_audio(tones(LEFT, RIGHT)), tones(LEFT, RIGHT).mean(axis=0, dtype=np.float32))


def test_channels_of_more_than_two():
    frequencies = (200, 300, 400, 500, 600, 700)
    audio = file_of(tones(*frequencies), layout="5.1")
    assert [pitch(samples) for samples in load_channels(audio)] == list(frequencies)
    assert pitch(load_audio(audio, channel="FC")) == 400
    assert pitch(load_audio(tones(*frequencies), channel=5)) == 700


@pytest.mark.parametrize("channel", [2, "FC", "tfl", "C2"])
@pytest.mark.parametrize("kind", ["file", "array"])
def test_a_channel_that_is_not_there(kind, channel):
    audio = STEREO if kind == "file" else tones(LEFT, RIGHT)
    with pytest.raises(AudioError, match=rf"has no channel {channel!r}; it has 0 \(FL\), 1 \(FR\): give one of these"):
        load_audio(audio, channel=channel)
    with pytest.raises(AudioError, match=r"no channel 1; it has 0 \(C0\)"):
        load_audio(tones(LEFT)[0], channel=1)


@pytest.mark.parametrize("channel", ["middle", "", "all", "FL\n", "C", "1"])
@pytest.mark.parametrize("audio", [STEREO, tones(LEFT, RIGHT)], ids=["file", "array"])
def test_what_is_no_channel_of_any_file_is_a_wrong_option(audio, channel):
    with pytest.raises(OptionError, match=re.escape(f"the channel is {channel!r}; accepted are whole")):
        load_audio(audio, channel=channel)


def test_ffmpegs_names_may_all_be_asked_for():
    from av import AudioLayout

    for layout in ("stereo", "7.1", "22.2", "7.1.4", "9.1.6", "downmix", "ambisonic 1", "USR70+LFE2", "SSL+TTR"):
        for channel in AudioLayout(layout).channels:
            with pytest.raises(AudioError, match="has no channel"):
                load_audio(tones(LEFT), channel=channel.name)


# Tracks


def test_a_track_by_number():
    assert [pitch(load_audio(FILM, track=track, channel=1)) for track in range(3)] == [300, 500, 700]
    assert [pitch(samples) for samples in load_channels(FILM, track=2)] == [600, 700]


def test_the_tracks_of_a_file():
    tracks = audio_tracks(FILM)
    assert [(track.index, track.language, track.channels, track.default) for track in tracks] == [
        (0, "eng", ("FL", "FR"), True),
        (1, "deu", ("FL", "FR"), False),
        (2, "fra", ("FL", "FR"), False),
    ]
    assert {(track.codec, track.sample_rate) for track in tracks} == {("flac", 16000)}
    assert viska.audio_tracks(STEREO)[0].duration_s == pytest.approx(0.5)


def test_the_best_track_is_the_one_that_is_listed_as_default():
    chosen = next(track for track in audio_tracks(FILM) if track.default)
    assert np.array_equal(load_audio(FILM), load_audio(FILM, track=chosen.index))


def test_a_track_that_is_not_there():
    message = r"no audio track 3; it has 0 \(eng, channels: 2\), 1 \(deu, .*: give the number of one"
    for load in (load_audio, load_channels):
        with pytest.raises(AudioError, match=message):
            load(FILM, track=3)
        with pytest.raises(AudioError, match="An array has no audio tracks"):
            load(tones(LEFT), track=0)
    with pytest.raises(AudioError, match="An array has no tracks"):
        audio_tracks(tones(LEFT))
    with pytest.raises(AudioError, match="cannot be read as audio"):
        audio_tracks(b"no sound at all")


@pytest.mark.parametrize(
    "choice", [{"track": -1}, {"track": "eng"}, {"track": True}, {"channel": -1}, {"channel": 0.5}]
)
def test_what_can_be_no_track_or_channel(choice):
    with pytest.raises(OptionError, match=r"the (channel|audio track) is .*; accepted are whole"):
        load_audio(STEREO, **choice)


# Each channel apart


@pytest.fixture(scope="module")
def model():
    return made_up_model()


FAST = {"temperature": 0.0, "sample_len": 8, "language": "en", "no_speech_threshold": None, "guard": False}


def stereo_noise(seconds=2):
    return np.random.default_rng(7).normal(0, 0.1, (2, seconds * SAMPLE_RATE)).astype(np.float32)


def test_each_channel_is_what_it_is_alone(model):
    samples = stereo_noise()
    together = transcribe_channels(model, samples, **FAST)
    for channel in (0, 1):
        alone = transcribe(model, samples[channel], **FAST)
        segments = [segment for segment in together.segments if segment.channel == channel]
        assert [(s.start, s.text, s.tokens) for s in segments] == [(s.start, s.text, s.tokens) for s in alone.segments]
    assert [segment.id for segment in together.segments] == list(range(len(together.segments)))
    assert together.text == "".join(segment.text for segment in together.segments)
    assert {segment.channel for segment in together.segments} == {0, 1}


def test_the_options_choose_as_the_function_does(model):
    samples = stereo_noise()
    audio = file_of(samples)
    chosen = transcribe(model, audio, audio_track=0, channel=1, **FAST)
    assert chosen == transcribe(model, load_channels(audio)[1], **FAST)
    assert chosen != transcribe(model, audio, **FAST)


def test_segments_are_told_and_printed_with_their_channel(model, capsys):
    told = []
    together = transcribe_channels(model, stereo_noise(), on_segment=told.append, verbose=True, **FAST)
    assert sorted(segment.channel for segment in told) == sorted(segment.channel for segment in together.segments)
    printed = capsys.readouterr().out
    assert "]  [CHANNEL_0]: " in printed
    assert "]  [CHANNEL_1]: " in printed


def test_one_channel_and_all_channels_contradict_each_other(model):
    with pytest.raises(OptionError, match="channel is 1, and all channels are asked for"):
        transcribe_channels(model, stereo_noise(), channel=1, **FAST)
    with pytest.raises(OptionError, match="unknown option colour"):
        transcribe_channels(model, stereo_noise(), colour=1)


def voices(first="en", second="en"):
    return [
        make_transcript((0.0, 2.0, " How are you?"), (5.0, 6.0, " Good."), language=first),
        make_transcript((2.5, 4.0, " Very well, thank you."), (5.0, 7.0, " Bye."), language=second),
    ]


def test_merged_segments_stand_in_the_order_of_time():
    merged = merge_channels(voices())
    assert [(s.id, s.channel, s.text) for s in merged.segments] == [
        (0, 0, " How are you?"),
        (1, 1, " Very well, thank you."),
        (2, 0, " Good."),
        (3, 1, " Bye."),
    ]
    assert merged.text == " How are you? Very well, thank you. Good. Bye."
    assert (merged.language, {segment.language for segment in merged.segments}) == ("en", {None})


def test_channels_may_speak_different_languages():
    merged = merge_channels(voices("de", "fr"))
    assert merged.language == "fr"  # which says more
    assert [segment.language for segment in merged.segments] == ["de", "fr", "de", "fr"]
    silent = merge_channels([voices("de")[0], Transcript("", (), "nn")])
    assert (silent.language, {segment.language for segment in silent.segments}) == ("de", {None})


def test_what_the_guard_saw_to_is_told_of_each_channel():
    first, second = voices()
    early, late = GuardEvent(1.0, 2.0, "dropped", "no speech", "Thanks."), GuardEvent(7.0, 9.0, "left", "no text", "")
    middle = GuardEvent(3.0, 4.0, "dropped", "loop", "no no no")
    merged = merge_channels([replace(first, record=(early, late)), replace(second, record=(middle,))])
    assert merged.record == (replace(early, channel=0), replace(middle, channel=1), replace(late, channel=0))
    assert merged.to_dict()["record"][1]["channel"] == 1
    assert "channel" not in early.to_dict()
    assert merge_channels([replace(first, record=()), replace(second, record=())]).record == ()
    assert merge_channels([first, second]).record is None


# Formats


def test_text_tells_where_another_channel_speaks():
    first = make_transcript((0.0, 1.0, " One."), (1.0, 2.0, "Two."))
    second = make_transcript((3.0, 4.0, " Three."), (4.0, 5.0, " "))
    merged = merge_channels([first, second])
    assert to_txt(merged) == "[CHANNEL_0]: One.\nTwo.\n[CHANNEL_1]: Three.\n\n"
    assert to_tsv(merged).splitlines()[1:4] == [
        "0\t1000\t[CHANNEL_0]: One.",
        "1000\t2000\tTwo.",
        "3000\t4000\t[CHANNEL_1]: Three.",
    ]
    assert "[CHANNEL_0]" not in to_json(merged)
    assert [segment["channel"] for segment in json.loads(to_json(merged))["segments"]] == [0, 0, 1, 1]


def overlapping():
    """Both speak at once, with words."""
    first = make_spoken([(" Well", 0.0, 1.0), (" I", 1.0, 4.0), (" think", 4.0, 5.0)])
    second = make_spoken([(" No", 2.0, 2.5), ("!", 2.5, 3.0)])
    return merge_channels([first, second])


@pytest.mark.parametrize("options", [None, LineOptions(max_line_width=30, max_line_count=1), PRESETS["tv"]])
def test_cues_of_channels_are_laid_out_apart(options):
    cues = list(to_cues(overlapping(), options))
    assert [cue.text for cue in cues] == ["[CHANNEL_0]: Well I think", "[CHANNEL_1]: No!"]
    assert [cue.start for cue in cues] == [0, 2000]  # not put off until the other has finished


def test_every_format_of_cues_tells_the_channel():
    merged = overlapping()
    for to_format in (to_srt, to_vtt, to_lrc, to_ass):
        for options in (None, PRESETS["shorts"]):
            content = to_format(merged, options)
            assert content.count("CHANNEL_0") == content.count("CHANNEL_1") == 1
    assert to_srt(merged, LineOptions(highlight_words=True)).count("CHANNEL_1") >= 1


def test_a_transcript_without_channels_has_no_marks():
    assert "CHANNEL" not in to_txt(voices()[0]) + to_srt(voices()[0])
    assert to_txt({"segments": [vars_of(make_segment(0, 0, 1, " Hi"))]}) == "Hi\n"


def vars_of(segment):
    return segment.to_dict()


# Command line


@pytest.fixture
def call(recordings, tmp_path):
    """A telephone call: one speaker on the left, another on the right behind him."""
    left, right = (load_audio(recordings / f"sense_and_sensibility_{number}.flac") for number in ("0880", "0890"))
    samples = np.zeros((2, len(left) + len(right)), np.float32)
    samples[0, : len(left)], samples[1, len(left) :] = left, right
    path = tmp_path / "call.wav"
    path.write_bytes(file_of(samples))
    return path


@pytest.fixture
def loaded(tiny_en, monkeypatch):
    monkeypatch.setattr("viska.weights.load_model", lambda *_, **__: tiny_en)


GREEDY = ["--beam_size", "None", "--temperature_increment_on_fallback", "None", "-f", "txt"]


def run(call, *arguments):
    return main([str(call), "-o", str(call.parent), *GREEDY, *arguments])


def test_the_command_takes_one_channel(loaded, call):
    assert run(call, "--channel", "left") == 0
    text = (call.parent / "call.txt").read_text()
    assert "young man" in text
    assert "selfish" not in text


def test_the_command_takes_all_channels_apart(loaded, call, capsys):
    assert run(call, "--channel", "all") == 0
    lines = (call.parent / "call.txt").read_text().splitlines()
    assert lines[0].startswith("[CHANNEL_0]: ")
    assert "young man" in lines[0]
    assert any(line.startswith("[CHANNEL_1]: ") for line in lines)
    assert "]  [CHANNEL_0]:" in capsys.readouterr().out
    assert run(call, "--channel", "all", "--json") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["channel"] for line in printed if line["type"] == "segment"} == {0, 1}


def test_the_command_says_which_tracks_and_channels_there_are(loaded, call, capsys):
    assert run(call, "--channel", "2") == 3
    assert "it has 0 (FL), 1 (FR)" in capsys.readouterr().err
    assert run(call, "--audio_track", "1") == 3
    assert "no audio track 1; it has 0" in capsys.readouterr().err


def test_standard_input_is_read_once_for_all_channels(loaded, call, monkeypatch):
    import os

    read, write = os.pipe()

    def feed():
        with os.fdopen(write, "wb") as pipe:
            pipe.write(call.read_bytes())

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(read, "rb") as pipe:
        samples = load_channels(pipe)
    thread.join()
    assert np.array_equal(samples, load_channels(call))
