"""transformer/training/stability.py: known motions, and a loss that asks pictures to move with their photos."""

import numpy as np
import pytest
import tensorflow as tf
from test_step import color_swap_loss, photo_batch

from transformer.architecture import Architecture
from transformer.network import Transformer
from transformer.training.optimizer import Optimizer
from transformer.training.stability import (
    SHIFT,
    Motion,
    Stability,
    inset_of,
    moved,
    random_motion,
)
from transformer.training.step import build_training_step

SIDE = 48
STEP = tf.constant(3, tf.int64)


def shift(down: float, right: float, side: int = SIDE) -> Motion:
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    return Motion(
        tf.constant(rows[np.newaxis] + down),
        tf.constant(columns[np.newaxis] + right),
        tf.ones([1, side, side, 1]),
    )


def waves(down: float = 0.0, right: float = 0.0) -> np.ndarray:
    """A smooth picture [1, SIDE, SIDE, 3] that is known between its pixels too."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    picture = 128 + 60 * np.sin((rows + down) / 3) * np.cos((columns + right) / 4)
    return np.repeat(picture[np.newaxis, ..., np.newaxis], 3, axis=3).astype(np.float32)


@pytest.mark.parametrize(("down", "right"), [(2, -3), (0.5, 0.25), (-1.75, 0)])
def test_a_shifted_picture_is_the_picture_at_the_places_it_comes_from(down, right):
    result = moved(tf.constant(waves()), shift(down, right)).numpy()
    inner = np.s_[:, 5:-5, 5:-5]
    np.testing.assert_allclose(result[inner], waves(down, right)[inner], atol=0.6)


def test_a_shift_by_whole_pixels_changes_no_value():
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 3)), tf.float32)
    result = moved(image, shift(2, -3)).numpy()
    np.testing.assert_array_equal(result[:, :-2, 3:], image.numpy()[:, 2:, :-3])


def test_no_motion_reads_beyond_the_border():
    result = moved(tf.constant(waves()), shift(-100, 1000))
    np.testing.assert_allclose(result[0], np.broadcast_to(waves()[0, 0, -1], (SIDE, SIDE, 3)), rtol=1e-5)


def test_a_motion_depends_on_its_seed_alone():
    motions = [random_motion(2, SIDE, SIDE, tf.constant([0, seed])) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(motions[0].rows, motions[1].rows)
    assert np.abs(motions[0].rows - motions[2].rows).max() > 0.5
    assert np.abs(motions[0].rows[0] - motions[0].rows[1]).max() > 0.5  # each picture has its own


INSET = inset_of(SIDE)
INSIDE = SIDE - 2 * INSET


def test_a_moved_picture_shows_the_inside():
    for height, width in ((SIDE, SIDE), (64, 96)):
        motion = random_motion(2, height, width, tf.constant([0, 1]))
        assert motion.rows.shape == motion.columns.shape == (2, height * 3 // 4, width * 3 // 4)


def test_what_comes_from_the_border_does_not_count():
    shares = []
    for seed in range(200):
        motion = random_motion(1, SIDE, SIDE, tf.constant([0, seed]))
        is_known = motion.is_known.numpy()[0, ..., 0] > 0
        for places in (motion.rows.numpy()[0], motion.columns.numpy()[0]):
            assert places[is_known].min() >= INSET // 2
            assert places[is_known].max() <= SIDE - 1 - INSET // 2
        shares.append(is_known.mean())
    assert min(shares) > 0.6 and max(shares) == 1


def test_the_border_of_the_moved_picture_counts():
    counts = sum(
        random_motion(1, SIDE, SIDE, tf.constant([0, seed])).is_known.numpy()[0, ..., 0] for seed in range(20)
    )
    for side in (counts[0], counts[-1], counts[:, 0], counts[:, -1]):
        assert side.min() > 0


def test_motions_are_those_of_a_hand():
    rows, columns = np.mgrid[INSET : INSET + INSIDE, INSET : INSET + INSIDE]
    for seed in range(20):
        motion = random_motion(1, SIDE, SIDE, tf.constant([1, seed]))
        for places, start in ((motion.rows[0], rows), (motion.columns[0], columns)):
            assert 0.05 < np.abs(places - start).max() < 2 * SHIFT


def test_a_photo_seen_again_is_moved_and_slightly_noisy():
    photo = tf.constant(waves())
    again, motion = Stability(1.0).seen_again(photo, STEP)
    difference = (again - moved(photo, motion)).numpy()
    assert 0.1 < difference.std() < 8 and again.shape == (1, INSIDE, INSIDE, 3)
    assert again.numpy().min() >= 0 and again.numpy().max() <= 255


def test_pictures_that_move_with_their_photos_cost_nothing():
    photo = tf.constant(waves())
    _, motion = Stability(1.0).seen_again(photo, STEP)
    terms = Stability(1.0).terms(photo, moved(photo, motion), motion, tf.constant(5.0))
    assert float(terms["stability"]) < 1e-3 and float(terms["warping_error"]) < 1e-3


@pytest.mark.parametrize("side", [np.s_[:, :3], np.s_[:, -3:], np.s_[:, :, :3], np.s_[:, :, -3:]])
def test_a_stripe_at_a_border_costs(side):
    photo, errors = tf.constant(waves()), []
    for step in range(10):  # in such a small picture some shifts hide a side
        _, motion = Stability(1.0).seen_again(photo, tf.constant(step, tf.int64))
        striped = moved(photo, motion).numpy()
        striped[side] += 100
        terms = Stability(1.0).terms(photo, striped, motion, tf.constant(1.0))
        errors.append(float(terms["warping_error"]))
    assert np.median(errors) > 0.3


def test_pictures_that_stay_on_the_screen_cost_their_weight():
    photo = tf.constant(waves())
    motion = shift(6, 6)
    terms = [
        Stability(weight).terms(photo, photo, motion, tf.constant(loss))
        for weight, loss in ((1.0, 5.0), (2.0, 5.0), (1.0, 50.0))
    ]
    stability = [float(term["stability"]) for term in terms]
    assert stability[1] == pytest.approx(2 * stability[0]) and stability[2] == pytest.approx(
        10 * stability[0]
    )
    assert stability[0] == pytest.approx(5 * float(terms[0]["warping_error"]))
    assert float(terms[0]["warping_error"]) > 0.3


def test_the_error_is_relative_to_the_contrast():
    photo, motion = tf.constant(waves()), shift(6, 6)
    errors = [
        float(Stability(1.0).terms(scale * photo, scale * photo, motion, tf.constant(1.0))["warping_error"])
        for scale in (0.8, 1.0)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_pictures_without_an_error_have_a_finite_gradient():
    flat = tf.Variable(tf.fill([1, SIDE, SIDE, 3], 200.0))
    with tf.GradientTape() as tape:
        terms = Stability(1.0).terms(flat, flat + 0.0, shift(1, 1), tf.constant(1.0))
    assert np.isfinite(tape.gradient(terms["stability"], flat)).all()


def training(weight: float, seed: int = 0):
    network = Transformer(Architecture(width=0.125, residual_blocks=1), seed=0)
    optimizer = Optimizer(list(network.parameters.values()), learning_rate=1e-3, steps=100)
    stability = Stability(weight, seed) if weight else None
    return network, build_training_step(network, color_swap_loss, optimizer, stability=stability)


def test_training_with_the_term_makes_pictures_move_with_their_photos():
    errors = []
    for weight in (0.001, 100.0):
        _, step = training(weight)
        terms = [step(photo_batch(number, size=SIDE)) for number in range(60)]
        errors.append(np.mean([float(term["warping_error"]) for term in terms[-20:]]))
        last = terms[-1]
        assert float(last["total"]) > float(last["stability"]) > 0
    assert errors[1] < 0.8 * errors[0]


def test_the_same_training_sees_the_same_pairs():
    runs = []
    for seed in (0, 0, 1):
        _, step = training(1.0, seed)
        runs.append([float(step(photo_batch(number, size=SIDE))["stability"]) for number in range(3)])
    assert runs[0] == runs[1] and runs[0] != runs[2]


def test_a_training_without_the_term_computes_no_second_picture():
    _, step = training(0.0)
    assert "stability" not in step(photo_batch(0, size=SIDE))
