"""Sound files as bytes, of every container, from known samples."""

import io
import struct

import numpy as np


def tone(rate=16000, seconds=1.0):
    """A sweep: only the right sample rate, start and polarity reproduce it."""
    t = np.arange(int(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 * t + 600 * t**2 / seconds))).astype(np.float32)


def encode(samples, container, codec, rate, layout="mono", video=False):
    """A sound file as bytes; the same signal in every channel, and an optional video track before it."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if video:
            picture = output.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        sound = output.add_stream(codec, rate=rate, layout=layout)
        if codec == "vorbis":
            sound.options = {"strict": "experimental"}
        sound.codec_context.open()
        if video:
            for time in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * time, np.uint8))
                frame.pts = time
                output.mux(picture.encode(frame))
            output.mux(picture.encode(None))
        channels = len(av.AudioLayout(layout).channels)
        whole = av.AudioFrame.from_ndarray(np.repeat(samples, channels)[None], format="flt", layout=layout)
        whole.sample_rate, whole.pts = rate, 0  # encoders declare their delay by times before 0
        converter = av.AudioResampler(
            format=sound.codec_context.format,
            layout=layout,
            rate=rate,
            frame_size=sound.codec_context.frame_size or 1024,
        )
        for frame in (*converter.resample(whole), *converter.resample(None)):
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return file.getvalue()


def riff(samples, rate=16000, channels=1, extra=b""):
    """A WAV file written by hand, from interleaved int16 samples."""
    data = np.asarray(samples, "<i2").tobytes()
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    body = b"WAVE" + head + extra + struct.pack("<4sI", b"data", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def film(pieces, container, codecs, rate, seconds):
    """A file as bytes with pictures for so many seconds, and mono sound in pieces: (start in seconds, samples)."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        picture, sound = output.add_stream(codecs[0], rate=5), output.add_stream(codecs[1], rate=rate, layout="mono")
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        sound.codec_context.open()
        packets = []
        for time in range(5 * seconds):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), time % 250, np.uint8))
            frame.pts = time
            packets += picture.encode(frame)
        packets += picture.encode(None)
        for start, samples in pieces:
            converter = av.AudioResampler(
                sound.codec_context.format, "mono", rate, frame_size=sound.codec_context.frame_size or 1024
            )
            whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
            whole.sample_rate, whole.pts = rate, round(start * rate)
            for frame in (*converter.resample(whole), *converter.resample(None)):
                packets += sound.encode(frame)
        packets += sound.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return file.getvalue()
