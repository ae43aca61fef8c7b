"""infer.py PHOTO --sheet: a photo in every trained style, all pictures with their names on one sheet."""

import os
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from cli.bars import progress_bar
from cli.flags import UsageError, report
from cli.infer_config import FastConfig
from cli.outcomes import fault_line
from cli.styles import check_network, load_controls, loading_options
from cli.targets import check_folder_outputs, check_outputs, target_paths
from system.console import printable
from system.faults import memory_faults
from system.program import prog
from system.signals import Interrupted

PROG = prog("infer")
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
        "--format": config.format is not None,
    }
    check_network(config)
    if given := [name for name, is_given in flags.items() if is_given]:
        raise UsageError(f"--sheet shows photos in every style; leave out {' and '.join(given)}")


def write_sheets(config: FastConfig) -> int:
    """Writes a sheet for every photo, reports what fails and goes on; returns the exit status, 0 or 1."""
    from data.images import check_image_suffix
    from data.listing import find_images

    listing = find_images(config.photos)
    for line in (*listing.skipped_lines(), *listing.errors):
        report(PROG, line)
    if not listing.images:
        return 1
    targets, faults = target_paths(config.photos, listing.images, config.output, SHEET_NAME)
    check_outputs(targets.values(), [*listing.images, config.mask])
    check_folder_outputs(targets.values(), [path for path in config.photos if os.path.isdir(path)])
    for target in targets.values():
        check_image_suffix(target)
    for path, fault in faults.items():
        report(PROG, f"{printable(path)}: {fault}")
    job = SheetJob(config, targets)
    job.write_all()
    failures = len(listing.errors) + len(listing.unread) + len(faults) + job.failures
    return 1 if failures else 0


class SheetJob:
    """The photos of one call on their way to sheets. Raises StyleError if no style can be used."""

    def __init__(self, config: FastConfig, targets: Mapping[Path, Path]):
        self._config, self._targets = config, targets
        self.failures, self._written = 0, 0
        self._stylizers = self._load_all()
        self._controls = load_controls(config)

    def write_all(self) -> None:
        """Writes the sheets one after the other, in a thread, so that this one receives signals."""
        from system.threads import in_order

        many = len(self._targets) > 1
        work = memory_faults("lower --max-side")(self._write)
        with (
            progress_bar(total=len(self._targets), unit="photos", desc="sheets")
            if many
            else nullcontext() as bar
        ):
            try:
                with closing(in_order(self._targets, work, 1, self._stop)) as outcomes:
                    for path, future in outcomes:
                        self._take(path, future)
                        if many:
                            bar.update()
            except Interrupted as error:
                error.done = f"{self._written} of {len(self._targets)} sheets were written"
                raise

    def _stop(self) -> None:
        for stylizer in self._stylizers.values():
            stylizer.stop()

    def _write(self, path: Path) -> int:
        """Writes the sheet of a photo; returns the number of its styles."""
        from data.contact_sheet import picture_grid
        from data.images import load_image, save_image
        from transformer.export.style_folder import StyleError

        photo = load_image(path, max_side=self._config.max_side or PICTURE_SIDE)
        pictures = [("photo", photo)]
        for name, stylize in self._stylizers.items():
            try:
                pictures.append((name, self._controls.applied(photo, stylize(photo))))
            except StyleError as error:
                self._fail(f"{name}: {error}")
        save_image(self._targets[path], picture_grid(pictures))
        return len(pictures) - 1

    def _take(self, path: Path, future: Future) -> None:
        from data.images import ImageError

        error = future.exception()
        if isinstance(error, ImageError | MemoryError | OSError):
            self._fail(fault_line(path, error))
        elif error is not None:
            raise error
        else:
            self._written += 1
            count = future.result()
            report(PROG, f"wrote {self._targets[path]} ({count} style{'' if count == 1 else 's'})")

    def _fail(self, line: object) -> None:
        self.failures += 1
        report(PROG, line)

    def _load_all(self) -> dict[str, Any]:
        """Every style by name; those that cannot be used are reported."""
        from transformer.export import style_folder
        from transformer.inference.loading import load_stylizer

        config = self._config
        options = loading_options(config)
        pixels = len(self._targets) * float(config.max_side or PICTURE_SIDE) ** 2
        stylizers = {}
        for style_dir in style_folder.list_styles():
            try:
                stylizers[style_dir.name] = load_stylizer(
                    style_dir, config.runtime, expected_pixels=pixels, **options
                )
            except style_folder.StyleError as error:
                self._fail(error)
        if not stylizers:
            where = " and ".join(map(str, style_folder.style_places()))
            raise style_folder.StyleError(
                f"{where}: contains no style that can be used; train one with {prog('train')}"
            )
        return stylizers
