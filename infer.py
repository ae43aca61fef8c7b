"""Stylizes photos with a trained network: `python infer.py PHOTO --style NAME -o OUT`."""

import argparse
import sys
import time
from dataclasses import dataclass, field, fields
from pathlib import Path

BENCHMARK_RUNS = 5  # timed passes after the first one; their median is the steady time


class UsageError(ValueError):
    """Flags that contradict each other or the inputs: one line, exit status 2."""


def knob(help: str, default=None, *, short: str = "", choices=None, kind=None):
    """A field of InferConfig: its default, and what the command line says of it."""
    return field(default=default, metadata={"help": help, "short": short, "choices": choices, "kind": kind})


@dataclass(frozen=True)
class InferConfig:
    """One call of infer.py: the only home of defaults. Field and flag are one name."""

    photos: tuple[Path, ...] = ()  # positional: files, and folders searched recursively
    style: str = knob("a style's name under checkpoints/, or its folder", kind=str)
    output: Path = knob(
        "the picture to write, or the folder for several (default: PHOTO_STYLE.png in the current folder)",
        short="-o",
        kind=Path,
    )
    max_side: int = knob("shrink a photo whose longest side has more pixels than this", kind=int)
    runtime: str = knob("what runs the network", "auto", choices=("auto", "onnx", "tensorflow"))
    benchmark: bool = knob("print how long loading, the first and a further pass take; write nothing", False)
    list_styles: bool = knob("print the styles there are", False)


def parse_args(arguments: list[str] | None = None) -> InferConfig:
    """The configuration from flags; usage errors exit with status 2."""
    parser = argparse.ArgumentParser(prog="infer.py", description="Stylize photos with a trained network.")
    parser.add_argument(
        "photos", nargs="*", type=Path, metavar="PHOTO|DIR", help="photos, or folders of photos"
    )
    for option in fields(InferConfig)[1:]:
        _add_flag(parser, option)
    config = InferConfig(**vars(parser.parse_args(arguments)))
    if config.list_styles:
        return config
    if not config.photos:
        parser.error("give at least one photo or folder of photos")
    if config.style is None:
        parser.error("--style is required; --list-styles prints the ones there are")
    if config.max_side is not None and config.max_side < 2:
        parser.error(f"--max-side must be at least 2 pixels, got {config.max_side}")
    return config


def _add_flag(parser: argparse.ArgumentParser, option) -> None:
    about, default = option.metadata, option.default
    names = [name for name in (about["short"], f"--{option.name.replace('_', '-')}") if name]
    if isinstance(default, bool):
        parser.add_argument(*names, action="store_true", help=about["help"])
        return
    suffix = f" (default: {default})" if default is not None else ""
    parser.add_argument(
        *names,
        type=about["kind"] or type(default),
        default=default,
        choices=about["choices"],
        metavar=None if about["choices"] else option.name.upper(),
        help=about["help"] + suffix,
    )


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


def stylize_files(config: InferConfig) -> int:
    """Stylizes every photo, names those that fail on stderr and goes on; the exit status, 0 or 1."""
    from data.images import ImageError, check_image_suffix, list_images, load_image, save_image
    from transformer.runtime import load_stylizer
    from transformer.style_folder import find_style

    style_dir = find_style(config.style)
    targets = target_paths(list_images(config.photos), config, style_dir.resolve().name)
    for target in targets.values():
        check_image_suffix(target)
    stylize = load_stylizer(style_dir, config.runtime)
    failures = 0
    for path, target in targets.items():
        try:
            save_image(target, stylize(load_image(path, max_side=config.max_side)))
        except ImageError as error:
            print(f"infer.py: {error}", file=sys.stderr)
            failures += 1
    if failures and len(targets) > 1:
        print(f"infer.py: {failures} of {len(targets)} photos failed", file=sys.stderr)
    return 1 if failures else 0


def benchmark(config: InferConfig) -> int:
    """Prints how long loading the style, the first and a further pass take for each photo; writes no picture."""
    from statistics import median

    from data.images import list_images, load_image
    from transformer.runtime import load_stylizer
    from transformer.style_folder import find_style

    start = time.perf_counter()
    stylize = load_stylizer(find_style(config.style), config.runtime)
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
    from transformer.style_folder import CHECKPOINTS_DIR, list_styles, style_info

    style_dirs = list_styles()
    if not style_dirs:
        print(f"infer.py: no styles in {CHECKPOINTS_DIR}; train one with train.py", file=sys.stderr)
        return 1
    for style_dir in style_dirs:
        picture = style_info(style_dir).get("style_picture", {})
        print(f"{style_dir.name:20} {picture.get('source') or picture.get('file', '')}".rstrip())
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The door: flags in, exit status out."""
    config = parse_args(arguments)
    from data.images import ImageError
    from transformer.style_folder import StyleError

    try:
        if config.list_styles:
            return print_styles()
        return benchmark(config) if config.benchmark else stylize_files(config)
    except (ImageError, StyleError, UsageError) as error:
        print(f"infer.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
