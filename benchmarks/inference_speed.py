"""Measures how long one photo takes: the whole command, and each pass of a loaded style; and the memory.

    python benchmarks/inference_speed.py great_wave

cold: infer.py as a process of its own, JPEG in, PNG out; the median of --runs.
floor: the operations of the network at the best rate of an ONNX Runtime convolution in the same run.
Each row comes from a process of its own. Run it while nothing else runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import run_seconds

ROOT = Path(__file__).resolve().parents[1]
SIDES = (256, 512, 1024, 2048)
PEAK_SHAPES = ((64, 128), (64, 256), (128, 64), (128, 128), (256, 64))  # channels in and out, side
PEAK_WARMUP_RUNS, PEAK_TIMED_RUNS = 2, 10
STEADY_RUNS = 7
RUNTIMES = tuple(
    runtime
    for runtime in ("onnx", "openvino", "tensorflow")
    if runtime != "openvino" or find_spec("openvino")
)
HEADER = "side  threads runtime     cold s  load s  first s  steady s  floor s  steady:floor  peak GB"


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("style", nargs="?", default="great_wave", help="a style of half width")
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES, help="sides of the photos in pixels")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of the command (default: 7)")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # style, runtime, side, threads
    return parser.parse_args(arguments)


def convolution_session(channels: int, side: int, threads: int):
    """Returns an ONNX Runtime session of one 3x3 convolution from "x" to "y"."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.ones((channels, channels, 3, 3), np.float32), "w")
    shape = [1, channels, side, side]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [kernel],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def convolution_peak(threads: int, shapes: Sequence[tuple[int, int]] = PEAK_SHAPES) -> float:
    """Returns the GFLOP/s of the fastest 3x3 convolution of `shapes`."""
    rates = []
    for channels, side in shapes:
        session = convolution_session(channels, side, threads)
        image = np.ones([1, channels, side, side], np.float32)
        times = run_seconds(
            lambda session=session, image=image: session.run(None, {"x": image}),
            PEAK_WARMUP_RUNS + PEAK_TIMED_RUNS,
        )
        rates.append(2e-9 * 9 * channels**2 * side**2 / min(times[PEAK_WARMUP_RUNS:]))
    return max(rates)


def measure_one(style: str, runtime: str, side: int, threads: int) -> dict[str, float]:
    """Returns load, first and steady seconds of one runtime at one size, and this process's peak in bytes."""
    from system.machine import peak_memory
    from transformer.inference.loading import load_stylizer

    image = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.float32)
    loaded = []
    (load,) = run_seconds(lambda: loaded.append(load_stylizer(style, runtime, threads=threads)), 1)
    (stylize,) = loaded
    (first,) = run_seconds(lambda: stylize(image), 1)
    steady = statistics.median(run_seconds(lambda: stylize(image), STEADY_RUNS))
    return {"load": load, "first": first, "steady": steady, "peak": peak_memory()}


def in_own_process(*arguments: object) -> dict[str, float]:
    """Returns what `measure_one` returns in a new process."""
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def cold_seconds(style: str, photo_path: Path, runs: int) -> float:
    """Returns the median seconds of the whole command; the first run only warms the disk cache."""
    target = photo_path.with_suffix(".png")
    command = [sys.executable, ROOT / "infer.py", photo_path, "--style", style, "-o", target]
    command += ["--stroke-scale", "1"]

    def run() -> None:
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)

    return statistics.median(run_seconds(run, runs + 1)[1:])


def print_rows(style: str, side: int, cold: float, peaks: dict[int, float]) -> None:
    """Prints the rows of one size; `peaks`: number of threads -> GFLOP/s of the fastest convolution."""
    from transformer.architecture import Architecture

    gflop = 2e-9 * Architecture().multiply_adds(side, side)
    for threads, peak in peaks.items():
        for runtime in RUNTIMES:
            found = in_own_process(style, runtime, side, threads)
            floor = gflop / peak
            is_default = threads == max(peaks) and runtime == "onnx"
            print(
                f"{side:4}  {threads:7} {runtime:10} {f'{cold:7.2f}' if is_default else '      -'} "
                f"{found['load']:7.2f} {found['first']:8.3f} {found['steady']:9.3f} {floor:8.3f} "
                f"{found['steady'] / floor:13.2f} {found['peak'] / 1e9:8.2f}",
                flush=True,
            )


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    if options.one:
        style, runtime, side, threads = options.one
        os.sched_setaffinity(0, list(os.sched_getaffinity(0))[: int(threads)])
        print(json.dumps(measure_one(style, runtime, int(side), int(threads))))
        return
    from data.images import load_image, resize_image, save_image
    from system.machine import available_cores

    photo = load_image(ROOT / "examples" / "coffee.jpg")
    peaks = {threads: convolution_peak(threads) for threads in sorted({1, available_cores()})}
    print(", ".join(f"{threads} threads: conv peak {peak:.0f} GFLOP/s" for threads, peak in peaks.items()))
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for side in options.sides:
            photo_path = Path(folder) / f"{side}.jpg"
            save_image(photo_path, resize_image(photo, height=side, width=side))
            print_rows(options.style, side, cold_seconds(options.style, photo_path, options.runs), peaks)


if __name__ == "__main__":
    main()
