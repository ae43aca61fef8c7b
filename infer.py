"""Stylizes photos with a trained network: `python infer.py PHOTO --style NAME -o OUT`.

Or by the slow method: `python infer.py PHOTO --mode optimize --style-images PAINTING -o OUT`.
"""

import argparse
import errno
import os
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from itertools import cycle
from math import isfinite
from pathlib import Path
from typing import Any

LEAST_TILE = 16  # pixels; smaller tiles are nearly all overlap
BENCHMARK_RUNS = 5  # timed passes after the first one; their median is the steady time
# Memory of the slow method per pixel of the picture: measured from 0.3 to 1.9 megapixels, see benchmarks/README.md
OPTIMIZE_BYTES = {"float32": 2700, "bfloat16": 1400}
LOSS_NAMES = ("content", "style", "tv", "total")  # columns of --history after the step


class UsageError(ValueError):
    """Flags that contradict each other or the inputs: one line, exit status 2."""


def knob(
    help: str, default=None, *, short="", choices=None, kind=None, many=False, at_least=None, only: str = ""
):
    """A field of InferConfig: its default, and what the command line says of it; `only` for that mode."""
    about = {"help": help, "short": short, "choices": choices, "kind": kind, "many": many}
    return field(default=default, metadata={**about, "at_least": at_least, "only": only})


def layer_weight(text: str) -> tuple[str, float]:
    """LAYER[:WEIGHT], as "relu4_2:0.5"; a weight of 1 if none is given."""
    layer, separator, weight = text.partition(":")
    try:
        number = float(weight) if separator else 1.0
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYER or LAYER:WEIGHT, as relu4_2:0.5")
    return layer, number


def style_weight(text: str) -> tuple[str, float]:
    """STYLE:WEIGHT, as "great_wave:2"; a weight of 1 if none is given."""
    style, separator, weight = text.rpartition(":")
    try:
        return (style, float(weight)) if separator else (text, 1.0)
    except ValueError:
        return text, 1.0  # the colon is part of a path


def tile_side(text: str) -> str | int:
    """auto, off, or pixels."""
    if text in ("auto", "off"):
        return text
    if not text.isdecimal() or int(text) < LEAST_TILE:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, off, or pixels from {LEAST_TILE} on")
    return int(text)


def height_by_width(text: str) -> tuple[int, int]:
    """HxW in pixels, as "300x500": 300 rows, 500 columns."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH in pixels, as 300x500")
    return int(height), int(width)


def stylizing(help: str, default=None, **options):
    """A knob of --mode fast."""
    return knob(help, default, only="fast", **options)


def optimizing(help: str, default=None, **options):
    """A knob of --mode optimize."""
    return knob(help, default, only="optimize", **options)


@dataclass(frozen=True)
class InferConfig:
    """One call of infer.py: the only home of defaults. Field and flag are one name.

    Where a knob of the slow method is None, the recipe decides; its fields have the names of Recipe's.
    """

    photos: tuple[Path, ...] = ()  # positional: files, and folders searched recursively
    mode: str = knob(
        "by a trained network, or by the slow method that needs none", "fast", choices=("fast", "optimize")
    )
    output: Path = knob(
        "the picture to write, or the folder for several (default: PHOTO_STYLE.png in the current folder)",
        short="-o",
        kind=Path,
    )
    max_side: int = knob("shrink a photo whose longest side has more pixels than this", kind=int, at_least=1)
    keep_colors: bool = knob("the photo's colours, with the luminance of the stylized picture", False)
    list_styles: bool = knob("print the trained styles there are", False)
    list_recipes: bool = knob("print the recipes of the slow method", False)
    # by a trained network: which, and on what
    style: str = stylizing("a style's name under checkpoints/, or its folder", kind=str)
    blend: tuple[tuple[str, float], ...] = stylizing(
        "STYLE:WEIGHT of several styles instead of --style; the pictures are mixed in these shares",
        (),
        kind=style_weight,
        many=True,
    )
    runtime: str = stylizing("what runs the network", "auto", choices=("auto", "onnx", "tensorflow"))
    trust: bool = stylizing(
        "run a TensorFlow graph whatever operations it holds: they can do anything", False
    )
    tile: str | int = stylizing(
        "pixels a side in which large photos are computed, with the result of the whole; auto: as memory asks; off",
        "auto",
        kind=tile_side,
    )
    max_memory: float = stylizing(
        "gigabytes that --tile auto keeps within (default: whole photos up to 2, tiles as far as memory is free)",
        kind=float,
        at_least=0,
    )
    # by a trained network: what the picture shows
    strength: float = stylizing("how much of the style, 0 the photo to 1", 1.0, at_least=0)
    mask: Path = stylizing("picture that is white where the style shall be, black where not", kind=Path)
    restore_size: bool = stylizing("enlarge what --max-side shrank to the photo's own size", False)
    temporal: float = stylizing(
        "of a video: share of the former picture where nothing moves, 0 to below 1; against flicker",
        0.0,
        at_least=0,
    )
    # by a trained network: many
    skip_existing: bool = stylizing("leave photos alone whose picture is there already", False)
    benchmark: bool = stylizing(
        "print how long loading, the first and a further pass take; write nothing", False
    )
    # by the slow method: what is learnt from what
    style_images: tuple[Path, ...] = optimizing(
        "style pictures; several are blended", (), kind=Path, many=True
    )
    style_scales: tuple[float, ...] = optimizing(
        "how large each style picture is shown, 1 being the recipe's way", (), kind=float, many=True
    )
    style_blend_weights: tuple[float, ...] = optimizing(
        "how much each style counts, divided by their sum (default: all the same)",
        (),
        kind=float,
        many=True,
        at_least=0,
    )
    vgg: Path = optimizing(
        "VGG weights: Keras *_notop.h5, MatConvNet .mat or .npz (default: Keras' own download)", kind=Path
    )
    width: int = optimizing("resize the photo to this width in pixels", kind=int, at_least=1)
    size: tuple[int, int] = optimizing("resize the photo to HEIGHTxWIDTH pixels", kind=height_by_width)
    # the loss
    recipe: str = optimizing("loss, start and optimiser; --list-recipes prints the ones there are", "athalye")
    architecture: str = optimizing("loss network (default: the recipe's)", choices=("vgg16", "vgg19"))
    pooling: str = optimizing("of the loss network (default: the recipe's)", choices=("max", "avg"))
    content_layers: tuple[tuple[str, float], ...] = optimizing(
        "LAYER[:WEIGHT] of the content loss (default: the recipe's)", kind=layer_weight, many=True
    )
    style_layers: tuple[tuple[str, float], ...] = optimizing(
        "LAYER[:WEIGHT] of the style loss (default: the recipe's)", kind=layer_weight, many=True
    )
    content_weight: float = optimizing("of the content loss (default: the recipe's)", kind=float, at_least=0)
    style_weight: float = optimizing("of the style loss (default: the recipe's)", kind=float, at_least=0)
    tv_weight: float = optimizing(
        "of the total variation loss (default: the recipe's)", kind=float, at_least=0
    )
    precision: str = optimizing(
        "of the convolutions; Gram matrices and losses are float32",
        "float32",
        choices=("float32", "bfloat16"),
    )
    # the minimisation
    initial: str = optimizing(
        "what to start from: content, noise or the path of an image (default: the recipe's)", kind=str
    )
    noise_ratio: float = optimizing(
        "share of noise in the initial image, 0 to 1; the rest is the content or the image of --initial "
        "(default: the recipe's for a start from noise, else 0)",
        kind=float,
        at_least=0,
    )
    optimizer: str = optimizing("(default: the recipe's)", choices=("adam", "lbfgs"))
    learning_rate: float = optimizing("Adam's (default: the recipe's)", kind=float, at_least=0)
    iterations: int = optimizing("updates of the picture (default: the recipe's)", kind=int, at_least=1)
    seed: int = optimizing("of the noise", 0, at_least=0)
    # what is written meanwhile
    checkpoint_output: str = optimizing(
        "further pictures on the way, as out_%s.png; %s becomes the iteration (default: the picture itself)",
        kind=str,
    )
    checkpoint_iterations: int = optimizing("iterations between them", 100, at_least=1)
    print_iterations: int = optimizing("print the losses every so many iterations", kind=int, at_least=1)
    history: Path = optimizing("CSV file for the losses of every iteration, 0 the initial image", kind=Path)


MODE_TITLES = {"": "both modes", "fast": "--mode fast", "optimize": "--mode optimize, the slow method"}


def parse_args(arguments: list[str] | None = None) -> InferConfig:
    """The configuration from flags; usage errors exit with status 2."""
    parser = argparse.ArgumentParser(prog="infer.py", description="Stylize photos.")
    parser.add_argument(
        "photos",
        nargs="*",
        type=Path,
        metavar="PHOTO|DIR|VIDEO",
        help="photos, folders of photos, or one video",
    )
    groups = {only: parser.add_argument_group(title) for only, title in MODE_TITLES.items()}
    for option in fields(InferConfig)[1:]:
        _add_flag(groups[option.metadata["only"]], option)
    options = vars(parser.parse_args(arguments))
    try:
        return _checked(
            InferConfig(
                **{
                    name: tuple(value) if isinstance(value, list) else value
                    for name, value in options.items()
                }
            )
        )
    except UsageError as error:
        parser.error(str(error))


def _add_flag(group, option) -> None:
    about, default = option.metadata, option.default
    names = [name for name in (about["short"], flag(option.name)) if name]
    if isinstance(default, bool):
        group.add_argument(*names, action="store_true", help=about["help"])
        return
    suffix = f" (default: {default})" if default not in (None, ()) else ""
    group.add_argument(
        *names,
        type=about["kind"] or (str if default is None else type(default)),
        default=default,
        choices=about["choices"],
        nargs="+" if about["many"] else None,
        metavar=None if about["choices"] else option.name.upper(),
        help=(about["help"] + suffix).replace("%", "%%"),
    )


def flag(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"


def _checked(config: InferConfig) -> InferConfig:
    """The configuration, or UsageError where flags are missing, out of range or of the other mode."""
    for option in fields(config)[1:]:
        value, least, only = getattr(config, option.name), *map(option.metadata.get, ("at_least", "only"))
        if value == option.default:
            continue
        if only not in ("", config.mode):
            raise UsageError(f"{flag(option.name)} belongs to --mode {only}, not to --mode {config.mode}")
        for number in value if isinstance(value, tuple) else [value]:
            if least is not None and not least <= number < float("inf"):
                raise UsageError(f"{flag(option.name)} must be at least {least}, got {number}")
    if config.list_styles or config.list_recipes:
        return config
    if not config.photos:
        raise UsageError("give at least one photo or folder of photos")
    return _checked_slow(config) if config.mode == "optimize" else _checked_fast(config)


def _checked_fast(config: InferConfig) -> InferConfig:
    if (config.style is None) == (not config.blend):
        raise UsageError("give either --style or --blend; --list-styles prints the ones there are")
    if config.blend and not all(0 <= weight < float("inf") for _, weight in config.blend):
        raise UsageError("--blend needs weights of at least 0, as great_wave:2 starry_night:1")
    if config.blend and sum(weight for _, weight in config.blend) == 0:
        raise UsageError("--blend weights are all 0; give at least one style a weight")
    if config.strength > 1:
        raise UsageError(f"--strength must be from 0 to 1, got {config.strength}")
    if config.temporal >= 1:
        raise UsageError(f"--temporal must be from 0 to below 1, got {config.temporal}")
    if config.restore_size and config.max_side is None:
        raise UsageError("--restore-size enlarges what --max-side shrank; give --max-side too")
    if config.max_memory == 0:
        raise UsageError("--max-memory must be above 0 gigabytes")
    return config


def _checked_slow(config: InferConfig) -> InferConfig:
    from loss_net.recipes import RECIPES

    styles = len(config.style_images)
    if len(config.photos) != 1 or config.photos[0].is_dir():
        raise UsageError("--mode optimize takes one photo at a time, it is slow; give one")
    if not styles:
        raise UsageError("--style-images is required with --mode optimize: the pictures to learn from")
    for name in ("style_scales", "style_blend_weights"):
        count = len(getattr(config, name))
        if count not in (0, styles):
            raise UsageError(
                f"{flag(name)} has {count} values for {styles} --style-images; give one for each"
            )
    if config.style_blend_weights and sum(config.style_blend_weights) == 0:
        raise UsageError("--style-blend-weights are all 0; give at least one style a weight")
    if 0 in config.style_scales or min(config.style_scales, default=1) < 0:
        raise UsageError(f"--style-scales must be above 0, got {min(config.style_scales)}")
    if config.noise_ratio is not None and config.noise_ratio > 1:
        raise UsageError(f"--noise-ratio must be from 0 to 1, got {config.noise_ratio}")
    if config.checkpoint_output is not None and config.checkpoint_output.count("%s") != 1:
        raise UsageError(
            f"--checkpoint-output {config.checkpoint_output}: needs one %s, which becomes the iteration, as out_%s.png"
        )
    if config.recipe not in RECIPES:
        raise UsageError(f"unknown --recipe {config.recipe!r}; choose from {', '.join(RECIPES)}")
    recipe_of(config)
    return config


def recipe_of(config: InferConfig):
    """The recipe with what the flags override; UsageError for a layer that its network has not."""
    from loss_net.recipes import RECIPES, Recipe
    from loss_net.topology import deepest_layer

    known = {option.name for option in fields(Recipe)} & {option.name for option in fields(config)}
    given = {name: getattr(config, name) for name in known if getattr(config, name) is not None}
    for name in ("content_layers", "style_layers"):
        if name in given:
            given[name] = dict(given[name])
    if given.keys() & {"size", "width", "max_side"}:  # a size asked for replaces the recipe's whole
        given = {"size": None, "width": None, "max_side": None, **given}
    recipe = replace(RECIPES[config.recipe], **given)
    if recipe.initial != "noise" and config.noise_ratio is None:
        recipe = replace(recipe, noise_ratio=0.0)
    try:
        deepest_layer({**recipe.content_layers, **recipe.style_layers}, recipe.architecture)
    except ValueError as error:
        raise UsageError(f"{error}; see --content-layers, --style-layers and --architecture") from error
    return recipe


def target_paths(photo_paths: list[Path], config: InferConfig, style_name: str) -> dict[Path, Path]:
    """Where each photo's picture goes; UsageError where two would share a file.

    One photo: -o is the file, or a folder if it is one already or has no suffix. Several: -o is the folder, and
    below it the tree of each input folder is kept.
    """
    single = len(photo_paths) == 1 and not config.photos[0].is_dir()
    output = config.output
    if single and output is not None and output.suffix and not output.is_dir():
        return {photo_paths[0]: output}
    if output is not None and output.suffix and not output.is_dir():
        raise UsageError(
            f"-o {output}: is one file, but {len(photo_paths)} photos are to be written; give a folder"
        )
    folder = output or Path()
    targets = {path: folder / _target_name(path, config.photos, style_name) for path in photo_paths}
    owners: dict[Path, Path] = {}
    for path, target in targets.items():
        if target in owners:
            raise UsageError(
                f"{owners[target]} and {path} would both become {target}; stylize them separately"
            )
        owners[target] = path
    return targets


def _target_name(path: Path, photos: tuple[Path, ...], style_name: str) -> Path:
    name = f"{path.stem}_{style_name}.png"
    for folder in photos:
        if folder.is_dir() and path.is_relative_to(folder):
            return path.relative_to(folder).with_name(name)
    return Path(name)


def load_styles(config: InferConfig, threads: int | None = None):
    """What stylizes, on so many threads or all cores, and the name it gives to pictures."""
    from transformer.export.style_folder import find_style
    from transformer.inference.stylizer import Blend, load_stylizer

    shares = config.blend or ((config.style, 1.0),)
    style_dirs = [find_style(name) for name, _ in shares]
    max_memory = config.max_memory and config.max_memory * 1e9 / len(shares)
    stylizers = [
        load_stylizer(
            style_dir,
            config.runtime,
            tile=config.tile,
            max_memory=max_memory,
            trust=config.trust,
            threads=threads,
        )
        for style_dir in style_dirs
    ]
    name = "_".join(style_dir.resolve().name for style_dir in style_dirs)
    return (stylizers[0] if len(shares) == 1 else Blend(stylizers, [weight for _, weight in shares])), name


def load_controls(config: InferConfig):
    """What the flags do to a picture after the network."""
    from data.controls import Controls
    from data.images import load_mask

    mask = None if config.mask is None else load_mask(config.mask)
    return Controls(keep_colors=config.keep_colors, strength=config.strength, mask=mask)


def stylize_inputs(config: InferConfig) -> int:
    """Stylizes a clip, or photos and folders of them; the exit status."""
    from data.video import is_video

    if any(is_video(path) for path in config.photos):
        return stylize_clip(config)
    if config.temporal:
        raise UsageError("--temporal is for videos; photos have no former picture")
    return stylize_photos(config)


def stylize_photos(config: InferConfig) -> int:
    """Stylizes every photo, names those that fail on stderr and goes on; the exit status, 0 or 1."""
    from concurrent.futures import ThreadPoolExecutor
    from functools import partial

    from data.encoding import check_image_suffix
    from data.images import ImageError
    from data.listing import list_images
    from data.photo import load_photo, save_photo
    from system.machine import available_cores
    from system.threads import MemoryBudget, in_order
    from transformer.export.style_folder import StyleError

    photo_paths = list_images(config.photos)
    # One photo by all cores; several are done faster a core each.
    workers = min(available_cores(), len(photo_paths))
    read = partial(load_photo, max_side=config.max_side)
    with ThreadPoolExecutor(1) as reader:  # the first photo is read while the style loads
        being_read = {photo_paths[0]: reader.submit(read, photo_paths[0])}
        stylizer, name = load_styles(config, threads=available_cores() if workers == 1 else 1)
    targets = target_paths(photo_paths, config, name)
    for target in targets.values():
        check_image_suffix(target)
    controls = load_controls(config)
    missing = [path for path, target in targets.items() if not (config.skip_existing and target.is_file())]
    bar, start, failures = PhotoBar(len(targets), len(targets) - len(missing)), time.perf_counter(), 0
    budget = MemoryBudget(stylizer.memory_for_all())

    def stylize(path: Path) -> None:
        photo = being_read.pop(path).result() if path in being_read else read(path)
        canvas = photo.canvas(targets[path])
        size = photo.shape[:2]
        with (
            budget.reserved(stylizer.bytes_for(*size)),
            bar.of_photo(stylizer.tile_for(*size) is not None) as on_progress,
        ):
            for rows, columns, stylized in stylizer.parts(photo, on_progress):
                controls.paint(canvas, rows, columns, photo, stylized)
        save_photo(targets[path], canvas, photo, restore_size=config.restore_size)

    with bar:
        for path, future in in_order(missing, stylize, workers):
            error = future.exception()
            if isinstance(error, ImageError | StyleError | MemoryError):
                failures += 1
                bar.report(error if str(path) in str(error) else f"{path}: {error}")
            elif error is not None:
                raise error
            bar.advance()
    if len(targets) > 1:
        done = len(missing) - failures
        skipped = f", {len(targets) - len(missing)} were there already" if config.skip_existing else ""
        failed = f", {failures} of {len(targets)} photos failed" if failures else ""
        seconds = time.perf_counter() - start
        speed = f"{done} pictures in {seconds:.1f} s, {done / seconds:.2f} a second"
        print(f"infer.py: {speed}{skipped}{failed}", file=sys.stderr)
    return 1 if failures else 0


class PhotoBar:
    """The bar for several photos, and the one for a photo in tiles. One small photo has none."""

    def __init__(self, photos: int, skipped: int):
        self._photos, self._skipped, self._bar = photos, skipped, None

    def __enter__(self) -> "PhotoBar":
        if self._photos > 1:
            from tqdm import tqdm

            self._bar = tqdm(total=self._photos, initial=self._skipped, unit="photo", smoothing=0.1)
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self) -> None:
        """One photo is done."""
        if self._bar is not None:
            self._bar.update()

    def report(self, error) -> None:
        """One line on stderr, above the bar."""
        line = f"infer.py: {error}"
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)

    @contextmanager
    def of_photo(self, is_tiled: bool):
        """A function that is told the share of one photo that is done."""
        if not is_tiled:
            yield lambda share: None
            return
        from tqdm import tqdm

        form = "{l_bar}{bar}| {elapsed}<{remaining}"
        with tqdm(total=1.0, desc="in tiles", bar_format=form, leave=self._bar is None) as bar:
            yield lambda share: bar.update(share - bar.n)


def stylize_clip(config: InferConfig) -> int:
    """Stylizes one video; the exit status."""
    import numpy as np
    from tqdm import tqdm

    from data.images import resize_pixels, shrunk_size
    from data.temporal import TemporalSmoother
    from data.video import check_video_suffix, stylize_video

    if len(config.photos) > 1:
        raise UsageError("give one video at a time, without photos beside it")
    (source_path,) = config.photos
    stylizer, name = load_styles(config)
    target = config.output or Path(f"{source_path.stem}_{name}.mp4")
    if target.is_dir():
        target = target / f"{source_path.stem}_{name}.mp4"
    if target.resolve() == source_path.resolve():
        raise UsageError(f"-o {target}: is the clip itself; write to another file")
    check_video_suffix(target)
    if config.skip_existing and target.is_file():
        return 0
    controls = load_controls(config)
    smoother = TemporalSmoother(config.temporal)

    def stylize_frame(image):
        full_size = image.shape[:2]
        if config.max_side is not None:
            image = resize_pixels(image, *shrunk_size(full_size, config.max_side))
        picture = controls.applied(image, smoother(image, stylizer(np.ascontiguousarray(image))))
        return resize_pixels(picture, *full_size) if config.restore_size else picture

    with tqdm(unit="frame", desc=source_path.name) as bar:

        def show(frames_done: int, frames: int) -> None:
            bar.total = frames or None
            bar.update()

        stylize_video(source_path, target, stylize_frame, show)
    return 0


def benchmark(config: InferConfig) -> int:
    """Prints how long loading the style, the first and a further pass take for each photo; writes no picture."""
    from statistics import median

    from data.images import load_image
    from data.listing import list_images

    start = time.perf_counter()
    stylize, _ = load_styles(config)
    print(f"load    {time.perf_counter() - start:7.3f} s")
    for path in list_images(config.photos):
        image = load_image(path, max_side=config.max_side)
        first, *further = [_seconds(stylize, image) for _ in range(1 + BENCHMARK_RUNS)]
        megapixels = image.shape[0] * image.shape[1] / 1e6
        steady = median(further)
        print(f"first   {first:7.3f} s  {path}, {image.shape[1]}x{image.shape[0]}")
        print(f"steady  {steady:7.3f} s  median of {BENCHMARK_RUNS}, {megapixels / steady:.2f} megapixels/s")
    return 0


def _seconds(stylize, image) -> float:
    start = time.perf_counter()
    stylize(image)
    return time.perf_counter() - start


def print_styles() -> int:
    """One line a style: its name, and what it was learnt from."""
    from transformer.export.style_folder import CHECKPOINTS_DIR, list_styles, style_info

    style_dirs = list_styles()
    if not style_dirs:
        print(f"infer.py: no styles in {CHECKPOINTS_DIR}; train one with train.py", file=sys.stderr)
        return 1
    for style_dir in style_dirs:
        picture = style_info(style_dir).get("style_picture", {})
        print(f"{style_dir.name:20} {picture.get('source') or picture.get('file', '')}".rstrip())
    return 0


def print_recipes() -> int:
    """One line a recipe: its name, and where its figures come from."""
    from loss_net.recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name:12} {recipe.source}")
    return 0


@dataclass(frozen=True)
class Pictures:
    """What the slow method works on, at the sizes that the recipe and the flags ask for."""

    content: Any  # [H, W, 3]
    styles: list
    initial: Any  # the picture that noise is mixed with, of the content's size


def load_pictures(config: InferConfig, recipe) -> Pictures:
    """Raises ImageError for a picture that cannot be read, or is smaller than the deepest layer needs."""
    from data.images import ImageError, load_image, resize_image
    from loss_net.start import content_size, style_size
    from loss_net.topology import deepest_layer, least_side

    def resized(path: Path, image, size: tuple[int, int]):
        deepest = deepest_layer({**recipe.content_layers, **recipe.style_layers}, recipe.architecture)
        least = least_side(deepest)
        if min(size) < least:
            raise ImageError(
                f"{path}: {size[0]}x{size[1]} pixels (height x width) are too few for {deepest}, which needs "
                f"{least}x{least}; give a larger image, --width or --style-scales"
            )
        return resize_image(image, height=size[0], width=size[1]) if size != image.shape[:2] else image

    photo = load_image(config.photos[0])
    size = content_size(recipe, photo.shape[:2])
    content = resized(config.photos[0], photo, size)
    styles = []
    for path, scale in zip(config.style_images, config.style_scales or cycle([1.0]), strict=False):
        picture = load_image(path)
        styles.append(resized(path, picture, style_size(recipe, picture.shape[:2], size, scale)))
    if recipe.initial in ("content", "noise"):
        return Pictures(content, styles, content)
    initial_path = Path(recipe.initial)
    return Pictures(content, styles, resized(initial_path, load_image(initial_path), size))


class Outcome:
    """What is kept of an optimisation: the image of the lowest loss so far, and the losses of every step."""

    def __init__(self, config: InferConfig, picture_path: Path, content):
        self._config, self._picture_path, self._content = config, picture_path, content
        self.best = None  # total, step, image
        self.rows: list[tuple[float, ...]] = []
        self.evaluations = 0

    def add(self, step: int, losses: dict[str, float], image) -> bool:
        """Whether the step is a new one; FloatingPointError if its loss is no number."""
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

    def save(self, picture_path: Path | None = None) -> None:
        """Writes the best image, here or where the configuration says, and the losses so far."""
        from data.images import keep_colors, save_image

        if self._config.history is not None:
            lines = [
                ",".join(("step", *LOSS_NAMES)),
                *(",".join(f"{n:.9g}" for n in row) for row in self.rows),
            ]
            write_whole(self._config.history, "\n".join(lines) + "\n")
        if self.best is not None:
            image = self.best[2]
            image = keep_colors(image.clip(0, 255), self._content) if self._config.keep_colors else image
            save_image(picture_path or self._picture_path, image)


def write_whole(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished_path = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished_path.write_text(text, encoding="utf-8")
        os.replace(unfinished_path, path)
    finally:
        unfinished_path.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """OSError unless `path` can be written: to know it before hours of work, not after."""
    try:
        if path.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        remedy = "check the folder's permissions and free space, or choose another path"
        raise OSError(f"{path}: cannot be written: {error.strerror}; {remedy}") from error


def check_memory(config: InferConfig, content) -> None:
    """MemoryError if the picture is plainly too large for the memory that is free."""
    from system.machine import available_memory

    height, width = content.shape[:2]
    needed = height * width * OPTIMIZE_BYTES[config.precision]
    available = available_memory()
    if needed > available:
        side = int(max(height, width) * (available / needed) ** 0.5)
        raise MemoryError(
            f"{config.photos[0]}: {height}x{width} pixels (height x width) would need some {needed / 1e9:.0f} GB "
            f"of memory, {available / 1e9:.0f} GB are free; give --max-side {side // 10 * 10} or less"
        )


def optimize_photo(config: InferConfig) -> int:
    """Makes one picture by the slow method; the exit status."""
    from data.images import check_image_suffix
    from loss_net.weights import check_vgg_source

    recipe = recipe_of(config)
    check_vgg_source(config.vgg, recipe.architecture)
    name = "_".join([*(path.stem for path in config.style_images), config.recipe])
    (picture_path,) = target_paths(list(config.photos), config, name).values()
    for path in (picture_path, config.checkpoint_output):
        if path is not None:
            check_image_suffix(Path(path))
            check_writable(Path(path))
    if config.history is not None:
        check_writable(config.history)
    pictures = load_pictures(config, recipe)
    outcome = Outcome(config, picture_path, pictures.content)
    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    status = 0
    try:
        follow_steps(config, recipe, pictures, outcome)
    except FloatingPointError as error:
        status = 1
        print(f"infer.py: {error}", file=sys.stderr)
    except Interrupted as error:
        status = error.status
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if outcome.best is None:
        print("infer.py: there is no picture yet; nothing was written", file=sys.stderr)
        return status
    outcome.save()
    total, step, _ = outcome.best
    print(
        f"infer.py: {picture_path}: loss {total:.6g} at iteration {step}, the lowest of {outcome.rows[-1][0]} "
        f"({outcome.evaluations} evaluations)",
        file=sys.stderr,
    )
    return status


def follow_steps(config: InferConfig, recipe, pictures: Pictures, outcome: Outcome) -> None:
    """Runs the optimisation to its end and writes what is asked for on the way."""
    from contextlib import closing

    from system.tensorflow_start import start_tensorflow

    device = start_tensorflow(one_op_at_a_time=True)
    if device == "CPU":
        check_memory(config, pictures.content)
    from tqdm import tqdm

    steps, title = build_steps(config, recipe, pictures), f"{config.recipe} on {device}"
    with closing(steps), tqdm(total=recipe.iterations, unit="it", desc=title) as bar:
        for step, losses, image in steps:
            bar.set_postfix_str(f"loss {losses['total']:.4g}", refresh=False)
            if not outcome.add(step, losses, image):
                continue
            bar.update(step - bar.n)
            if config.print_iterations and step % config.print_iterations == 0:
                terms = "  ".join(f"{name} {losses[name]:.6g}" for name in LOSS_NAMES)
                bar.write(f"iteration {step}  {terms}  evaluations {outcome.evaluations}", file=sys.stdout)
            if step and step % config.checkpoint_iterations == 0 and step < recipe.iterations:
                pattern = config.checkpoint_output
                outcome.save(pattern and Path(pattern.replace("%s", str(step))))


def build_steps(config: InferConfig, recipe, pictures: Pictures):
    """The generator of (step, losses, image), see loss_net.optimize."""
    import numpy as np
    import tensorflow as tf

    from loss_net.optimize import optimize_image
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.start import initial_image
    from loss_net.weights import load_vgg_weights

    loss = build_perceptual_loss(
        load_vgg_weights(config.vgg, recipe.architecture),
        pictures.styles,
        recipe,
        blend_weights=config.style_blend_weights,
        compute_dtype=tf.as_dtype(config.precision),
    )
    initial = initial_image(recipe, pictures.initial, np.asarray(loss.vgg.mean_rgb), config.seed)
    return optimize_image(loss.for_content(pictures.content[np.newaxis]), initial, recipe)


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; `status` is the exit status that shells expect of it."""

    def __init__(self, number: int):
        self.status = 128 + number


def interrupt(number: int, _frame) -> None:
    """A signal handler."""
    raise Interrupted(number)


def main(arguments: list[str] | None = None) -> int:
    """The door: flags in, exit status out."""
    config = parse_args(arguments)
    if config.list_recipes:
        return print_recipes()
    from data.images import ImageError
    from transformer.export.style_folder import StyleError

    expected = [ImageError, StyleError, UsageError, OSError, MemoryError]
    previous = signal.signal(signal.SIGTERM, interrupt)
    if config.mode == "optimize":
        from loss_net.weights import WeightsError

        expected.append(WeightsError)
    try:
        if config.list_styles:
            return print_styles()
        if config.mode == "optimize":
            return optimize_photo(config)
        return benchmark(config) if config.benchmark else stylize_inputs(config)
    except tuple(expected) as error:
        print(f"infer.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except (KeyboardInterrupt, Interrupted) as error:
        return getattr(error, "status", 128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, previous)


def leave(status: int) -> None:
    """Ends the process without taking apart what it holds, which would take a twentieth of a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
