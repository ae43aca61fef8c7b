"""infer.py --mode optimize: makes one picture by the slow method of Gatys et al."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from itertools import cycle
from math import isfinite
from pathlib import Path
from typing import Any

from cli.bars import progress_bar
from cli.flags import UsageError, flag, report
from cli.infer_config import SlowConfig
from cli.memory import check_free, is_cpu_only
from cli.side_outputs import SideOutputs
from cli.targets import check_distinct, check_outputs, target_paths
from loss_net.presets import PRESETS, SlowPreset, overridden
from loss_net.topology import deepest_layer, least_side
from system.arguments import MOST_DIGITS
from system.faults import memory_faults
from system.files import check_writable, write_text
from system.program import prog
from system.signals import Interrupted

PROG = prog("infer")
# Memory per pixel of the picture in bytes: measured from 0.3 to 1.9 megapixels, see benchmarks/README.md
BYTES_PER_PIXEL = {"float32": 2700, "bfloat16": 1400}
STYLE_BYTES_PER_PIXEL = (
    1650  # of a style picture, whose features are computed without gradients: measured with VGG19
)
LOSS_NAMES = ("content", "style", "tv", "total")  # columns of --history after the step


def check_config(config: SlowConfig) -> None:
    """Raises UsageError for flags that contradict each other or the preset."""
    styles = len(config.style_images)
    if not config.photos:
        raise UsageError("give a photo; it comes before --style-images")
    if len(config.photos) != 1 or config.photos[0].is_dir():
        raise UsageError("--mode optimize takes one photo at a time, because it is slow; give one photo")
    if not styles:
        raise UsageError("--mode optimize needs --style-images: one or more style pictures")
    for name in ("style_scales", "style_blend_weights"):
        count = len(getattr(config, name))
        if count not in (0, styles):
            raise UsageError(
                f"{flag(name)} has {count} values for {styles} --style-images; give one for each"
            )
    if config.style_blend_weights and not 0 < sum(config.style_blend_weights) < float("inf"):
        raise UsageError("--style-blend-weights must have a finite sum above 0; they are divided by it")
    if config.checkpoint_output is not None and config.checkpoint_output.count("%s") != 1:
        raise UsageError(
            f"--checkpoint-output {config.checkpoint_output}: needs one %s, which becomes the iteration, such as"
            " out_%s.png"
        )
    preset_of(config)


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that users can cause."""
    from data.images import ImageError
    from loss_net.weights import WeightsError

    return (ImageError, WeightsError)


def preset_of(config: SlowConfig) -> SlowPreset:
    """The preset with the flags in place. UsageError for an unknown preset, or a layer that its network lacks."""
    if config.preset not in PRESETS:
        raise UsageError(f"unknown --preset {config.preset!r}; choose from {', '.join(PRESETS)}")
    preset = overridden(PRESETS[config.preset], _changes(config))
    if preset.initial != "noise" and config.noise_ratio is None:
        preset = overridden(preset, {"noise_ratio": 0.0})
    loss = preset.loss
    try:
        deepest_layer({**loss.content_layers, **loss.style_layers}, loss.architecture)
    except ValueError as error:
        raise UsageError(f"{error}; see --content-layers, --style-layers and --architecture") from error
    return preset


def _changes(config: SlowConfig) -> Mapping[str, Any]:
    """The fields of the preset that flags change."""
    preset = PRESETS[config.preset]
    known = {option.name for part in (preset, preset.loss) for option in fields(part)} - {"loss"}
    names = known & {option.name for option in fields(config)}
    changes = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    for name in changes.keys() & {"content_layers", "style_layers"}:
        changes[name] = dict(changes[name])
    if changes.keys() & {
        "size",
        "width",
        "max_side",
    }:  # any size that is asked for replaces those of the preset
        changes = {"size": None, "width": None, "max_side": None, **changes}
    return changes


@dataclass(frozen=True)
class Pictures:
    """What the slow method works on, at the sizes that the preset and the flags ask for."""

    content: Any  # [H, W, 3]
    styles: list
    initial: Any  # the picture that noise is mixed with, [H, W, 3] like the content


def load_pictures(config: SlowConfig, preset: SlowPreset) -> Pictures:
    """Raises ImageError for a picture that cannot be read, or is smaller than the deepest layer needs.

    Raises MemoryError if there are too many pixels for the free memory, before any picture is resized.
    """
    from data.images import load_image
    from loss_net.start import content_size, style_size

    photo = load_image(config.photos[0])
    size = content_size(preset, photo.shape[:2])
    parts = [(config.photos[0], photo, size)]
    for path, scale in zip(config.style_images, config.style_scales or cycle([1.0]), strict=False):
        picture = load_image(path)
        parts.append((path, picture, style_size(preset, picture.shape[:2], size, scale)))
    if preset.initial not in ("content", "noise"):
        parts.append((Path(preset.initial), load_image(Path(preset.initial)), size))
    for path, _, part_size in parts:
        _check_size(path, part_size, preset)
    if is_cpu_only():
        check_memory(config, size)
        _check_style_memory(config, parts[1 : 1 + len(config.style_images)])
    content, *others = [_resized(image, part_size) for _, image, part_size in parts]
    styles = others[: len(config.style_images)]
    return Pictures(content, styles, others[-1] if len(others) > len(styles) else content)


def _check_size(path: Path, size: tuple[int, int], preset: SlowPreset) -> None:
    """Raises ImageError for a size that is too small for the deepest layer, or absurd."""
    from data.decoding import MAX_PIXELS
    from data.images import ImageError

    loss = preset.loss
    deepest = deepest_layer({**loss.content_layers, **loss.style_layers}, loss.architecture)
    least = least_side(deepest)
    if min(size) < least:
        raise ImageError(
            f"{path}: {size[0]}x{size[1]} pixels (height x width) are too few for {deepest}, which needs"
            f" {least}x{least}; give a larger image, --width or --style-scales"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"{path}: would be resized to {size[0]}x{size[1]} pixels (height x width), more than"
            f" {MAX_PIXELS // 10**6} megapixels; lower --width, --size or --style-scales"
        )


def _resized(image: Any, size: tuple[int, int]) -> Any:
    from data.images import resize_image

    return resize_image(image, height=size[0], width=size[1]) if size != image.shape[:2] else image


def check_memory(config: SlowConfig, size: tuple[int, int]) -> None:
    """Raises MemoryError if the picture, of `size` height x width, is plainly too large for the free memory."""
    from system.machine import available_memory

    height, width = size
    needed = height * width * BYTES_PER_PIXEL[config.precision]
    side = int(max(height, width) * (min(available_memory(), needed) / needed) ** 0.5)
    what = f"{config.photos[0]}: {height}x{width} pixels (height x width) need"
    check_free(what, needed, f"give --max-side {side // 10 * 10} or less")


def _check_style_memory(config: SlowConfig, styles: list[tuple[Path, Any, tuple[int, int]]]) -> None:
    for path, _, (height, width) in styles:
        what = f"{path}: {height}x{width} pixels (height x width) need"
        check_free(
            what, height * width * STYLE_BYTES_PER_PIXEL, "lower --style-scales, --width or --max-side"
        )


class Outcome:
    """The best picture of an optimization so far, and the losses of every step."""

    def __init__(self, config: SlowConfig, picture_path: Path, content: Any):
        self._config, self._picture_path, self._content = config, picture_path, content
        self.best: tuple[float, int, Any] | None = None  # total, step, image
        self.rows: list[tuple[float, ...]] = []
        self.evaluations = 0
        self.side_outputs = SideOutputs(PROG)

    def add(self, step: int, losses: Mapping[str, float], image: Any) -> bool:
        """Returns whether the step is a new one. Raises FloatingPointError if its loss is not finite."""
        self.evaluations += 1
        total = losses["total"]
        if not isfinite(total):
            raise FloatingPointError(
                f"the loss became {total} at iteration {step}; lower the weights or --learning-rate"
            )
        if self.best is None or total < self.best[0]:
            self.best = total, step, image
        is_new = not self.rows or step > self.rows[-1][0]
        if is_new:
            self.rows.append((step, *(losses[name] for name in LOSS_NAMES)))
        return is_new

    def save(self) -> None:
        """Writes the best picture where the flags say, then the history. Neither costs the other."""
        try:
            if self.best is not None:
                self._save_picture(self._picture_path)
        finally:
            self._save_history("the picture does not depend on it")

    def save_on_the_way(self, checkpoint_path: Path | None) -> None:
        """Writes the best picture so far, to `checkpoint_path` or where the flags say, and the history so far."""
        if checkpoint_path is None:
            # The last save decides whether the picture is missing.
            with self.side_outputs.attempt("the picture on the way", None, "the optimization continues"):
                self._save_picture(self._picture_path)
            self.side_outputs.forget("the picture on the way")
        else:
            with self.side_outputs.attempt(
                "--checkpoint-output", checkpoint_path, "the optimization continues"
            ):
                self._save_picture(checkpoint_path)
        self._save_history("the optimization continues")

    def _save_history(self, consequence: str) -> None:
        if self._config.history is None:
            return
        rows = [("step", *LOSS_NAMES), *([f"{number:.9g}" for number in row] for row in self.rows)]
        with self.side_outputs.attempt("--history", self._config.history, consequence):
            write_text(self._config.history, "".join(f"{','.join(row)}\n" for row in rows))

    def _save_picture(self, path: Path) -> None:
        from data.images import keep_colors, save_image

        image = self.best[2]
        image = keep_colors(image.clip(0, 255), self._content) if self._config.keep_colors else image
        save_image(path, image)

    def summary(self) -> str:
        """What was written, in one line."""
        total, step, _ = self.best
        return (
            f"wrote {self._picture_path}: loss {total:.6g} at iteration {step}, the lowest of {self.rows[-1][0]}"
            f" ({self.evaluations} evaluations)"
        )


def optimize_photo(config: SlowConfig) -> int:
    """Makes one picture; returns the exit status. An interrupted optimization writes its best picture so far."""
    from loss_net.weights import check_vgg_source

    preset = preset_of(config)
    check_vgg_source(config.vgg, preset.loss.architecture)
    picture_path = _picture_path(config)
    _check_outputs(config, picture_path, preset)
    pictures = load_pictures(config, preset)
    outcome = Outcome(config, picture_path, pictures.content)
    status = 0
    try:
        with memory_faults("give a smaller --max-side or --width"):
            follow_steps(config, preset, pictures, outcome)
    except (FloatingPointError, MemoryError) as error:
        if isinstance(error, MemoryError) and outcome.best is None:
            raise
        status = 1
        report(PROG, error)
    except Interrupted as error:
        status = error.status
        report(PROG, f"interrupted by {error.name}")
    if outcome.best is None:
        report(PROG, "there is no picture yet; nothing was written")
        return status
    outcome.save()
    report(PROG, outcome.summary())
    return status or outcome.side_outputs.status


def _picture_path(config: SlowConfig) -> Path:
    name = "_".join([*(path.stem for path in config.style_images), config.preset])
    targets, _ = target_paths(config.photos, config.photos, config.output, name)
    return targets[config.photos[0]]


def _check_outputs(config: SlowConfig, picture_path: Path, preset: SlowPreset) -> None:
    """Everything that will be written, before hours of work. Raises UsageError, ImageError, OSError."""
    from data.images import check_image_suffix

    initial = None if preset.initial in ("content", "noise") else Path(preset.initial)
    inputs = [*config.photos, *config.style_images, config.vgg, initial]
    pictures, history = [picture_path], [config.history] if config.history is not None else []
    if config.checkpoint_output is not None:
        pictures.append(Path(config.checkpoint_output))
        steps = range(config.checkpoint_iterations, preset.iterations, config.checkpoint_iterations)
        others = [path for path in (*inputs, *history) if path is not None]
        taken = _steps_in_names(config.checkpoint_output, others)
        check_outputs((_checkpoint_path(config, step) for step in taken if step in steps), others)
    check_outputs([picture_path, *history], inputs)
    check_distinct({"-o": picture_path, **dict.fromkeys(["--history"][: len(history)], config.history)})
    for path in pictures:
        check_image_suffix(path)
    for path in (*pictures, *history):
        check_writable(path)


def _steps_in_names(pattern: str, others: Iterable[Path]) -> list[int]:
    """The steps whose intermediate picture may be one of `others`: there can be too many steps to try each.

    Such a picture exists already, perhaps as a link, or its number is in the path of the other file.
    """
    before, _, after = pattern.partition("%s")
    head, tail = before.rpartition("/"), after.partition("/")
    numbers = {number for path in others for number in re.findall(r"[0-9]+", os.path.realpath(path))}
    with suppress(OSError):
        for name in os.listdir("".join(head[:2]) or "."):
            number = name.removeprefix(head[2]).removesuffix(tail[0])
            if name == f"{head[2]}{number}{tail[0]}" and re.fullmatch("[0-9]+", number):
                numbers.add(number)
    return sorted(
        int(number) for number in numbers if len(number) <= MOST_DIGITS and str(int(number)) == number
    )


def _checkpoint_path(config: SlowConfig, step: int) -> Path | None:
    """Where the intermediate picture of an iteration goes; None means the picture itself."""
    pattern = config.checkpoint_output
    return None if pattern is None else Path(pattern.replace("%s", str(step)))


def follow_steps(config: SlowConfig, preset: SlowPreset, pictures: Pictures, outcome: Outcome) -> None:
    """Runs the optimization to its end, and writes and prints what the flags ask for on the way."""
    from system.tensorflow_start import start_tensorflow

    device = start_tensorflow(one_op_at_a_time=True)
    if device == "CPU":
        check_memory(config, pictures.content.shape[:2])
    steps = build_steps(config, preset, pictures)
    title = f"{config.preset} on {device}"
    with closing(steps), progress_bar(total=preset.iterations, unit="iterations", desc=title) as bar:
        for step, losses, image in steps:
            bar.set_postfix_str(f"loss {losses['total']:.4g}", refresh=False)
            if not outcome.add(step, losses, image):
                continue
            bar.update(step - bar.n)
            if config.print_iterations and step % config.print_iterations == 0:
                terms = "  ".join(f"{name} {losses[name]:.6g}" for name in LOSS_NAMES)
                bar.write(f"iteration {step}  {terms}  evaluations {outcome.evaluations}", file=sys.stdout)
            if step and step % config.checkpoint_iterations == 0 and step < preset.iterations:
                outcome.save_on_the_way(_checkpoint_path(config, step))


def build_steps(config: SlowConfig, preset: SlowPreset, pictures: Pictures) -> Any:
    """The generator of (step, losses, image), see loss_net.optimize."""
    import numpy as np
    import tensorflow as tf

    from loss_net.optimize import optimize_image
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.start import initial_image
    from loss_net.weights import load_vgg_weights

    loss = build_perceptual_loss(
        load_vgg_weights(config.vgg, preset.loss.architecture),
        pictures.styles,
        preset.loss,
        blend_weights=config.style_blend_weights,
        compute_dtype=tf.as_dtype(config.precision),
    )
    initial = initial_image(preset, pictures.initial, np.asarray(loss.vgg.mean_rgb), config.seed)
    return optimize_image(loss.for_content(pictures.content[np.newaxis]), initial, preset)
