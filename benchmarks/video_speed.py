"""Measures frames a second of a whole video, and of its network alone.

    python benchmarks/video_speed.py great_wave --clip clip.mp4

network: the frames of the clip as arrays, in as many threads as the video has; nothing is read or written.
video: the same frames from the file to the file, as infer.py does it.
Both take turns, after one round of each that does not count. Run it while nothing else runs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import median_and_spread
from cli.frames import FrameStylizer, FrameStylizers
from cli.infer_config import FastConfig
from data.images import resize_pixels
from data.video import stylize_video, video_frames
from system.threads import in_order


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("style", metavar="STYLE", help="name or folder of a trained style")
    parser.add_argument("--clip", type=Path, required=True, help="a video; its first frames are used")
    parser.add_argument("--frames", type=int, default=40, help="frames of the video (default: 40)")
    parser.add_argument("--height", type=int, default=360, help="height of the frames (default: 360)")
    parser.add_argument("--width", type=int, default=640, help="width of the frames (default: 640)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--temporal", type=float, default=0.0, help="as in infer.py (default: 0)")
    return parser.parse_args(arguments)


def write_short(source: Path, target: Path, options: argparse.Namespace) -> None:
    """Writes the first frames of a video in the size of the benchmark, as H.264 without sound."""
    import av

    with av.open(str(target), "w") as clip:
        stream = clip.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = options.height, options.width, "yuv420p"
        for _, image in zip(range(options.frames), video_frames(source), strict=False):
            pixels = resize_pixels(image.astype(np.uint8), options.height, options.width)
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        clip.mux(stream.encode())


def stylize_frames(images: Sequence[np.ndarray], stylizer: Callable, workers: int) -> None:
    """Stylizes images by the network alone."""
    for _, future in in_order(images, stylizer, workers, stop=lambda: None):
        future.result()


def stylize_clip(source: Path, target: Path, frames_of: FrameStylizer) -> None:
    """Stylizes a video as infer.py does it."""
    stylize_video(
        source,
        target,
        frames_of.stylize,
        finish=frames_of.finish,
        workers=frames_of.workers,
        stop=frames_of.stop,
    )


def rates(calls: Sequence[Callable[[], None]], rounds: int, frames: int) -> list[list[float]]:
    """Returns the frames a second of each call in each round. The calls take turns, after a round for warm-up."""
    results: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 1):
        for call, measured in zip(calls, results, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                measured.append(frames / (time.perf_counter() - start))
    return results


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    styles = FrameStylizers(FastConfig(style=options.style, temporal=options.temporal))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.mp4", Path(folder) / "stylized.mp4"
        write_short(options.clip, source, options)
        images = list(video_frames(source))
        frames_of = styles.for_size(*images[0].shape[:2])
        network, video = rates(
            [
                lambda: stylize_frames(images, frames_of.stylizer, frames_of.workers),
                lambda: stylize_clip(source, target, styles.for_size(*images[0].shape[:2])),
            ],
            options.rounds,
            len(images),
        )
    shares = [whole / bare for whole, bare in zip(video, network, strict=True)]
    print(
        f"{len(images)} frames of {options.width}x{options.height}, {options.style}, {frames_of.workers} workers"
    )
    print("            frames/s  spread")
    for name, values in (("network", network), ("video", video), ("share", shares)):
        middle, spread = median_and_spread(values)
        print(f"{name:10s} {middle:9.3f} {spread:7.1%}")


if __name__ == "__main__":
    main()
