"""Clips and webcam frames in the studio: turns at the network, limits, and what stops them."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from cli.flags import UsageError
from data.images import ImageError
from web.pictures import PictureMaker
from web.shelf import StyleShelf, UnknownStyle
from web.studio.clips import ClipRequest, stylized_clip
from web.studio.config import StudioConfig
from web.studio.live import FrameRate, as_html, stylized_frame
from web.turns import Deadline, GaveUp


@pytest.fixture
def maker(style_dirs) -> PictureMaker:
    return PictureMaker(StudioConfig(max_megapixels=1.0), StyleShelf(style_dirs["waves"].parent))


@pytest.fixture
def animation(tmp_path):
    """A GIF file of five frames."""
    path = tmp_path / "clip.gif"
    frames = [
        Image.fromarray(np.full((40, 48, 3), (40 * index, 90, 200 - 30 * index), np.uint8))
        for index in range(5)
    ]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, loop=0)
    return path


def stylized(maker, path, folder, request=ClipRequest("waves"), **options):  # noqa: B008
    options = {"deadline": Deadline(60), "most_frames": 10, "name": "art", **options}
    return stylized_clip(maker, path, request, folder, **options)


def test_an_animation_keeps_its_frames_and_format(maker, animation, tmp_path):
    counts = []
    clip = stylized(maker, animation, tmp_path, on_frame=lambda done, total: counts.append((done, total)))
    assert clip.path == tmp_path / "art.gif" and clip.frames == 5
    assert counts == [(index, 5) for index in range(1, 6)]
    with Image.open(clip.path) as image:  # GIF joins frames that are equal, which depends on the network
        durations = [(image.seek(index), image.info["duration"])[1] for index in range(image.n_frames)]
    assert len(durations) > 1 and sum(durations) == 500


def test_a_clip_whose_motion_is_not_followed_says_so(maker, animation, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (note,) = stylized(maker, animation, tmp_path).notes
    assert note.startswith("only what stands still is smoothed: OpenCV is not installed")
    assert not stylized(maker, animation, tmp_path, ClipRequest("waves", temporal=0)).notes


def test_every_frame_takes_a_turn_of_its_own(maker, animation, tmp_path, monkeypatch):
    turns, original = [], maker.turns.turn

    def noted(*arguments, **options):
        turns.append(options)
        return original(*arguments, **options)

    monkeypatch.setattr(maker.turns, "turn", noted)
    stylized(maker, animation, tmp_path)
    assert len(turns) == 6  # the style, and five frames
    assert all(options == {"is_refused": False} for options in turns)


def test_a_clip_that_is_too_long_or_large_is_refused_before_it_is_made(maker, animation, tmp_path, photo):
    with pytest.raises(ImageError, match="has 5 frames, at most 4"):
        stylized(maker, animation, tmp_path, most_frames=4)
    maker.config = StudioConfig(max_megapixels=0.001)
    with pytest.raises(ImageError, match="megapixels"):
        stylized(maker, animation, tmp_path)
    assert not (tmp_path / "art.gif").exists()


def test_a_file_that_is_no_clip_is_refused(maker, photo, tmp_path):
    (tmp_path / "words.mp4").write_text("words")
    for path in (tmp_path / "words.mp4", photo(tmp_path / "cat.png")):
        with pytest.raises(ImageError):
            stylized(maker, path, tmp_path)


@pytest.mark.parametrize("request_", [ClipRequest("waves", temporal=1.0), ClipRequest("waves", max_side=0),
                                      ClipRequest("waves", max_side=10_000)], ids=str)  # fmt: skip
def test_settings_out_of_range_are_refused(maker, animation, tmp_path, request_):
    with pytest.raises(UsageError, match="temporal|max_side"):
        stylized(maker, animation, tmp_path, request_)


def test_an_unknown_style_is_refused(maker, animation, tmp_path):
    with pytest.raises(UnknownStyle):
        stylized(maker, animation, tmp_path, ClipRequest("../waves"))


def test_a_clip_that_is_stopped_leaves_no_file(maker, animation, tmp_path):
    deadline = Deadline(60)
    with pytest.raises(GaveUp):
        stylized(
            maker, animation, tmp_path, deadline=deadline, on_frame=lambda done, total: deadline.cancel()
        )
    assert not (tmp_path / "art.gif").exists()


def jpeg(size=(640, 480)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (90, 120, 200)).save(stream, "JPEG")
    return stream.getvalue()


def test_a_frame_of_the_webcam_is_made_small_and_leaves_no_file(maker, tmp_path):
    image = stylized_frame(maker, jpeg(), "waves", 256, tmp_path)
    assert image.shape == (192, 256, 3) and list(tmp_path.iterdir()) == []


def test_bad_frames_sizes_and_styles_are_refused(maker, tmp_path):
    with pytest.raises(ImageError):
        stylized_frame(maker, b"words", "waves", 256, tmp_path)
    with pytest.raises(UsageError):
        stylized_frame(maker, jpeg(), "waves", 4096, tmp_path)
    with pytest.raises(UnknownStyle):
        stylized_frame(maker, jpeg(), "nothing", 256, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_with_more_pixels_than_a_webcam_has_is_refused_before_it_is_decoded(maker, tmp_path):
    maker.config = StudioConfig()
    with pytest.raises(ImageError, match="more than 4 megapixels"):
        stylized_frame(maker, jpeg((2100, 2000)), "waves", 256, tmp_path)
    maker.config = StudioConfig(max_megapixels=0.1)
    with pytest.raises(ImageError, match="more than 0.1 megapixels"):
        stylized_frame(maker, jpeg(), "waves", 256, tmp_path)


def test_a_frame_needs_no_file_of_the_server_and_its_description_is_text():
    html = as_html(np.zeros((4, 4, 3), np.float32), '"><script>')
    assert html.startswith('<img src="data:image/jpeg;base64,') and "<script>" not in html


def test_the_rate_of_frames_is_that_of_the_last_ones(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("web.studio.live.time.monotonic", lambda: now[0])
    rate = FrameRate()
    assert rate.count() == 0
    for _ in range(4):
        now[0] += 0.5
        shown = rate.count()
    assert shown == pytest.approx(2.0)
    now[0] += 60
    assert rate.count() == 0  # after a pause it starts again
