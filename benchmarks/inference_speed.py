"""How long a photo takes: from the command to the file, and once a style is loaded; beside the floor, and memory.

    python benchmarks/inference_speed.py great_wave

Cold: infer.py as a process of its own, JPEG in, PNG out, median of --runs. Floor: the network's operations at the best
rate that ONNX Runtime's convolution reached in the same run. Every figure comes from a process of its own.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SIDES = (256, 512, 1024, 2048)
PEAK_SHAPES = ((64, 128), (64, 256), (128, 64), (128, 128), (256, 64))  # channels in and out, side
STEADY_RUNS = 7


def seconds(call, runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def conv_peak(threads: int) -> float:
    """GFLOP/s of the fastest 3x3 convolution of PEAK_SHAPES."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    best = 0.0
    for channels, side in PEAK_SHAPES:
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
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        image = np.ones(shape, np.float32)
        times = seconds(lambda session=session, image=image: session.run(None, {"x": image}), 12)
        best = max(best, 2 * 9 * channels**2 * side**2 / min(times[2:]) / 1e9)
    return best


def measure_one(name: str, runtime: str, side: int, threads: int) -> dict:
    """Load, first and steady seconds of one runtime at one size, and the process's peak memory in bytes."""
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:threads])
    from transformer.export.style_folder import find_style
    from transformer.inference.loading import load_stylizer

    image = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.float32)
    start = time.perf_counter()
    stylize = load_stylizer(find_style(name), runtime)
    load = time.perf_counter() - start
    (first,) = seconds(lambda: stylize(image), 1)
    steady = statistics.median(seconds(lambda: stylize(image), STEADY_RUNS))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"load": load, "first": first, "steady": steady, "peak": peak}


def in_own_process(*arguments: object) -> dict:
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    return json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    )


def cold_seconds(name: str, photo_path: Path, runs: int) -> float:
    command = [
        sys.executable,
        ROOT / "infer.py",
        photo_path,
        "--style",
        name,
        "-o",
        photo_path.with_suffix(".png"),
    ]
    return statistics.median(seconds(lambda: subprocess.run(command, check=True), runs + 1)[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", nargs="?", default="great_wave", help="a style of half width")
    parser.add_argument("--runs", type=int, default=7, help="of each cold start (default: 7)")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, runtime, side, threads = options.one
        print(json.dumps(measure_one(name, runtime, int(side), int(threads))))
        return
    from data.images import load_image, resize_image, save_image
    from transformer.architecture import Architecture

    photo = load_image(ROOT / "examples" / "coffee.jpg")
    cores = len(os.sched_getaffinity(0))
    threads_to_try = sorted({1, cores})
    peaks = {threads: conv_peak(threads) for threads in threads_to_try}
    print(", ".join(f"{threads} threads: conv peak {peak:.0f} GFLOP/s" for threads, peak in peaks.items()))
    print("side  threads runtime     cold s  load s  first s  steady s  floor s  steady:floor  peak GB")
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            photo_path = Path(folder) / f"{side}.jpg"
            save_image(photo_path, resize_image(photo, height=side, width=side))
            cold = cold_seconds(options.name, photo_path, options.runs)
            gflop = 2e-9 * Architecture().multiply_adds(side, side)
            for threads in threads_to_try:
                for runtime in ("onnx", "tensorflow"):
                    found = in_own_process(options.name, runtime, side, threads)
                    floor = gflop / peaks[threads]
                    is_default = threads == cores and runtime == "onnx"
                    print(
                        f"{side:4}  {threads:7} {runtime:10} {f'{cold:7.2f}' if is_default else '      -'} "
                        f"{found['load']:7.2f} {found['first']:8.3f} {found['steady']:9.3f} {floor:8.3f} "
                        f"{found['steady'] / floor:13.2f} {found['peak'] / 1e9:8.2f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
