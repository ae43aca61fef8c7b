"""infer.py --mode fast with a video: every frame is stylized, the sound is copied."""

from collections.abc import Callable
from pathlib import Path

from cli.bars import progress_bar
from cli.flags import UsageError, report
from cli.infer_config import FastConfig
from cli.styles import load_controls, load_styles, picture_name
from cli.targets import check_outputs
from system.signals import Interrupted

PROG = "infer.py"


def stylize_clip(config: FastConfig) -> int:
    """Stylizes one video; returns the exit status.

    Raises ImageError, also for a damaged video after what could be read of it was written.
    """
    from data.clip_source import check_clip
    from data.video import check_video_suffix, stylize_video

    if config.format is not None:
        raise UsageError("--format is for photos; the suffix of -o chooses the format of a video")
    if len(config.photos) > 1:
        raise UsageError("give one video at a time, and no photos beside it")
    (source_path,) = config.photos
    check_clip(source_path)
    target = _target_path(config, source_path)
    check_outputs([target], [source_path, config.mask])
    check_video_suffix(target)
    if config.skip_existing and target.is_file():
        report(PROG, f"{target} exists already; nothing was written")
        return 0
    stylize_frame = _frame_stylizer(config)
    with progress_bar(total=None, unit="frames", desc=source_path.name) as bar:

        def show(frames_done: int, frames: int) -> None:
            bar.total = frames or None
            bar.update()

        try:
            frames = stylize_video(source_path, target, stylize_frame, show)
        except Interrupted as error:
            error.done = "no video was written"
            raise
    report(PROG, f"wrote {target} ({frames} frames)")
    return 0


def _target_path(config: FastConfig, source_path: Path) -> Path:
    name = f"{source_path.stem}_{picture_name(config)}.mp4"
    target = config.output or Path(name)
    return target / name if target.is_dir() else target


def _frame_stylizer(config: FastConfig) -> Callable:
    import numpy as np

    from data.enlarging import Enlargement, size_at_scale
    from data.images import resize_pixels, shrunk_size
    from data.temporal import TemporalSmoother

    stylizer, controls = load_styles(config), load_controls(config)
    smooth = TemporalSmoother(config.temporal) if config.temporal else lambda content, stylized: stylized

    def stylize_frame(image):
        full_size = image.shape[:2]
        if config.max_side is not None:
            image = resize_pixels(image, *shrunk_size(full_size, config.max_side))
        small = resize_pixels(image, *size_at_scale(*image.shape[:2], config.stroke_scale or 1.0))
        stylized = smooth(small, stylizer(np.ascontiguousarray(small)))
        if small is not image:
            stylized = Enlargement(image, small, stylized).rows(slice(0, image.shape[0]))
        picture = controls.applied(image, stylized)
        return resize_pixels(picture, *full_size) if config.restore_size else picture

    return stylize_frame
