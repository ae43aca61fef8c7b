"""The measure of video_stability.py: what stays on the world costs nothing, what stays on the screen costs much."""

import json
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

benchmark = import_module("benchmarks.video_stability")
moving_clips = import_module("benchmarks.moving_clips")
recipes = import_module("benchmarks.recipes")
stability_scores = import_module("benchmarks.stability_scores")

FRAMES = stability_scores.DRIFT + 2


def blurred_noise(height: int, width: int, seed: int) -> np.ndarray:
    """A picture of soft spots, [H, W, 3], 0..255."""
    noise = np.random.default_rng(seed).normal(0, 90, (height, width, 3)).astype(np.float32)
    return np.clip(128 + cv2.GaussianBlur(noise, (0, 0), 2), 0, 255)


@pytest.fixture(scope="module")
def clips() -> dict:
    photo = blurred_noise(120, 150, seed=0)
    return {kind: moving_clips.synthetic_clip(photo, kind, FRAMES, seed=0) for kind in moving_clips.PATHS}


def both_errors(pictures, clip) -> tuple[float, float]:
    return tuple(
        moving_clips.warping_error(pictures, clip, distance) for distance in (1, stability_scores.DRIFT)
    )


@pytest.mark.parametrize("kind", moving_clips.PATHS)
def test_a_painting_that_is_glued_to_the_world_has_hardly_any_error(clips, kind):
    glued = moving_clips.glued_pictures(clips[kind], lambda photo: 255 - photo)
    assert max(both_errors(glued, clips[kind])) < 0.5


@pytest.mark.parametrize("kind", ["pan", "zoom"])
def test_the_source_itself_has_hardly_any_error(clips, kind):
    assert max(both_errors(clips[kind].frames, clips[kind])) < 0.7


def test_noise_of_the_camera_counts_in_the_source_of_a_shaking_clip(clips):
    following, drift = both_errors(clips["shake"].frames, clips["shake"])
    assert 1 < following < 5 and drift == pytest.approx(following, rel=0.2)


@pytest.mark.parametrize("kind", moving_clips.PATHS)
def test_a_pattern_that_stays_on_the_screen_is_found_by_drift(clips, kind):
    height, width = clips[kind].frames[0].shape[:2]
    pattern = blurred_noise(height, width, seed=1) - 128
    pictures = [np.float32(128) + pattern for _ in range(FRAMES)]
    following, drift = both_errors(pictures, clips[kind])
    assert following > 1 and drift > 0.6 * pattern.std()


def test_a_shift_that_nobody_made_is_an_error_of_the_slope_times_the_shift():
    x = np.repeat(np.arange(100, dtype=np.float32)[np.newaxis], 80, axis=0)
    ramp = np.repeat(x[..., np.newaxis], 3, axis=2)
    still = moving_clips.homography_motion(np.eye(3), 100, 80)
    clip = SimpleNamespace(motion=lambda earlier, later: still)
    assert moving_clips.warping_error([ramp, ramp], clip, 1) == 0
    assert moving_clips.warping_error([ramp, ramp + 3], clip, 1) == pytest.approx(3, rel=1e-4)
    moved = moving_clips.homography_motion(moving_clips.shift_matrix(-2.5, 0), 100, 80)
    clip = SimpleNamespace(motion=lambda earlier, later: moved)
    assert moving_clips.warping_error([ramp, ramp - 2.5], clip, 1) < 0.02
    assert np.isnan(moving_clips.warping_error([ramp], clip, 1))


def test_pairs_across_a_cut_are_left_out():
    still = moving_clips.homography_motion(np.eye(3), 60, 50)
    clip = SimpleNamespace(motion=lambda earlier, later: None if later == 2 else still)
    dark, light = np.zeros((50, 60, 3)), np.full((50, 60, 3), 200.0)
    assert moving_clips.warping_error([dark, dark, light, light], clip, 1) == 0


@pytest.mark.parametrize("kind", moving_clips.PATHS)
@pytest.mark.parametrize("size", [(90, 160), (160, 90)])
def test_the_camera_never_sees_the_border_of_the_photo(kind, size):
    clip = moving_clips.synthetic_clip(blurred_noise(*size, seed=2), kind, 40, seed=3)
    height, width = clip.frames[0].shape[:2]
    assert (width, height) == (moving_clips.FRAME if size[1] > size[0] else moving_clips.FRAME[::-1])
    corners = np.array([[x, y, 1] for x in (0, width - 1) for y in (0, height - 1)])
    places = np.array([(view @ corner)[:2] for view in clip.views for corner in corners])
    last = np.array(clip.photo.shape[1::-1]) - 1
    assert places.min() > 3 and (last - places).min() > 3


def test_paths_repeat_with_the_seed_and_only_shakes_depend_on_it():
    photo = blurred_noise(100, 130, seed=4)

    def frames(kind: str, seed: int) -> np.ndarray:
        return np.stack(moving_clips.synthetic_clip(photo, kind, 3, seed).frames)

    assert np.array_equal(frames("shake", 5), frames("shake", 5))
    assert not np.array_equal(frames("shake", 5), frames("shake", 6))
    assert np.array_equal(frames("pan", 5), frames("pan", 6))


def test_margins_are_cut_here_and_in_the_frame_before():
    motion = moving_clips.homography_motion(moving_clips.shift_matrix(10, 0), 100, 80)
    rows, columns = np.nonzero(motion.is_known)
    margin = moving_clips.MARGIN
    assert (rows.min(), rows.max()) == (margin, 79 - margin)
    assert (columns.min(), columns.max()) == (margin, 99 - margin - 10)


def test_flow_of_a_shift_is_known_except_where_it_is_not_undone():
    backward = np.zeros((80, 100, 2), np.float32)
    backward[..., 0] = 3
    hidden = -backward
    hidden[30:50, 40:60] = (20, 0)
    motion = moving_clips.flow_motion(backward, hidden)
    assert motion.places[40, 30].tolist() == [33, 40]
    assert not motion.is_known[35:45, 40:54].any()
    assert motion.is_known[16:28, 16:80].all() and not motion.is_known[:16].any()


def test_edges_of_moving_things_are_left_out():
    backward = np.zeros((80, 100, 2), np.float32)
    backward[:, 50:, 0] = 1.0
    motion = moving_clips.flow_motion(backward, -backward)
    assert not motion.is_known[:, 49:51].any() and motion.is_known[20:60, 20:48].all()


def test_a_cut_is_where_the_flow_explains_nothing():
    still = moving_clips.homography_motion(np.eye(3), 60, 50)
    dark, light = np.zeros((50, 60, 3), np.uint8), np.full((50, 60, 3), 200, np.uint8)
    assert moving_clips.is_cut(dark, light, still) and not moving_clips.is_cut(dark, dark + 3, still)
    assert moving_clips.is_cut(dark, dark, still._replace(is_known=np.zeros((50, 60), bool)))


def test_detail_is_lost_by_a_blur():
    picture = blurred_noise(60, 80, seed=6)
    assert stability_scores.detail(cv2.GaussianBlur(picture, (0, 0), 2)) < 0.6 * stability_scores.detail(
        picture
    )
    assert stability_scores.detail(np.full((60, 80, 3), 90, np.uint8)) == 0


def test_rank_correlation_is_that_of_spearman():
    assert stability_scores.rank_correlation([1, 2, 3], [10, 400, 9000]) == pytest.approx(1)
    assert stability_scores.rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4; by hand: covariance 4.5 over the root of 4.5 * 5
    assert stability_scores.rank_correlation([1, 5, 5, 7], [2, 4, 3, 8]) == pytest.approx(4.5 / np.sqrt(22.5))


def test_variants_do_not_repeat():
    names = [variant.name for variant in benchmark.variants_of(["none", "still"], [0.0, 0.5, 0.8])]
    assert names == ["none", "still 0.5", "still 0.8"]


def test_styles_of_one_name_are_told_apart_by_their_path():
    assert benchmark.labels(["udnie", "/a/wave", "b/wave"]) == {
        "udnie": "udnie",
        "/a/wave": "/a/wave",
        "b/wave": "b/wave",
    }


def test_the_recipe_of_a_style_names_painting_preset_and_weights(style_dirs, tmp_path):
    style = tmp_path / "waves"
    style.mkdir()
    for path in style_dirs["waves"].iterdir():
        (style / path.name).write_bytes(path.read_bytes())
    info = json.loads((style / "style.json").read_text())
    config = {"style": "../far/away/ocean.png", "preset": "balanced", "style_size": 300, "style_weight": 7.0}
    (style / "style.json").write_text(json.dumps({**info, "config": config}))
    with pytest.raises(
        FileNotFoundError, match="ocean: the painting of .* is in none of .*; give --paintings"
    ):
        recipes.read_recipe(str(style), [tmp_path])
    (tmp_path / "ocean.jpg").write_bytes(b"")
    recipe = recipes.read_recipe(str(style), [tmp_path / "none", tmp_path])
    assert recipe == (tmp_path / "ocean.jpg", "balanced", 300, {"style_weight": 7.0})


def test_pictures_to_look_at_are_written_for_each_row(clips, tmp_path):
    clip = clips["pan"]
    benchmark.save_pictures(tmp_path, clip, {"source": clip.frames, "udnie none": clip.frames}, 2)
    names = sorted(path.name for path in tmp_path.iterdir())
    pairs = [f"pan_{number:03}_{row}.png" for number in (2, 3) for row in ("source", "udnie_none")]
    assert names == sorted(["pan.png", *pairs])
