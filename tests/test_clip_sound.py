"""data/clip_sound.py: sound that a container cannot store is transcoded, at its times and in its length."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data import clip_writer
from data.decoding import ImageError
from data.video import stylize_video
from tests.test_video import FRAMES, write_clip

SECONDS, PITCH = 2, 440  # of the tone of `write_tone`


def write_tone(
    path: Path,
    codec: str,
    sample_format: str,
    *,
    rate=48_000,
    layout="mono",
    pause=0.0,
    start=0.0,
    seconds=SECONDS,
) -> Path:
    """A clip with a tone, and a pause in its middle."""
    with av.open(str(path), "w") as target:
        pictures = target.add_stream("mpeg4", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 48, 36, "yuv420p"
        tone = target.add_stream(codec, rate=rate, layout=layout)
        tone.codec_context.format = sample_format
        tone.bit_rate = 128_000  # WMA needs one
        channels = tone.codec_context.channels
        for index in range(25 * seconds):
            frame = av.VideoFrame.from_ndarray(
                np.full((36, 48, 3), 4 * index % 256, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = index, Fraction(1, 25)
            target.mux(pictures.encode(frame))
        resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate)
        for begin in range(0, rate * seconds, rate // 25):
            times = np.arange(begin, begin + rate // 25)
            wave = np.tile(0.5 * np.sin(2 * np.pi * PITCH * times / rate), (channels, 1)).astype(np.float32)
            block = av.AudioFrame.from_ndarray(wave, format="fltp", layout=layout)
            late = start + (pause if begin >= rate * seconds // 2 else 0)
            block.rate, block.pts, block.time_base = rate, begin + round(late * rate), Fraction(1, rate)
            for samples in resampler.resample(block):
                target.mux(tone.encode(samples))
        for stream in (pictures, tone):
            target.mux(stream.encode())
    return path


def decoded(path: Path) -> tuple[str, np.ndarray, int, list[float]]:
    """Codec, samples of the first channel, rate, and the times of the first and behind the last sample."""
    with av.open(str(path)) as source:
        stream = source.streams.audio[0]
        blocks = list(source.decode(stream))
        as_floats = av.AudioResampler(format="fltp", layout="mono", rate=stream.codec_context.sample_rate)
        samples = [out.to_ndarray()[0] for block in blocks for out in as_floats.resample(block)]
        end = 0.0
        for block in blocks:  # what a decoder held at the end has no time
            end = (end if block.time is None else block.time) + block.samples / block.sample_rate
        ends = [blocks[0].time, end]
        return stream.codec_context.name, np.concatenate(samples), stream.codec_context.sample_rate, ends


@pytest.mark.parametrize(
    ("source", "suffix", "codec"),
    [
        (("clip.mov", "pcm_s16le", "s16", {"rate": 44_100}), ".webm", "opus"),
        (("clip.mkv", "aac", "fltp", {"rate": 44_100, "layout": "stereo"}), ".webm", "opus"),
        (("clip.mkv", "aac", "fltp", {"layout": "5.1"}), ".webm", "opus"),
        (("clip.avi", "mp2", "s16", {"rate": 32_000}), ".webm", "opus"),
        (("clip.wmv", "wmav2", "fltp", {"layout": "stereo"}), ".mp4", "aac"),
        (("clip.wmv", "wmav2", "fltp", {"rate": 44_100, "layout": "stereo"}), ".mov", "aac"),
        (("clip.wmv", "wmav2", "fltp", {"rate": 16_000}), ".m4v", "aac"),
    ],
)
def test_sound_that_cannot_be_stored_is_transcoded_in_its_length(tmp_path, source, suffix, codec):
    name, source_codec, sample_format, options = source
    clip, notes = write_tone(tmp_path / name, source_codec, sample_format, **options), []
    stylize_video(clip, tmp_path / f"new{suffix}", lambda image: image, workers=2, on_note=notes.append)
    _, before, rate, (begin, end) = decoded(clip)
    written, samples, new_rate, (new_begin, new_end) = decoded(tmp_path / f"new{suffix}")
    assert written.removeprefix("lib") == codec
    names = {"opus": "Opus", "aac": "AAC"}
    assert notes == [f"the sound ({source_codec}) was transcoded to {names[codec]}, which {suffix} can store"]
    assert new_end - new_begin == pytest.approx(end - begin, abs=0.065)  # a frame of AAC at 16 kHz
    assert abs(new_begin - begin) < 0.07
    assert np.abs(samples).max() == pytest.approx(np.abs(before).max(), abs=0.1)
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle))
    assert spectrum.argmax() * new_rate / len(middle) == pytest.approx(PITCH, rel=0.01)


def test_sound_that_can_be_stored_is_copied_without_a_note(tmp_path):
    clip, notes = write_tone(tmp_path / "clip.mov", "pcm_s16le", "s16"), []
    stylize_video(clip, tmp_path / "new.mkv", lambda image: image, on_note=notes.append)
    assert decoded(tmp_path / "new.mkv")[0] == "pcm_s16le" and notes == []


def test_pauses_and_a_late_start_are_kept(tmp_path):
    clip = write_tone(tmp_path / "clip.mkv", "pcm_s16le", "s16", pause=1.5, start=0.5)
    stylize_video(clip, tmp_path / "new.webm", lambda image: image)
    _, _, _, (begin, end) = decoded(tmp_path / "new.webm")
    assert begin == pytest.approx(0.5, abs=0.03) and end == pytest.approx(SECONDS + 2, abs=0.05)


def test_joined_recordings_with_other_sound_are_transcoded_one_after_the_other(tmp_path):
    first = write_tone(tmp_path / "a.ts", "mp2", "s16", rate=48_000)
    second = write_tone(tmp_path / "b.ts", "mp2", "s16", rate=44_100, layout="stereo", pause=1.5)
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    stylize_video(tmp_path / "both.ts", tmp_path / "new.webm", lambda image: image)
    _, _, _, (begin, end) = decoded(tmp_path / "new.webm")
    assert end - begin == pytest.approx(2 * SECONDS + 1.5, abs=0.15)


def test_a_clip_becomes_webm_with_sound(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    assert stylize_video(clip, tmp_path / "new.webm", lambda image: image) == FRAMES
    assert decoded(tmp_path / "new.webm")[0] in ("opus", "libopus")


def test_sound_long_before_the_first_picture_is_bounded(tmp_path, monkeypatch):
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as target:
        pictures = target.add_stream("mpeg4", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 48, 36, "yuv420p"
        tone = target.add_stream("pcm_s16le", rate=8000, layout="mono")
        for begin in range(0, 16_000, 800):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            block.rate, block.pts, block.time_base = 8000, begin, Fraction(1, 8000)
            target.mux(tone.encode(block))
        frame = av.VideoFrame.from_ndarray(np.zeros((36, 48, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = 50, Fraction(1, 25)
        target.mux(pictures.encode(frame))
        for stream in (pictures, tone):
            target.mux(stream.encode())
    assert stylize_video(path, tmp_path / "new.webm", lambda image: image) == 1
    monkeypatch.setattr(clip_writer, "MOST_WAITING_BYTES", 10_000)
    with pytest.raises(ImageError, match="sound begins long before its first readable frame; cut off"):
        stylize_video(path, tmp_path / "other.webm", lambda image: image)
    assert not (tmp_path / "other.webm").exists()
