"""infer.py --mode fast with a video: every frame is stylized, the sound is copied."""

from pathlib import Path

from cli.bars import progress_bar
from cli.flags import UsageError, report
from cli.frames import FrameStylizers
from cli.infer_config import FastConfig
from cli.styles import picture_name
from cli.targets import check_outputs
from system.signals import Interrupted

PROG = "infer.py"


def stylize_clip(config: FastConfig) -> int:
    """Stylizes one video; returns the exit status.

    Raises ImageError, also for a damaged video after what could be read of it was written.
    """
    from data.clip_source import check_clip, clip_size
    from data.video import check_video_suffix, stylize_video

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
    frames_of = FrameStylizers(config).for_size(*clip_size(source_path))
    with progress_bar(total=None, unit="frames", desc=source_path.name) as bar:

        def show(frames_done: int, frames: int) -> None:
            bar.total = frames or None
            bar.update()

        try:
            frames = stylize_video(
                source_path,
                target,
                frames_of.stylize,
                show,
                finish=frames_of.finish,
                workers=frames_of.workers,
                stop=frames_of.stop,
            )
        except Interrupted as error:
            error.done = "no video was written"
            raise
    report(PROG, f"wrote {target} ({frames} frames)")
    return 0


def _target_path(config: FastConfig, source_path: Path) -> Path:
    name = f"{source_path.stem}_{picture_name(config)}.mp4"
    target = config.output or Path(name)
    return target / name if target.is_dir() else target
