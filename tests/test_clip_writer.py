"""data/clip_writer.py: depth, colors and streams of a clip are kept in its stylized copy."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from data import clip_writer
from data.video import stylize_video, video_frames
from tests.test_video import write_clip

PQ, HLG, BT2020 = 16, 18, 9  # FFmpeg's numbers of two transfers, and of primaries and a matrix
COLOR = (40_000, 12_000, 25_070)  # of 65535


def write_deep(path: Path, *, transfer: int = PQ, side: int = 64, color=COLOR, frames: int = 3) -> Path:
    with av.open(str(path), "w") as target:
        stream = target.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p10le"
        tags = (BT2020, transfer, BT2020)
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = tags
        context.color_range = 1
        for index in range(frames):
            pixels = np.broadcast_to(np.array(color, np.uint16), (side, side, 3)).copy()
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le")
            frame = frame.reformat(format="yuv420p10le", dst_colorspace="BT2020")
            frame.color_primaries, frame.color_trc, frame.colorspace = tags
            frame.pts, frame.time_base = index, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return path


def first_frame(path: Path) -> tuple:
    """The first frame of a video, the name of its codec and its tag."""
    with av.open(str(path)) as source:
        context = source.streams.video[0].codec_context
        return next(source.decode(video=0)), context.name, context.codec_tag


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("suffix", "codecs"),
    [(".mp4", {"hevc"}), (".mov", {"hevc"}), (".mkv", {"hevc"}), (".webm", {"vp9", "libdav1d", "av1"})],
)
def test_more_than_8_bits_stay_more_than_8_bits(tmp_path, suffix, codecs, workers):
    clip, target = write_deep(tmp_path / "clip.mkv"), tmp_path / f"new{suffix}"
    assert stylize_video(clip, target, lambda image: image, workers=workers) == 3
    frame, codec, tag = first_frame(target)
    assert frame.format.name == "yuv420p10le" and codec in codecs
    assert tag == "hvc1" or suffix not in (".mp4", ".mov")
    for image in video_frames(target):
        np.testing.assert_allclose(image.mean((0, 1)), np.array(COLOR) / 257, atol=1.0)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_primaries_transfer_and_matrix_are_those_of_the_source(tmp_path, suffix, transfer):
    clip, target = write_deep(tmp_path / "clip.mkv", transfer=transfer), tmp_path / f"new{suffix}"
    stylize_video(clip, target, lambda image: image)
    frame, *_ = first_frame(target)
    assert (int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace)) == (
        BT2020,
        transfer,
        BT2020,
    )
    assert int(frame.color_range) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_encoders_write_no_lines_of_their_own(tmp_path, capfd, suffix):
    stylize_video(write_deep(tmp_path / "clip.mkv"), tmp_path / f"new{suffix}", lambda image: image)
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_frames_of_10_bits_reach_the_network_with_fractions(tmp_path):
    seen = []
    clip = write_deep(tmp_path / "clip.mkv", color=(33_000, 33_000, 33_000), frames=1)
    stylize_video(clip, tmp_path / "new.mkv", lambda image: seen.append(image) or image)
    (image,) = seen
    assert image.dtype == np.float32 and image.mean() == pytest.approx(33_000 / 257, abs=0.2)
    assert abs(image.mean() - round(float(image.mean()))) > 0.1  # 128.4


def test_8_bits_stay_8_bits(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", height=64, width=64)
    stylize_video(clip, tmp_path / "new.mp4", lambda image: image)
    frame, codec, _ = first_frame(tmp_path / "new.mp4")
    assert frame.format.name == "yuv420p" and codec == "h264"


@pytest.mark.parametrize("reason", ["tiny", "no codec"])
def test_8_bits_are_written_where_no_codec_takes_10(tmp_path, monkeypatch, reason):
    if reason == "no codec":
        monkeypatch.setitem(clip_writer.DEEP_CODECS, "mp4", ("libnone",))
    clip = write_deep(tmp_path / "clip.mkv", side=16 if reason == "tiny" else 64)
    stylize_video(clip, tmp_path / "new.mp4", lambda image: image)
    frame, *_ = first_frame(tmp_path / "new.mp4")
    assert frame.format.name == "yuv420p"
    np.testing.assert_allclose(
        next(video_frames(tmp_path / "new.mp4")).mean((0, 1)), np.array(COLOR) / 257, atol=2
    )


def write_tracks(path: Path) -> Path:
    """A clip with an English and a German track; the German one is the default."""
    with av.open(str(path), "w") as target:
        pictures = target.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 48, 36, "yuv420p"
        tracks = []
        for language, title, disposition in (("eng", "Voice", 0), ("deu", "Stimme", Disposition.default)):
            track = target.add_stream("aac", rate=44100, layout="mono")
            track.metadata.update(language=language, title=title)
            track.disposition = disposition
            tracks.append(track)
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((36, 48, 3), 10 * index, np.uint8), format="rgb24")
            target.mux(pictures.encode(frame))
        for start in range(0, 16_384, 1024):
            for pitch, track in enumerate(tracks):
                wave = np.sin(np.arange(start, start + 1024) / (10 + pitch))[np.newaxis].astype(np.float32)
                block = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                block.rate, block.pts, block.time_base = 44100, start, Fraction(1, 44100)
                target.mux(track.encode(block))
        for stream in (pictures, *tracks):
            target.mux(stream.encode())
    return path


def tracks_of(path: Path) -> list[tuple]:
    with av.open(str(path)) as source:
        return [
            (
                stream.metadata.get("language"),
                stream.metadata.get("title") or stream.metadata.get("name"),
                bool(stream.disposition & Disposition.default),
                b"".join(bytes(packet) for packet in source.demux(stream)),
            )
            for stream in source.streams.audio
            if source.seek(0) is None
        ]


@pytest.mark.parametrize("source", [".mkv", ".mp4"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_all_tracks_keep_their_language_title_and_default(tmp_path, source, suffix):
    clip = write_tracks(tmp_path / f"clip{source}")
    stylize_video(clip, tmp_path / f"new{suffix}", lambda image: image)
    before, after = tracks_of(clip), tracks_of(tmp_path / f"new{suffix}")
    assert [track[0] for track in after] == ["eng", "deu"]
    assert [track[2] for track in after] == [False, True]
    assert [track[1] for track in after] == ["Voice", "Stimme"]
    if suffix != ".webm":
        assert [track[3] for track in after] == [track[3] for track in before]


@pytest.mark.parametrize("dts", [-3374775283233074901, 10**9])
def test_a_decoding_time_that_the_encoder_never_set_is_replaced(dts):
    from types import SimpleNamespace

    writer = clip_writer.ClipWriter.__new__(clip_writer.ClipWriter)
    odd = SimpleNamespace(pts=0, dts=dts, time_base=Fraction(1, 1000))
    usual = SimpleNamespace(pts=80, dts=-40, time_base=Fraction(1, 1000))
    writer._video = SimpleNamespace(encode=lambda frame: [odd, usual])
    assert [packet.dts for packet in writer._encoded(None)] == [0, -40]
