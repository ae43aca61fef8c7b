"""data/animation.py: animations are clips, and clips can become animations."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import animation
from data.animation import AnimationSource, is_animation
from data.decoding import ImageError
from data.images import load_image
from data.video import DamagedClipError, clip_size, stylize_video, video_frames
from tests.test_video import FRAMES, RATE, write_clip

DURATIONS = [100, 40, 250, 70, 500]  # milliseconds


def write_animation(
    path: Path, *, loop: int | None = 0, durations=DURATIONS, height=24, width=32, **options
) -> Path:
    """Each frame has another color; the lower half is transparent in WebP files."""
    frames = []
    for index in range(len(durations)):
        pixels = np.full((height, width, 4), (40 + 40 * index, 200 - 30 * index, 60, 255), np.uint8)
        pixels[height // 2 :, :, 3] = 0 if path.suffix == ".webp" else 255
        frames.append(Image.fromarray(pixels))
    options |= {} if loop is None else {"loop": loop}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(durations), **options)
    return path


def timing(path: Path) -> tuple[list[int], int | None]:
    """Durations of the frames, and the loop as the file stores it."""
    with Image.open(path) as image:
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            durations.append(round(image.info["duration"]))
        return durations, image.info.get("loop")


def inverted(image: np.ndarray) -> np.ndarray:
    return 255 - image


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("target", [".gif", ".webp"])
@pytest.mark.parametrize("source", [".gif", ".webp"])
def test_durations_and_frames_are_kept(tmp_path, source, target, workers):
    path, new = write_animation(tmp_path / f"a{source}"), tmp_path / f"new{target}"
    assert stylize_video(path, new, inverted, workers=workers) == len(DURATIONS)
    assert timing(new) == (DURATIONS, 0)
    for before, after in zip(video_frames(path), video_frames(new), strict=True):
        assert after.shape == before.shape
        np.testing.assert_allclose(after[:8].mean((0, 1)), 255 - before[:8].mean((0, 1)), atol=6)


@pytest.mark.parametrize(
    ("source", "loop", "target", "expected"),
    [
        (".gif", None, ".gif", None),  # shown once
        (".gif", 2, ".gif", 2),  # three times
        (".gif", None, ".webp", 1),
        (".gif", 2, ".webp", 3),
        (".webp", 1, ".gif", None),
        (".webp", 3, ".gif", 2),
        (".webp", 0, ".webp", 0),
    ],
)
def test_the_number_of_showings_is_kept(tmp_path, source, loop, target, expected):
    path, new = write_animation(tmp_path / f"a{source}", loop=loop), tmp_path / f"new{target}"
    stylize_video(path, new, inverted)
    assert timing(new)[1] == expected


def test_white_shows_through_transparency(tmp_path):
    path = write_animation(tmp_path / "a.webp", lossless=True)
    for image in video_frames(path):
        np.testing.assert_array_equal(image[12:], np.full((12, 32, 3), 255))
        assert image[:12].mean() < 200


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_an_animation_becomes_a_video_with_its_times(tmp_path, suffix):
    path = write_animation(tmp_path / "a.gif")
    assert stylize_video(path, tmp_path / f"new{suffix}", inverted) == len(DURATIONS)
    import av

    with av.open(str(tmp_path / f"new{suffix}")) as source:
        times = [frame.time for frame in source.decode(video=0)]
    np.testing.assert_allclose(times, np.cumsum([0, *DURATIONS[:-1]]) / 1000, atol=2e-3)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_clip_becomes_an_animation_in_its_length(tmp_path, suffix):
    clip, notes = write_clip(tmp_path / "clip.mp4"), []
    assert stylize_video(clip, tmp_path / f"new{suffix}", inverted, on_note=notes.append) == FRAMES
    durations, loop = timing(tmp_path / f"new{suffix}")
    assert len(durations) == FRAMES and loop == 0
    assert sum(durations) == pytest.approx(1000 * FRAMES / RATE, abs=10)
    assert notes == ["the sound was left out, because animations have none"]


def test_a_gif_of_a_fast_clip_leaves_out_frames_that_browsers_would_show_too_long(tmp_path):
    clip = write_clip(tmp_path / "fast.mp4", unit=RATE**-1 / 4, sound=False)  # 120 frames per second
    stylize_video(clip, tmp_path / "new.gif", inverted)
    durations, _ = timing(tmp_path / "new.gif")
    assert min(durations) >= 20 and len(durations) == FRAMES // 3
    assert sum(durations) == pytest.approx(1000 * FRAMES / RATE / 4, abs=25)


def test_frames_without_a_duration_are_shown_as_browsers_show_them(tmp_path):
    path = write_animation(tmp_path / "a.gif", durations=[0, 0, 0])
    stylize_video(path, tmp_path / "new.gif", inverted)
    assert timing(tmp_path / "new.gif")[0] == [100, 100, 100]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_the_size_may_change_and_be_odd(tmp_path, suffix):
    path = write_animation(tmp_path / "a.gif", height=21, width=31)
    assert clip_size(path) == (21, 31)
    stylize_video(path, tmp_path / f"new{suffix}", lambda image: image[:11, :15])
    assert next(video_frames(tmp_path / f"new{suffix}")).shape == (11, 15, 3)


def test_only_animated_files_are_animations(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "still.gif")
    Image.new("RGB", (8, 8)).save(tmp_path / "still.webp")
    (tmp_path / "text.gif").write_text("no picture")
    write_animation(tmp_path / "a.gif").rename(tmp_path / "a.png")
    names = ("still.gif", "still.webp", "text.gif", "a.png", "missing.gif")
    assert [name for name in names if is_animation(tmp_path / name)] == []
    assert is_animation(write_animation(tmp_path / "a.gif")) and is_animation(
        write_animation(tmp_path / "a.webp")
    )


def test_a_cut_animation_is_written_as_far_as_it_goes(tmp_path):
    generator, frames = np.random.default_rng(0), []
    for _ in range(6):
        frames.append(Image.fromarray(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)))
    frames[0].save(tmp_path / "whole.gif", save_all=True, append_images=frames[1:], duration=100)
    content = (tmp_path / "whole.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        DamagedClipError, match=r"cut\.gif: is damaged or cut off: .*; wrote .*new\.gif with the"
    ):
        stylize_video(tmp_path / "cut.gif", tmp_path / "new.gif", inverted)
    assert 1 <= len(list(video_frames(tmp_path / "new.gif"))) < 6


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_that_memory_cannot_hold_is_refused_in_one_line(tmp_path, monkeypatch, suffix):
    path = write_animation(tmp_path / "a.gif")
    monkeypatch.setattr(
        animation, "available_memory", lambda: 24 * 32 * 4 if suffix == ".gif" else 24 * 32 * 5
    )
    monkeypatch.setattr(animation, "FRAME_BYTES", 1)
    with pytest.raises(
        ImageError, match=r"new\.\w+: (2|3) frames of 32x24 pixels take more memory .*--max-side"
    ):
        stylize_video(path, tmp_path / f"new{suffix}", inverted)
    assert [found.name for found in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.parametrize("limit", ["pixels", "memory"])
def test_an_animation_of_too_large_frames_is_refused(tmp_path, monkeypatch, limit):
    path = write_animation(tmp_path / "a.gif")
    if limit == "pixels":
        monkeypatch.setattr("data.decoding.MAX_PIXELS", 500)
    else:
        monkeypatch.setattr(animation, "available_memory", lambda: 1000)
    with pytest.raises(ImageError, match="scale it down first"), AnimationSource(path):
        pass


def test_an_animation_whose_first_frame_is_damaged_is_refused_in_one_line(tmp_path, monkeypatch):
    path = write_animation(tmp_path / "a.gif")

    def fail(*_):
        raise OSError("image file is truncated")

    monkeypatch.setattr(animation, "frame_pixels", fail)
    with pytest.raises(
        ImageError, match=r"a\.gif: contains no readable frame: 0 of 5 .*truncated.*; give another"
    ):
        stylize_video(path, tmp_path / "new.gif", inverted)
    assert not (tmp_path / "new.gif").exists()


def test_a_deep_clip_becomes_an_animation(tmp_path):
    from tests.test_clip_writer import COLOR, write_deep

    stylize_video(write_deep(tmp_path / "clip.mkv"), tmp_path / "new.webp", lambda image: image)
    image = load_image(tmp_path / "new.webp")  # the encoder makes one of equal frames
    np.testing.assert_allclose(image.mean((0, 1)), np.array(COLOR) / 257, atol=4)


def test_a_gif_of_a_faster_animation_shows_no_frame_too_shortly(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), 40 * index, np.uint8)) for index in range(6)]
    frames[0].save(
        tmp_path / "fast.webp", save_all=True, append_images=frames[1:], duration=16, lossless=True
    )
    stylize_video(tmp_path / "fast.webp", tmp_path / "new.gif", lambda image: image)
    assert min(timing(tmp_path / "new.gif")[0]) >= 20


def test_a_picture_that_is_shown_too_long_for_a_gif_is_one_line(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), 40 * index, np.uint8)) for index in range(2)]
    frames[0].save(tmp_path / "slow.webp", save_all=True, append_images=frames[1:], duration=700_000)
    with pytest.raises(ImageError, match="655 seconds.*\\.mp4"):
        stylize_video(tmp_path / "slow.webp", tmp_path / "new.gif", lambda image: image)
    assert not (tmp_path / "new.gif").exists()
