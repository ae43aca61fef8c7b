"""data/video.py: the frames are replaced, everything else is kept."""

import errno
import os
import signal
import struct
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data import clip_writer
from data.clip_formats import is_video
from data.clip_frames import frame_of
from data.clip_source import SourceClip
from data.decoding import ImageError
from data.guarded_stream import GuardedStream
from data.video import DamagedClipError, check_video_suffix, stylize_video, video_frames
from system.signals import Interrupted, raised_interrupts

FRAMES, RATE = 12, Fraction(30000, 1001)


def write_clip(
    path: Path, *, height=36, width=48, sound=True, times=range(FRAMES), unit=1 / RATE, codec="libx264"
) -> Path:
    """Writes a clip with sound. Each frame is brighter than the one before; its upper left corner is red."""
    with av.open(str(path), "w") as target:
        pictures = target.add_stream(codec, rate=RATE, options={"crf": "5"} if codec == "libx264" else {})
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        pictures.codec_context.time_base = unit
        tone = target.add_stream("aac", rate=44100) if sound else None
        for index, time in enumerate(times):
            pixels = np.full((height, width, 3), 40 + 10 * index, np.uint8)
            pixels[: height // 2, : width // 2] = (200, 50, 50)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, unit
            target.mux(pictures.encode(frame))
        target.mux(pictures.encode())
        if tone:
            samples = int(44100 * FRAMES / RATE)
            for start in range(0, samples - 1024, 1024):
                wave = np.sin(np.arange(start, start + 1024) / 10)[np.newaxis].astype(np.float32)
                block = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                block.rate, block.pts, block.time_base = 44100, start, Fraction(1, 44100)
                target.mux(tone.encode(block))
            target.mux(tone.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    """Times and bytes of the packets of the first stream of a kind."""
    with av.open(str(path)) as source:
        stream = next(stream for stream in source.streams if stream.type == kind)
        return [
            (round(float(packet.pts * packet.time_base), 4), bytes(packet))
            for packet in source.demux(stream)
            if packet.pts is not None
        ]


def negative(image: np.ndarray) -> np.ndarray:
    return 255 - image


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_are_stylized_and_sound_and_times_are_kept(clip, tmp_path, suffix):
    target = tmp_path / f"new{suffix}"
    assert stylize_video(clip, target, negative) == FRAMES
    before, after = list(video_frames(clip)), list(video_frames(target))
    assert len(after) == FRAMES and after[0].shape == before[0].shape
    for index in range(FRAMES):
        np.testing.assert_allclose(after[index].mean((0, 1)), 255 - before[index].mean((0, 1)), atol=4)
    sounds = [packets(path, "audio") for path in (clip, target)]
    assert [data for _, data in sounds[1]] == [data for _, data in sounds[0]]
    times = [np.array(sorted(time for time, _ in packets(path, "video"))) for path in (clip, target)]
    starts = [sound[0][0] for sound in sounds]  # Matroska has no times below 0, and moves both streams
    np.testing.assert_allclose(times[1] - starts[1], times[0] - starts[0], atol=2e-3)


def test_colors_survive_the_way_there_and_back(clip, tmp_path):
    stylize_video(clip, tmp_path / "same.mp4", lambda image: image)
    for before, after in zip(video_frames(clip), video_frames(tmp_path / "same.mp4"), strict=True):
        assert np.abs(after - before).mean() < 3


def test_uneven_frame_times_are_kept(tmp_path):
    times = [0, 1, 2, 5, 6, 11, 12, 20]
    clip = write_clip(tmp_path / "uneven.mkv", times=times, sound=False)
    assert stylize_video(clip, tmp_path / "new.mkv", negative) == len(times)
    before, after = (
        sorted(time for time, _ in packets(path, "video")) for path in (clip, tmp_path / "new.mkv")
    )
    np.testing.assert_allclose(after, before, atol=2e-3)


@pytest.mark.parametrize("workers", [1, 3])
def test_times_between_those_of_the_frame_rate_are_kept(tmp_path, workers):
    times = [0, 31, 70, 95, 200, 210]  # milliseconds
    clip = write_clip(tmp_path / "phone.mp4", times=times, unit=Fraction(1, 1000), sound=False)
    stylize_video(clip, tmp_path / "new.mp4", negative, workers=workers)
    written = sorted(time for time, _ in packets(tmp_path / "new.mp4", "video"))
    np.testing.assert_allclose(written, np.array(times) / 1000, atol=1e-3)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_clip_of_a_phone_held_upright_is_stylized_upright(tmp_path, workers):
    clip = write_clip(tmp_path / "phone.mp4", sound=False)
    content = bytearray(clip.read_bytes())
    unturned = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    clockwise = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    start = content.index(unturned, content.index(b"tkhd"))  # the display matrix of the track
    content[start : start + len(unturned)] = clockwise
    clip.write_bytes(content)
    stylize_video(clip, tmp_path / "new.mp4", lambda image: image, workers=workers)
    for path in (clip, tmp_path / "new.mp4"):
        image = next(video_frames(path))
        assert image.shape == (48, 36, 3)
        red = np.argwhere(image[..., 0] - image[..., 1] > 100)  # the patch that was in the upper left corner
        assert (red.min(axis=0) >= (0, 17)).all() and (red.max(axis=0) <= (24, 35)).all() and len(red) > 300


def luma(path: Path) -> tuple[float, av.VideoFrame]:
    with av.open(str(path)) as source:
        frame = next(source.decode(video=0))
        return frame.to_ndarray()[: frame.height].mean(), frame


@pytest.mark.parametrize(("size", "color_space", "luma_of_red"), [((36, 48), 5, 81.5), ((720, 960), 1, 62.6)])
def test_the_color_matrix_is_that_of_the_size_and_is_written_down(tmp_path, size, color_space, luma_of_red):
    """5 is BT.601, 1 is BT.709; red has 16 + 219 * 0.299 or 16 + 219 * 0.2126 in the limited range."""
    clip = write_clip(tmp_path / "clip.mp4", height=size[0], width=size[1], times=[0], sound=False)
    stylize_video(clip, tmp_path / "red.mp4", lambda image: np.full_like(image, (255, 0, 0)))
    written, frame = luma(tmp_path / "red.mp4")
    assert written == pytest.approx(luma_of_red, abs=1)
    assert int(frame.colorspace) == color_space
    assert int(frame.color_range) == 1  # limited


@pytest.mark.parametrize(("size", "red_yuv"), [((36, 48), (81, 90, 240)), ((720, 960), (63, 102, 240))])
def test_a_clip_without_a_color_matrix_is_read_with_that_of_its_size(tmp_path, size, red_yuv):
    height, width = size
    with av.open(str(tmp_path / "red.mp4"), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        planes = [np.full((height * 3 // 2, width), red_yuv[0], np.uint8)]
        planes[0][height:] = red_yuv[2]
        planes[0][height : height + height // 4] = red_yuv[1]
        frame = av.VideoFrame.from_ndarray(planes[0], format="yuv420p")
        target.mux(stream.encode(frame))
        target.mux(stream.encode())
    np.testing.assert_allclose(next(video_frames(tmp_path / "red.mp4")).mean((0, 1)), (255, 0, 0), atol=4)


def test_values_out_of_range_are_clipped(clip, tmp_path):
    stylize_video(clip, tmp_path / "new.mp4", lambda image: np.full_like(image, (300, -45, 300)))
    np.testing.assert_allclose(next(video_frames(tmp_path / "new.mp4")).mean((0, 1)), (255, 0, 255), atol=4)


def test_the_quality_is_the_constant_rate_factor_of_the_module(clip, tmp_path):
    stylize_video(clip, tmp_path / "new.mp4", negative)
    assert b"crf=17.0" in (tmp_path / "new.mp4").read_bytes()  # x264 writes its settings into the stream


def test_the_target_folder_is_created(clip, tmp_path):
    assert stylize_video(clip, tmp_path / "a" / "b" / "new.mp4", negative) == FRAMES
    assert (tmp_path / "a" / "b" / "new.mp4").is_file()


def test_a_full_disk_is_named_in_one_line(clip, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(
        ImageError, match=r"new\.mp4: cannot be written: No space left on device; check .* free space"
    ):
        stylize_video(clip, tmp_path / "new.mp4", negative)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_clip_stays_silent(tmp_path):
    clip = write_clip(tmp_path / "silent.mp4", sound=False)
    stylize_video(clip, tmp_path / "new.mp4", negative)
    with av.open(str(tmp_path / "new.mp4")) as written:
        assert [stream.type for stream in written.streams] == ["video"]


def test_frames_come_one_at_a_time(clip, tmp_path):
    seen = []
    stylize_video(clip, tmp_path / "new.mp4", negative, lambda done, frames: seen.append((done, frames)))
    assert seen == [(index, FRAMES) for index in range(1, FRAMES + 1)]


def test_the_size_may_change_and_odd_sides_are_extended(clip, tmp_path):
    stylize_video(clip, tmp_path / "new.mp4", lambda image: image[:21, :31])
    assert next(video_frames(tmp_path / "new.mp4")).shape == (22, 32, 3)


def test_a_failure_half_way_leaves_no_file(clip, tmp_path):
    calls = iter(range(5))

    def fail_later(image):
        next(calls)
        return image

    with pytest.raises(StopIteration):
        stylize_video(clip, tmp_path / "new.mp4", fail_later)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no clip at all" * 100])
def test_a_file_that_is_no_clip_is_named(tmp_path, content):
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.mp4: .*give a video") as error:
        stylize_video(tmp_path / "bad.mp4", tmp_path / "new.mp4", negative)
    assert "\n" not in str(error.value) and not (tmp_path / "new.mp4").exists()


def test_a_missing_clip_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.mp4"):
        stylize_video(tmp_path / "nowhere.mp4", tmp_path / "new.mp4", negative)


def test_sound_alone_is_no_clip(tmp_path):
    with av.open(str(tmp_path / "tone.m4a"), "w", format="mp4") as target:
        tone = target.add_stream("aac", rate=44100)
        block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        block.rate = 44100
        target.mux(tone.encode(block))
        target.mux(tone.encode())
    with pytest.raises(ImageError, match="contains no video stream"):
        stylize_video(tmp_path / "tone.m4a", tmp_path / "new.mp4", negative)


def test_a_video_stream_without_frames_is_no_clip(tmp_path):
    with av.open(str(tmp_path / "hollow.mkv"), "w") as target:
        pictures = target.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 48, 36, "yuv420p"
        tone = target.add_stream("aac", rate=44100)
        for start in range(0, 10_240, 1024):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = 44100, start, Fraction(1, 44100)
            target.mux(tone.encode(block))
        target.mux(tone.encode())
    with pytest.raises(ImageError, match=r"hollow\.mkv: contains no readable frame; give another video"):
        stylize_video(tmp_path / "hollow.mkv", tmp_path / "new.mp4", negative)
    assert not (tmp_path / "new.mp4").exists()


def test_suffixes_tell_videos():
    assert is_video(Path("a.MP4")) and is_video(Path("a.avi")) and not is_video(Path("a.png"))
    with pytest.raises(ImageError, match=r"end the name in one of \.mp4"):
        check_video_suffix(Path("a.avi"))


def cut(clip: Path, target: Path, share: float) -> Path:
    content = clip.read_bytes()
    target.write_bytes(content[: int(share * len(content))])
    return target


def test_a_cut_clip_is_written_as_far_as_it_goes_and_then_reported(tmp_path):
    whole = write_clip(tmp_path / "whole.mkv")
    with pytest.raises(DamagedClipError) as caught:
        stylize_video(cut(whole, tmp_path / "cut.mkv", 0.6), tmp_path / "new.mp4", negative)
    written = len(list(video_frames(tmp_path / "new.mp4")))
    assert 0 < written < FRAMES
    size = (tmp_path / "cut.mkv").stat().st_size
    assert f"cut.mkv: is damaged or cut off: it has {size} of {whole.stat().st_size} bytes" in str(
        caught.value
    )
    assert str(caught.value).endswith(
        f"wrote {tmp_path / 'new.mp4'} with the {written} frames that could be read"
    )


def test_a_clip_with_nothing_to_read_leaves_the_older_picture(clip, tmp_path):
    (tmp_path / "new.mp4").write_bytes(b"older")
    with pytest.raises(ImageError, match=r"is damaged or not a video \(it has \d+ of \d+ bytes\)"):
        stylize_video(cut(clip, tmp_path / "cut.mp4", 0.5), tmp_path / "new.mp4", negative)
    assert (tmp_path / "new.mp4").read_bytes() == b"older"


def test_frames_of_a_damaged_clip_are_given_before_the_error(tmp_path):
    path = cut(write_clip(tmp_path / "whole.mkv"), tmp_path / "cut.mkv", 0.7)
    frames = video_frames(path)
    assert next(frames).shape == (36, 48, 3)
    with pytest.raises(DamagedClipError, match=r"cut\.mkv: is damaged or cut off"):
        list(frames)


def with_times(clip: Path, target: Path, change) -> Path:
    """A copy of a clip without B-frames in which the times of the packets are change(time)."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts = packet.dts = change(packet.pts)
                packet.stream = stream
                copy.mux(packet)
    return target


def repeated(milliseconds: int) -> int:
    return milliseconds // 67 * 67


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("change", [repeated, lambda milliseconds: 0], ids=["pairs", "all"])
def test_times_that_repeat_are_made_to_increase(tmp_path, suffix, change):
    clip = write_clip(tmp_path / "clip.mkv", sound=False, codec="mpeg4")
    clip = with_times(clip, tmp_path / "repeated.mkv", change)
    assert stylize_video(clip, tmp_path / f"new{suffix}", negative) == FRAMES
    times = np.array([time for time, _ in packets(tmp_path / f"new{suffix}", "video")])
    assert (np.diff(sorted(times)) > 0).all()
    if change is repeated:
        originals = np.array([time for time, _ in packets(clip, "video")])
        np.testing.assert_allclose(sorted(times), originals, atol=4e-3)


def test_joined_recordings_follow_each_other(tmp_path):
    first, second = (write_clip(tmp_path / f"{name}.ts") for name in "ab")
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    assert stylize_video(tmp_path / "both.ts", tmp_path / "new.mp4", negative) == 2 * FRAMES
    for kind in ("video", "audio"):
        times = np.array([time for time, _ in packets(tmp_path / "new.mp4", kind)])
        assert len(times) > FRAMES and (np.diff(sorted(times)) > 0).all()
        assert times.max() - times.min() == pytest.approx(2 * FRAMES / RATE, abs=0.15)


@pytest.mark.parametrize("size", [{"height": 72, "width": 64}, {"height": 20, "width": 100}])
def test_frames_that_change_their_size_are_scaled_to_the_first(tmp_path, size):
    first = write_clip(tmp_path / "a.ts", sound=False)
    second = write_clip(tmp_path / "b.ts", sound=False, **size)
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    assert stylize_video(tmp_path / "both.ts", tmp_path / "new.mp4", negative) == 2 * FRAMES
    frames = list(video_frames(tmp_path / "new.mp4"))
    assert len(frames) == 2 * FRAMES and {frame.shape for frame in frames} == {(36, 48, 3)}


@pytest.mark.parametrize(
    ("codec", "pixel_format"),
    [
        ("ffv1", "bgr0"),
        ("ffv1", "yuv420p10le"),
        ("qtrle", "argb"),
        ("png", "rgba"),
        ("ffv1", "gray"),
        ("ffv1", "gray16le"),
    ],
)
def test_any_pixel_format_is_read_without_transparency(tmp_path, codec, pixel_format):
    with av.open(str(tmp_path / "a.mov" if codec != "ffv1" else tmp_path / "a.mkv"), "w") as target:
        stream = target.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, pixel_format
        frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 200, np.uint8), format="rgb24")
        target.mux(stream.encode(frame.reformat(format=pixel_format)) + stream.encode())
    assert stylize_video(next(tmp_path.iterdir()), tmp_path / "new.mp4", lambda image: image) == 1
    np.testing.assert_allclose(next(video_frames(tmp_path / "new.mp4")), 200, atol=5)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 3)])
def test_tiny_frames_are_written(tmp_path, size, suffix):
    with av.open(str(tmp_path / "dot.mkv"), "w") as target:
        stream = target.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "bgr0"
        frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 90, np.uint8), format="rgb24")
        target.mux(stream.encode(frame.reformat(format="bgr0")) + stream.encode())
    assert stylize_video(tmp_path / "dot.mkv", tmp_path / f"new{suffix}", negative) == 1


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_frames_that_are_too_wide_to_write_are_refused_with_what_to_do(tmp_path_factory, tmp_path, suffix):
    clip = write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", sound=False)
    with pytest.raises(
        ImageError, match=r"frames of 17000x4 pixels cannot be written, 16384 a side at most; give --max"
    ):
        stylize_video(clip, tmp_path / f"new{suffix}", lambda image: np.zeros((4, 17_000, 3), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_times_that_the_container_cannot_store_are_refused_in_one_line(tmp_path):
    clip = write_clip(tmp_path / "gap.mkv", times=[0, 40, 10**9], unit=Fraction(1, 1000), sound=False)
    with pytest.raises(
        ImageError, match=r"gap\.mkv: cannot be written as .*new\.mp4 \(.*\); try a name that ends in \.mkv"
    ):
        stylize_video(clip, tmp_path / "new.mp4", negative)
    assert not (tmp_path / "new.mp4").exists()


def test_too_little_memory_is_said_with_the_size_of_the_frames(clip, tmp_path):
    def fail(image):
        raise MemoryError

    with pytest.raises(
        ImageError, match=r"clip\.mp4: too little memory for frames of 48x36 pixels; scale it down"
    ):
        stylize_video(clip, tmp_path / "new.mp4", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_display_matrix_of_zeros_turns_nothing(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", sound=False)
    content = bytearray(clip.read_bytes())
    start = content.index(
        struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), content.index(b"tkhd")
    )
    content[start : start + 36] = bytes(36)
    clip.write_bytes(content)
    stylize_video(clip, tmp_path / "new.mp4", lambda image: image)
    assert next(video_frames(tmp_path / "new.mp4")).shape == (36, 48, 3)


def test_a_signal_while_the_copy_is_written_is_obeyed_and_leaves_no_file(clip, tmp_path, monkeypatch):
    write, signals = GuardedStream.write, []

    def interrupted(self, content):
        if not signals:
            signals.append("SIGINT")
            os.kill(os.getpid(), signal.SIGINT)
        return write(self, content)

    monkeypatch.setattr(GuardedStream, "write", interrupted)
    with raised_interrupts(), pytest.raises(Interrupted):
        stylize_video(clip, tmp_path / "new.mp4", negative)
    assert list(tmp_path.iterdir()) == []


def negative_noise(image: np.ndarray) -> np.ndarray:
    """Depends on every pixel, and takes longer for some frames than for their followers."""
    time.sleep(0.01 * (int(image.sum()) % 3))
    return np.flip(255 - image, axis=1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_several_workers_write_the_file_that_one_writes(clip, tmp_path, suffix, monkeypatch):
    """Up to the encoder: x264 gives other bytes for the same frames about once in 300 clips on a busy machine."""
    encoded = []

    def frame_seen(pixels, *arguments):
        frame = frame_of(pixels, *arguments)
        encoded.append(frame.to_ndarray())
        return frame

    monkeypatch.setattr(clip_writer, "frame_of", frame_seen)
    targets = [tmp_path / f"{name}{suffix}" for name in ("one", "several")]
    for target, workers in zip(targets, (1, 3), strict=True):
        assert stylize_video(clip, target, negative_noise, workers=workers) == FRAMES
    assert len(encoded) == 2 * FRAMES
    for one, several in zip(encoded[:FRAMES], encoded[FRAMES:], strict=True):
        assert np.array_equal(one, several)
    assert packets(targets[0], "audio") == packets(targets[1], "audio")
    times = [[time for time, _ in packets(target, "video")] for target in targets]
    assert times[0] == times[1]


@pytest.mark.parametrize("frames_apart", [1, 20])
def test_frames_are_stylized_together_however_much_sound_is_between(tmp_path, frames_apart):
    """Three frames wait for each other, so it would never end if one had to be written before the next is begun."""
    clip = write_clip(tmp_path / "clip.mkv", times=range(0, FRAMES * frames_apart, frames_apart))
    together, threads = threading.Barrier(3, timeout=10), set()

    def stylize(image):
        threads.add(threading.current_thread())
        together.wait()
        return image

    assert stylize_video(clip, tmp_path / "new.mp4", stylize, workers=3) == FRAMES
    assert threading.main_thread() not in threads and len(threads) == 3


def test_few_frames_are_read_ahead(tmp_path, monkeypatch):
    clip, read, begun = write_clip(tmp_path / "clip.mkv", times=range(20)), [], []
    decoded = SourceClip._decoded
    monkeypatch.setattr(
        SourceClip, "_decoded", lambda self, packet: (read.append(0) or f for f in decoded(self, packet))
    )

    def stylize(image):
        begun.append(len(read) - len(written))
        return image

    written = []
    stylize_video(clip, tmp_path / "new.mkv", stylize, lambda done, _: written.append(done), workers=2)
    assert len(read) == 20 and max(begun) <= 2 * 2 + 1


def test_what_depends_on_the_previous_frame_is_done_in_order(clip, tmp_path):
    seen = []

    def stylize(image):
        time.sleep(0.02 * (int(image.sum()) % 2))
        return image, image.mean()

    def finish(work):
        seen.append(work[1])
        assert threading.current_thread() is threading.main_thread()
        return work[0]

    assert stylize_video(clip, tmp_path / "new.mp4", stylize, finish=finish, workers=3) == FRAMES
    assert len(seen) == FRAMES and seen == sorted(seen)  # each frame is brighter than the one before


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_one_worker_ends_the_copy_without_stopping_the_network(clip, tmp_path, workers):
    stopped, calls = [], iter(range(FRAMES))

    def stylize(image):
        if next(calls) == 5:
            raise KeyError("five")
        return image

    with pytest.raises(KeyError, match="five"):
        stylize_video(
            clip, tmp_path / "new.mp4", stylize, workers=workers, stop=lambda: stopped.append(workers)
        )
    assert list(tmp_path.iterdir()) == [] and stopped == []


def test_an_error_of_the_encoder_does_not_stop_the_network(tmp_path):
    clip, stopped = write_clip(tmp_path / "clip.mp4", sound=False), []
    with pytest.raises(ImageError, match="cannot be written"):
        stylize_video(
            clip,
            tmp_path / "new.mp4",
            lambda image: np.zeros((4, 17_000, 3), np.float32),
            workers=2,
            stop=lambda: stopped.append(True),
        )
    assert stopped == []


@pytest.mark.parametrize("moment", ["waiting", "writing"])
def test_a_signal_stops_the_frames_in_work(clip, tmp_path, monkeypatch, moment):
    stopped, signals = threading.Event(), []
    write = GuardedStream.write

    def stylize(image):
        # The frame's own place: a slow thread may begin the first frame after others have begun the fourth.
        frame = round((float(image[-1, -1].mean()) - 40) / 10)
        if moment == "waiting" and frame == 3:
            os.kill(os.getpid(), signal.SIGINT)
        if frame >= 3 and not stopped.wait(timeout=20):
            raise TimeoutError("nobody said stop")
        return image

    def interrupted(self, content):
        if moment == "writing" and not signals:
            signals.append("SIGINT")
            os.kill(os.getpid(), signal.SIGINT)
        return write(self, content)

    monkeypatch.setattr(GuardedStream, "write", interrupted)
    with raised_interrupts(), pytest.raises(Interrupted):
        stylize_video(clip, tmp_path / "new.mp4", stylize, workers=2, stop=stopped.set)
    assert stopped.is_set() and list(tmp_path.iterdir()) == []


def test_a_cut_clip_gives_the_same_error_with_several_workers(tmp_path):
    cut_clip = cut(write_clip(tmp_path / "whole.mkv"), tmp_path / "cut.mkv", 0.6)
    lines = []
    for workers in (1, 3):
        with pytest.raises(DamagedClipError) as caught:
            stylize_video(cut_clip, tmp_path / "new.mp4", negative, workers=workers)
        lines.append(str(caught.value))
    assert lines[0] == lines[1] and "wrote" in lines[0]
