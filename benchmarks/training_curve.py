"""Prints the validation loss of a training by steps and minutes, as a Markdown table.

    python benchmarks/training_curve.py runs/great_wave

Reads the TensorBoard events of the training, which must have run with --val-dir.
"""

import argparse
from pathlib import Path

TERMS = ("total", "content", "style", "tv")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("log_dir", type=Path, help="the log folder of the training, such as runs/NAME")
    log_dir = parser.parse_args(arguments).log_dir
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(log_dir), size_guidance={"tensors": 0})
    events.Reload()
    first_time = events.Tensors("config")[0].wall_time
    series = {term: events.Tensors(f"validation/{term}") for term in TERMS}
    print("| step | minutes | " + " | ".join(TERMS) + " |\n|" + "---|" * (2 + len(TERMS)))
    for points in zip(*series.values(), strict=True):
        values = " | ".join(f"{float(make_ndarray(point.tensor_proto)):.3g}" for point in points)
        print(f"| {points[0].step} | {(points[0].wall_time - first_time) / 60:.1f} | {values} |")


if __name__ == "__main__":
    main()
