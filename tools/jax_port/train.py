"""Trains the jobs that pack.py wrote, one after the other, and writes RESULTS/NAME.npz: see tools/jax_port/__init__.py.

A finished job is not trained again, so that a run that was stopped can be started again. Programs are compiled one at a
time, the first time they are needed: several at once disturb each other's measurements (XLA's autotuning).
"""

import argparse
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from loss_net.presets import LOSS_PRESETS, LossPreset
from tools.jax_port import crops as crops_module
from tools.jax_port import loss as port_loss
from tools.jax_port import step as port
from tools.jax_port.pack_format import load_contents, load_grams
from transformer.architecture import Architecture
from transformer.export.base_folder import is_of_style
from transformer.initial_parameters import initial_parameters
from transformer.training.stages import Stage, stages_of

CHUNK = 10  # steps in one call of a program; stages end at multiples of it
REPORT_EVERY = 2000  # steps
BFLOAT16 = jnp.bfloat16


class Trainer:
    """What all jobs share: VGG's weights, the crops, and the compiled programs."""

    def __init__(self, packed_dir: Path, results_dir: Path, crops: Mapping[int, np.ndarray]):
        self.packed_dir, self.results_dir = packed_dir, results_dir
        with np.load(packed_dir / "vgg.npz") as archive:
            self.float32_weights = {name: jnp.asarray(archive[name], jnp.float32) for name in archive.files}
        self.weights = {
            name: value if name == "mean_rgb" else value.astype(BFLOAT16)
            for name, value in self.float32_weights.items()
        }
        self.crops = {size: jax.device_put(array) for size, array in crops.items()}
        jax.block_until_ready(self.crops)
        contents = load_contents(packed_dir / "val.npz")
        self.photos = np.stack([crops_module.decoded(content) for content in contents])
        self.programs: dict[tuple, Any] = {}

    def train(self, job: Mapping[str, Any]) -> None:
        """Trains one job and writes its result."""
        config, began = job["config"], time.monotonic()
        architecture = Architecture(config["width"], config["residual_blocks"], config["outer_kernel"])
        targets = self._targets(job)
        parameters, start = self._start(job, architecture, targets)
        state = jax.jit(port.initial_state)({name: jnp.array(value) for name, value in parameters.items()})
        state, log = self._trained(job, architecture, targets, state)
        about = {
            "log": log,
            "start": start,
            "skipped": int(state["skipped"]),
            "seconds": time.monotonic() - began,
            "photos": len(crops_module.PHOTOS),
            "device": jax.devices()[0].device_kind,
            "validation": self._validation(state, architecture, targets),
        }
        result = {name: np.asarray(value) for name, value in state["parameters"].items()}
        self._save(job["name"], result, about)
        print(
            f"{job['name']} is done: {about['seconds']:.0f} s, validation {about['validation']}", flush=True
        )

    def _trained(
        self, job: Mapping[str, Any], architecture: Architecture, targets: Any, state: Any
    ) -> tuple[Any, list[list[float]]]:
        """Returns the state after all steps, and rows of the step and the mean losses since the row before."""
        config, first, log = job["config"], 0, []
        program = self._program(architecture, config["batch_size"])
        schedule = jnp.float32(config["learning_rate"]), jnp.float32(config["steps"])
        order = style_order(len(job["pictures"]), stages(config)[-1].last_step, config["seed"])
        for stage in stages(config):
            crops, terms, began = self.crops[stage.image_size], [], time.monotonic()
            for done in range(first, stage.last_step, CHUNK):
                styles = jnp.asarray(order[done : done + CHUNK])
                state, mean = program(state, self.weights, targets, crops, jnp.int32(done), styles, *schedule)
                terms.append(mean)
                if (done + CHUNK) % REPORT_EVERY == 0 or done + CHUNK == stage.last_step:
                    log.append([done + CHUNK, *np.mean(np.array(jnp.stack(terms)), 0).tolist()])
                    milliseconds = 1e3 * (time.monotonic() - began) / len(terms) / CHUNK
                    print(f"{job['name']} {log[-1]} {stage.image_size} px, {milliseconds:.2f} ms", flush=True)
                    terms, began = [], time.monotonic()
            first = stage.last_step
        return state, log

    def _save(self, name: str, parameters: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        unfinished = self.results_dir / f".{name}.npz"
        np.savez(unfinished, about=json.dumps(about), **parameters)
        os.replace(unfinished, self.results_dir / f"{name}.npz")

    def _targets(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `port_loss.target_of` of every style picture, stacked [S, ...]."""
        rows = [
            port_loss.target_of(
                preset_of(job["config"]), load_grams(self.packed_dir / "grams" / f"{name}.npz")
            )
            for name in job["pictures"]
        ]
        return jax.tree.map(lambda *values: jnp.stack(values), *rows)

    def _start(
        self, job: Mapping[str, Any], architecture: Architecture, targets: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], str]:
        """Returns the first parameters and the name of what they come from."""
        name = job["config"]["start_from"]
        if name == "none":
            return random_parameters(
                architecture, job["config"]["seed"], len(job["pictures"])
            ), "random weights"
        with np.load(self.results_dir / f"{name}.npz") as archive:
            found = {key: archive[key] for key in archive.files if key != "about"}
        rows = len(found["decoder/conv3/bias"])
        if rows == 1:
            return found, f"style {name}"
        best = self._nearest(found, rows, architecture, jax.tree.map(lambda row: row[0], targets))
        row = {
            key: value if key.endswith("/kernel") else value[best : best + 1] for key, value in found.items()
        }
        jobs = json.loads((self.packed_dir / "jobs.json").read_text())
        (base,) = (other for other in jobs if other["name"] == name)
        return row, f"base, {Path(base['files'][best]).stem}"

    def _nearest(
        self, base: Mapping[str, np.ndarray], rows: int, architecture: Architecture, target: Any
    ) -> int:
        """Returns the row of `base` with the lowest loss on four crops; like many_styles.best_style."""
        photos = self.crops[min(self.crops)][:4].astype(jnp.float32)

        @jax.jit
        def total(parameters, style, target):
            own = port.parameters_of(parameters, style)
            stylized = port.stylize(photos, own, architecture, BFLOAT16)
            return port_loss.losses(stylized, photos, self.weights, target, BFLOAT16)[0]

        return int(np.argmin([float(total(base, style, target)) for style in range(rows)]))

    def _program(self, architecture: Architecture, batch: int) -> Any:
        """Returns CHUNK steps as one function. XLA compiles them for every size of crops and number of styles."""
        if (architecture, batch) not in self.programs:
            self.programs[architecture, batch] = build_program(architecture, batch)
        return self.programs[architecture, batch]

    def _validation(self, state: Mapping[str, Any], architecture: Architecture, targets: Any) -> list[float]:
        """Returns the mean losses over the validation photos in float32; [] for a network of many styles."""
        if len(state["parameters"]["decoder/conv3/bias"]) > 1:
            return []

        @jax.jit
        def terms(parameters, weights, target, pixels):
            def of_photo(photo):
                images = photo[jnp.newaxis].astype(jnp.float32)
                stylized = port.stylize(images, parameters, architecture, jnp.float32)
                return port_loss.losses(
                    jnp.clip(stylized, 0, 255), images, weights, target, jnp.float32, border=0
                )

            return lax.map(of_photo, pixels).mean(0)

        target = jax.tree.map(lambda row: row[0], targets)
        with jax.default_matmul_precision("highest"):
            values = terms(
                port.parameters_of(state["parameters"], 0), self.float32_weights, target, self.photos
            )
        return np.asarray(values).tolist()


def build_program(architecture: Architecture, batch: int) -> Any:
    """Returns a compiled function that runs CHUNK steps on crops [N, size, size, 3], which are used in a circle."""

    def run(state, weights, targets, crops, first, styles, peak, steps):
        def one(state, numbered):
            offset, style = numbered
            step = first + offset
            images = lax.dynamic_slice_in_dim(crops, (step * batch) % crops.shape[0], batch)
            rate = port.learning_rate(step.astype(jnp.float32), peak, steps)
            return port.training_step(state, images, style, targets, weights, rate, architecture, BFLOAT16)

        state, terms = lax.scan(one, state, (jnp.arange(CHUNK), styles))
        return state, terms.mean(0)

    return jax.jit(run, donate_argnums=0)


def style_order(styles: int, steps: int, seed: int) -> np.ndarray:
    """Returns the number of the style that each step trains, [steps], int32; every pass over the styles is shuffled."""
    generator = np.random.default_rng(seed)
    passes = [generator.permutation(styles) for _ in range(-(-steps // styles))]
    return np.concatenate(passes)[:steps].astype(np.int32)


def preset_of(config: Mapping[str, Any]) -> LossPreset:
    """Returns the preset of a job with the weights of the job."""
    weights = {name: config[name] for name in ("content_weight", "style_weight", "tv_weight")}
    return replace(LOSS_PRESETS[config["preset"]], **weights)


def stages(config: Mapping[str, Any]) -> Sequence[Stage]:
    """Returns the stages of train.py, which end at multiples of CHUNK here."""
    shares = config["half_size_share"], config["large_size_share"]
    found = stages_of(config["steps"], config["image_size"], *shares)
    return [Stage(-(-stage.last_step // CHUNK) * CHUNK, stage.image_size) for stage in found]


def random_parameters(architecture: Architecture, seed: int, styles: int) -> dict[str, np.ndarray]:
    """Returns the parameters of transformer.training.many_styles.ManyStyles, which needs TensorFlow, at its start."""
    return {
        name: np.repeat(value[np.newaxis], styles, 0) if is_of_style(name) else value
        for name, value in initial_parameters(architecture, seed).items()
    }


def crop_counts(jobs: Sequence[Mapping[str, Any]], most: float) -> dict[int, int]:
    """Returns how many crops of each size to cut: what the jobs take, at most `most` million pixels for a size.

    The counts are multiples of all batch sizes, so that no batch reaches over the end.
    """
    multiple = math.lcm(*(job["config"]["batch_size"] for job in jobs))
    counts: dict[int, int] = {}
    for job in jobs:
        for stage in stages(job["config"]):
            wanted = stage.last_step * job["config"]["batch_size"]
            limit = int(most * 1e6 / stage.image_size**2) // multiple * multiple
            wanted = min(-(-wanted // multiple) * multiple, max(multiple, limit))
            counts[stage.image_size] = max(counts.get(stage.image_size, 0), wanted)
    return counts


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("packed", type=Path, metavar="PACKED", help="folder that pack.py wrote")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder for the trained parameters")
    parser.add_argument(
        "--crops", type=int, default=2000, help="million pixels of crops of a size (default: 2000)"
    )
    parser.add_argument("--memory-dir", type=Path, default=Path("/dev/shm"), help="folder for the crops")
    options = parser.parse_args(arguments)
    options.results.mkdir(parents=True, exist_ok=True)
    jobs = json.loads((options.packed / "jobs.json").read_text())
    with TemporaryDirectory(dir=options.memory_dir) as folder:
        crops = crops_module.cut_crops(options.packed, crop_counts(jobs, options.crops), Path(folder))
        trainer = Trainer(options.packed, options.results, crops)
    for job in jobs:
        if not (options.results / f"{job['name']}.npz").exists():
            trainer.train(job)


if __name__ == "__main__":
    main()
