"""infer.py PHOTO --sheet: a photo in every trained style, all pictures with their names on one sheet."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cli.bars import progress_bar
from cli.flags import UsageError, report
from cli.infer_config import FastConfig
from cli.styles import load_controls
from cli.targets import check_folder_outputs, check_outputs, target_paths
from system.console import printable

PROG = "infer.py"
SHEET_NAME = "styles"  # a sheet is called PHOTO_styles.png
PICTURE_SIDE = 480  # pixels, longest side of a picture on the sheet unless --max-side is given


def check_config(config: FastConfig) -> None:
    """Raises UsageError for flags that a sheet cannot follow."""
    if not config.photos:
        raise UsageError("give at least one photo or folder of photos")
    flags = {
        "--style": config.style is not None,
        "--blend": config.blend,
        "--temporal": config.temporal,
        "--restore-size": config.restore_size,
        "--skip-existing": config.skip_existing,
        "--stroke-scale": config.stroke_scale is not None,
        "--benchmark": config.benchmark,
    }
    if given := [name for name, is_given in flags.items() if is_given]:
        raise UsageError(f"--sheet shows photos in every style; leave out {' and '.join(given)}")


def write_sheets(config: FastConfig) -> int:
    """Writes a sheet for every photo, reports those that fail and goes on; returns the exit status, 0 or 1."""
    from data.images import ImageError, check_image_suffix
    from data.listing import find_images

    listing = find_images(config.photos)
    for line in (*listing.skipped_lines(), *listing.errors):
        report(PROG, line)
    targets, faults = target_paths(config.photos, listing.images, config.output, SHEET_NAME)
    check_outputs(targets.values(), [*listing.images, config.mask])
    check_folder_outputs(targets.values(), [path for path in config.photos if path.is_dir()])
    for target in targets.values():
        check_image_suffix(target)
    failures = len(listing.errors) + len(listing.unread) + len(faults)
    for path, fault in faults.items():
        report(PROG, f"{printable(path)}: {fault}")
    if not targets:
        return 1
    stylizers, damaged = _load_all(config)
    controls, many = load_controls(config), len(targets) > 1
    with progress_bar(total=len(targets), unit="photos", desc="sheets") if many else nullcontext() as bar:
        for path, target in targets.items():
            try:
                _write_sheet(path, target, config, stylizers, controls)
            except (ImageError, OSError, MemoryError) as error:
                failures += 1
                report(PROG, error if printable(path) in str(error) else f"{printable(path)}: {error}")
            else:
                report(PROG, f"wrote {target} ({len(stylizers)} style{'s' * (len(stylizers) > 1)})")
            if many:
                bar.update()
    return 1 if failures or damaged else 0


def _load_all(config: FastConfig) -> tuple[dict[str, Any], int]:
    """Every style by name, and how many cannot be used. Raises StyleError if none can."""
    from transformer.export import style_folder
    from transformer.inference.loading import load_stylizer

    options = {"tile": config.tile, "max_memory": config.max_memory, "trust": config.trust}
    stylizers, damaged = {}, 0
    for style_dir in style_folder.list_styles():
        try:
            stylizers[style_dir.name] = load_stylizer(style_dir, config.runtime, **options)
        except style_folder.StyleError as error:
            damaged += 1
            report(PROG, error)
    if not stylizers:
        raise style_folder.StyleError(
            f"{style_folder.CHECKPOINTS_DIR}: contains no style that can be used; train one with train.py"
        )
    return stylizers, damaged


def _write_sheet(
    path: Path, target: Path, config: FastConfig, stylizers: Mapping[str, Any], controls: Any
) -> None:
    from data.contact_sheet import picture_grid
    from data.images import load_image, save_image

    photo = load_image(path, max_side=config.max_side or PICTURE_SIDE)
    pictures = {name: controls.applied(photo, stylize(photo)) for name, stylize in stylizers.items()}
    save_image(target, picture_grid({"photo": photo, **pictures}))
