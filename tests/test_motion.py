"""data/motion.py: flows between frames, and what is said where OpenCV is missing or fails."""

import sys
import types

import numpy as np
import pytest

from data.motion import LONGEST_SIDE, MotionError, MotionFinder, is_outside, largest_channel, load_opencv


@pytest.fixture
def cv2():
    return pytest.importorskip("cv2", reason="needs opencv-python-headless")


def texture(cv2, height: int, width: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(0)
    blots = 127 + 380 * cv2.GaussianBlur(generator.normal(size=(height, width, 3)), (0, 0), 2.5)
    blots += np.random.default_rng(seed).normal(0, noise or 1e-9, blots.shape)
    return blots.clip(0, 255).astype(np.float32)


def test_the_flow_says_where_each_pixel_was(cv2):
    image = texture(cv2, 150, 200)
    flow, gap = MotionFinder().flow(image[:120, :160], image[5:125, 8:168])  # the camera went right and down
    inside = (slice(16, -16), slice(16, -16))
    np.testing.assert_allclose(flow[inside].reshape(-1, 2).mean(0), (8, 5), atol=0.3)
    assert np.abs(flow[inside] - (8, 5)).mean() < 0.3 and (gap[inside] < 1).mean() > 0.97


def test_the_flow_brings_the_frame_before_to_the_place_of_this_one(cv2):
    image, finder = texture(cv2, 150, 200), MotionFinder()
    before, after = image[:120, :160], image[5:125, 8:168]
    moved = finder.moved(np.ascontiguousarray(before), finder.flow(before, after)[0])
    assert np.abs(moved - after)[16:-16, 16:-16].mean() < 0.1 * np.abs(before - after).mean()


def test_noise_is_no_motion(cv2):
    flow, _ = MotionFinder().flow(*(texture(cv2, 120, 160, noise=4, seed=seed) for seed in (1, 2)))
    assert np.abs(flow).max() < 0.01


def test_what_is_hidden_in_the_frame_before_is_not_closed(cv2):
    ground, thing = (cv2.resize(texture(cv2, 80, side), None, fx=3, fy=3) for side in (100, 81))
    frames = []
    for left in (80, 92):
        frames.append(ground.copy())
        frames[-1][60:180, left : left + 120] = thing[:120, :120]
    _, gap = MotionFinder().flow(*frames)
    assert np.median(gap[80:160, 82:90]) > 1  # the ground behind it
    assert np.median(gap[:20]) < 0.5


@pytest.mark.parametrize(
    ("size", "small"), [((360, 640), (360, 640)), ((1080, 1920), (360, 640)), ((2000, 1000), (640, 320)),
                        ((50, 6400), (32, 4096)), ((20, 6400), (20, 6400)), ((1, 1), (1, 1))],
)  # fmt: skip
def test_frames_are_compared_as_small_pictures(size, small, cv2):
    image = np.zeros((*size, 3), np.float32)
    assert MotionFinder().small(image).shape == (*small, 3)
    assert LONGEST_SIDE == 640


@pytest.mark.parametrize("size", [(1, 1), (31, 80), (12, 12)])
def test_frames_too_small_to_compare_have_no_motion(size, cv2):
    image = np.random.default_rng(0).uniform(0, 255, (*size, 3)).astype(np.float32)
    flow, gap = MotionFinder().flow(image, 255 - image)
    assert flow.shape == (*size, 2) and not flow.any() and gap.shape == size and not gap.any()


def test_a_picture_that_is_not_moved_stays_as_it_is(cv2):
    image = texture(cv2, 40, 50)
    np.testing.assert_array_equal(MotionFinder().moved(image, np.zeros((40, 50, 2), np.float32)), image)


def test_mixed_is_a_share_of_each(cv2):
    new, old = np.full((2, 2, 3), 100, np.float32), np.full((2, 2, 3), 200, np.float32)
    kept = np.float32([[0, 0.25], [0.5, 1]])
    np.testing.assert_allclose(
        MotionFinder().mixed(new, old, kept)[..., 1], [[100, 125], [150, 200]], atol=0.003
    )


def test_contrast_is_of_the_neighbours_of_all_channels(cv2):
    image = np.zeros((5, 6, 3), np.float32)
    image[2, 3] = (10, 40, 20)
    expected = np.zeros((5, 6))
    expected[1:4, 2:5] = 40
    np.testing.assert_array_equal(MotionFinder().contrast(image), expected)


def test_what_comes_from_beyond_the_frame_is_outside():
    flow = np.zeros((4, 6, 2), np.float32)
    flow[..., 0] = 2
    expected = np.zeros((4, 6), bool)
    expected[:, 4:] = True
    np.testing.assert_array_equal(is_outside(flow), expected)
    np.testing.assert_array_equal(is_outside(-flow[..., ::-1]), np.arange(4)[:, None] + np.zeros(6) < 2)


def test_largest_channel_is_the_maximum():
    image = np.random.default_rng(0).normal(size=(4, 5, 3))
    np.testing.assert_array_equal(largest_channel(image), image.max(-1))


def test_opencv_computes_in_one_thread(cv2):
    MotionFinder()
    assert cv2.getNumThreads() == 1


def test_without_opencv_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MotionError) as caught:
        load_opencv()
    assert "pip install opencv-python-headless" in str(caught.value) and "\n" not in str(caught.value)


def test_an_opencv_without_flow_is_to_be_renewed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace())
    with pytest.raises(
        MotionError, match="has no optical flow; .* pip install --upgrade opencv-python-headless"
    ):
        load_opencv()


def test_a_fault_of_opencv_is_one_line(cv2):
    with pytest.raises(MotionError) as caught:
        MotionFinder().moved(np.zeros((4, 4, 3), np.float32), np.zeros((0, 0, 2), np.float32))
    assert "leave out --temporal" in str(caught.value) and "\n" not in str(caught.value)


def test_an_opencv_without_memory_is_a_memory_error(cv2):
    finder = MotionFinder()
    fault = cv2.error("no memory")
    fault.code, fault.err = cv2.Error.StsNoMem, "Failed to allocate 9 bytes"

    class Full:
        def calc(self, *_):
            raise fault

    finder._search = Full()
    with pytest.raises(MemoryError, match="Failed to allocate 9 bytes"):
        finder.flow(*np.zeros((2, 40, 40, 3), np.float32))
