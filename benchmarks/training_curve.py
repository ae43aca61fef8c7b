"""Prints a run's validation loss against steps and minutes, as a Markdown table, from its event file.

python benchmarks/training_curve.py runs/great_wave
"""

import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

TERMS = ("total", "content", "style", "tv")


def main(log_dir: Path) -> None:
    events = EventAccumulator(str(log_dir), size_guidance={"tensors": 0})
    events.Reload()
    first_time = events.Tensors("config")[0].wall_time
    series = {term: events.Tensors(f"validation/{term}") for term in TERMS}
    print("| step | minutes | " + " | ".join(TERMS) + " |\n|" + "---|" * (2 + len(TERMS)))
    for points in zip(*series.values(), strict=True):
        values = " | ".join(f"{float(make_ndarray(point.tensor_proto)):.3g}" for point in points)
        print(f"| {points[0].step} | {(points[0].wall_time - first_time) / 60:.1f} | {values} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
