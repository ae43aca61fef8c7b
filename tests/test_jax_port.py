"""The training step in JAX (tools/jax_port) is that of train.py. Skipped where JAX is not installed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import LOSS_PRESETS
from loss_net.weights import load_vgg_weights
from tools.jax_port import pack
from tools.jax_port.pack import packed_weights
from tools.jax_port.pack_format import half_gram, whole_gram
from transformer.architecture import Architecture
from transformer.export.base_folder import load_base
from transformer.inference.loading import load_stylizer
from transformer.network import Transformer
from transformer.training.optimizer import Optimizer, learning_rate_schedule
from transformer.training.step import build_training_step

jax = pytest.importorskip("jax", reason="needs JAX: pip install jax")
port = pytest.importorskip("tools.jax_port.step")
port_loss = pytest.importorskip("tools.jax_port.loss")

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = Architecture(0.125, 1, 5)
RATE, STEPS = 2e-3, 20


@pytest.fixture(scope="module")
def vgg(tiny_inputs):
    return load_vgg_weights(tiny_inputs / "vgg.npz", "vgg19")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Batches [3, 2, 32, 32, 3], uint8. One image of the second batch has one color."""
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 32, 32, 3)).astype(np.uint8)
    images[1, 0] = 255
    return images


def of_tensorflow(vgg, style, preset, images) -> tuple[dict, list[dict], dict]:
    """The Gram matrices, the losses of each step, and the parameters after the last one."""
    loss = build_perceptual_loss(vgg, [style], preset).with_border()
    network = Transformer(ARCHITECTURE, seed=3)
    optimizer = Optimizer(
        list(network.parameters.values()),
        kernels=network.hidden_kernels,
        learning_rate=RATE,
        steps=STEPS,
        clip_factor=10.0,
    )
    step = build_training_step(network, loss, optimizer, has_lattice_term=images.shape[1] == 1)
    terms = [step(tf.constant(batch, tf.float32)) for batch in images]
    grams = {layer: gram.numpy()[0] for layer, gram in loss.style_grams.items()}
    return grams, terms, {name: variable.numpy() for name, variable in network.parameters.items()}


def rows_of(network) -> dict[str, np.ndarray]:
    """The parameters of a network as those of a network of many styles that has one style."""
    arrays = {name: variable.numpy() for name, variable in network.parameters.items()}
    return {name: value if name.endswith("kernel") else value[np.newaxis] for name, value in arrays.items()}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ["lengstrom", "balanced"])
def test_three_steps_are_those_of_train_py(vgg, images, name, batch):
    preset, style = LOSS_PRESETS[name], images[2, 1].astype(np.float32)
    images = images[:, -batch:]
    grams, expected, parameters = of_tensorflow(vgg, style, preset, images)
    initial = rows_of(Transformer(ARCHITECTURE, seed=3))
    state = port.initial_state(initial)
    targets = jax.tree.map(lambda value: np.asarray(value)[None], port_loss.target_of(preset, grams))
    weights = packed_weights(vgg, np.float32)
    for number, batch in enumerate(images):
        rate = port.learning_rate(float(number), RATE, float(STEPS))
        state, terms = port.training_step(state, batch, 0, targets, weights, rate, ARCHITECTURE, np.float32)
        wanted = [float(expected[number][term]) for term in ("total", "content", "style", "tv")]
        np.testing.assert_allclose(terms, wanted, rtol=2e-3 if number else 1e-5)
    found = port.parameters_of(state["parameters"], 0)
    change = np.concatenate([np.ravel(parameters[key] - initial[key]) for key in parameters])
    apart = np.concatenate([np.ravel(parameters[key] - found[key]) for key in parameters])
    assert np.linalg.norm(apart) < 0.05 * np.linalg.norm(change)


@pytest.mark.parametrize("step", [0, 1, 7, 99, 150, 199])
@pytest.mark.parametrize("steps", [1, 7, 200])
def test_the_learning_rate_is_that_of_train_py(step, steps):
    expected = learning_rate_schedule(RATE, steps)(step)
    np.testing.assert_allclose(port.learning_rate(float(step), RATE, float(steps)), expected, rtol=1e-5)


def test_a_step_that_is_not_finite_changes_only_the_count(vgg, images):
    preset = LOSS_PRESETS["balanced"]
    initial = {name: value.numpy() for name, value in Transformer(ARCHITECTURE).parameters.items()}
    state = port.initial_state(
        {name: value if name.endswith("kernel") else value[None] for name, value in initial.items()}
    )
    weights = packed_weights(vgg, np.float32)
    features = port_loss.vgg_features(images[0].astype(np.float32), weights, "relu5_1", np.float32)
    grams = {layer: np.ones((features[layer].shape[-1],) * 2, np.float32) for layer in preset.style_layers}
    target = jax.tree.map(lambda value: np.asarray(value)[None], port_loss.target_of(preset, grams))
    target["content_weight"] = np.float32([np.nan])
    after, terms = port.training_step(state, images[0], 0, target, weights, 1e-3, ARCHITECTURE, np.float32)
    assert np.isnan(terms[0]) and after["skipped"] == 1
    for part in ("parameters", "first", "second"):
        for name, value in after[part].items():
            np.testing.assert_array_equal(value, state[part][name])


def test_settings_that_are_not_ported_are_refused_in_one_line(tiny_inputs, tmp_path, capsys):
    jobs = tmp_path / "jobs.json"
    jobs.write_text(json.dumps([{"style": str(tiny_inputs / "style.png"), "optimizer": "adam"}]))
    folders = ["--content-dir", str(tiny_inputs / "photos"), "--val-dir", str(tiny_inputs / "val")]
    arguments = [
        str(tmp_path / "packed"),
        "--jobs",
        str(jobs),
        *folders,
        "--vgg",
        str(tiny_inputs / "vgg.npz"),
    ]
    assert pack.main(arguments) == 2
    assert capsys.readouterr().err == "pack: style: only optimizer muon is ported, got adam\n"
    assert not (tmp_path / "packed").exists()


def test_gram_matrices_survive_their_packing():
    gram = np.random.default_rng(0).normal(0, 1e5, (7, 7))
    gram += gram.T
    np.testing.assert_allclose(whole_gram(**half_gram(gram)), gram, atol=1e-3 * np.abs(gram).max())


@pytest.mark.processes
def test_packed_jobs_become_a_base_and_a_style_that_starts_from_it(tiny_inputs, photo, tmp_path):
    for seed in range(2):
        photo(tmp_path / "paintings" / f"painting{seed}.png", seed=seed)
    network = {"width": 0.125, "residual_blocks": 1, "image_size": 32, "batch_size": 2, "half_size_share": 0}
    style = {"style": str(tiny_inputs / "style.png"), "name": "tiny", "start_from": "base"}
    jobs = [{**network, "base": str(tmp_path / "paintings"), "steps": 10}, {**network, **style, "steps": 20}]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    packed, results, styles = str(tmp_path / "packed"), str(tmp_path / "results"), str(tmp_path / "styles")
    inputs = [
        *("--jobs", str(tmp_path / "jobs.json"), "--content-dir", str(tiny_inputs / "photos")),
        *("--val-dir", str(tiny_inputs / "val"), "--vgg", str(tiny_inputs / "vgg.npz")),
    ]
    calls = {
        "pack": [packed, *inputs],
        "train": [packed, results, "--crops", "1", "--memory-dir", str(tmp_path)],
        "unpack": [packed, results, "--output-dir", styles],
    }
    for module, arguments in calls.items():
        command = [sys.executable, "-m", f"tools.jax_port.{module}", *arguments]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
    assert load_base(tmp_path / "styles" / "base").styles == ("painting0", "painting1")
    info = json.loads((tmp_path / "styles" / "tiny" / "style.json").read_text())
    assert info["steps"]["done"] == 20 and info["steps"]["start"].startswith("base, painting")
    assert np.isfinite(info["losses"]["validation"]["total"])
    image = np.full((16, 16, 3), 100, np.float32)
    assert load_stylizer(tmp_path / "styles" / "tiny")(image).shape == image.shape


def test_without_a_border_the_loss_is_the_whole_one_of_validation(vgg, images):
    preset, style = LOSS_PRESETS["lengstrom"], images[2, 1].astype(np.float32)
    whole = build_perceptual_loss(vgg, [style], preset)
    grams = {layer: gram.numpy()[0] for layer, gram in whole.style_grams.items()}
    target, weights = port_loss.target_of(preset, grams), packed_weights(vgg, np.float32)
    stylized, content = images[0].astype(np.float32), images[2].astype(np.float32)
    for border, loss in ((0, whole), (16, whole.with_border())):
        terms = port_loss.losses(stylized, content, weights, target, np.float32, border=border)
        expected = loss(tf.constant(stylized), tf.constant(content))
        wanted = [float(expected[term]) for term in ("total", "content", "style", "tv")]
        np.testing.assert_allclose(terms, wanted, rtol=1e-4)


def test_other_formulas_are_refused():
    with pytest.raises(ValueError, match="only the formulas of the presets lengstrom and balanced"):
        port_loss.target_of(LOSS_PRESETS["johnson"], {})
