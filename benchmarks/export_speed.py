"""Compares the exported files, each in its own runtime: seconds of a pass, and the largest difference to our picture.

    python benchmarks/export_speed.py great_wave --python PYTHON_WITH_OPENCV_4 --web FOLDER_WITH_ONNXRUNTIME_WEB

Each runtime has a process of its own and all CPU cores, except onnxruntime-web, which chooses its threads itself.
The runtimes take turns; the median of all passes after a warm-up counts. A ratio above 1 means slower than ONNX
Runtime with the file of the style. Differences are in levels of 255, over all photos of examples/. Run it while
nothing else runs.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import run_seconds

ROOT = Path(__file__).resolve().parents[1]
SIDES = (256, 512, 1024)  # pixels
RUNS = 3  # passes in a turn
REFERENCE = "ONNX Runtime"
HEADER = f"{'side':>5} {'':34} {'MB':>5} {'seconds':>8} {'ratio':>6} {'largest':>8} {'mean':>7}"

Run = Callable[[np.ndarray], np.ndarray]  # images [1, H, W, 3] -> stylized images


class Contender(NamedTuple):
    """An exported file and the runtime that runs it."""

    name: str
    runtime: str  # a key of RUNTIMES, or "web"
    path: Path
    python: str = sys.executable

    @property
    def megabytes(self) -> float:
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def open_onnxruntime(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return lambda images: session.run(None, {"X": images})[0]


def open_opencv(path: Path) -> Run:
    import cv2

    network = cv2.dnn.readNetFromONNX(str(path))

    def run(images: np.ndarray) -> np.ndarray:
        network.setInput(images)
        return network.forward()

    return run


def open_saved_model(path: Path) -> Run:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    return lambda images: model.signatures["serving_default"](images=tf.constant(images))["stylized"].numpy()


def open_litert(path: Path) -> Run:
    import os

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    stylize = interpreter.get_signature_runner("serving_default")
    return lambda images: stylize(images=images)["stylized"]


RUNTIMES: dict[str, Callable[[Path], Run]] = {
    "onnxruntime": open_onnxruntime,
    "opencv": open_opencv,
    "saved_model": open_saved_model,
    "litert": open_litert,
}


MODULES = {
    "onnxruntime": "onnxruntime",
    "opencv": "cv2",
    "saved_model": "tensorflow",
    "litert": "ai_edge_litert",
    "web": "numpy",
}


def measure_here(runtime: str, path: Path, folder: Path, runs: int) -> None:
    """Stylizes folder/photos.npy into folder/pictures.npy; prints the seconds of passes over the first photo."""
    run = RUNTIMES[runtime](path)
    photos = np.load(folder / "photos.npy")
    np.save(folder / "pictures.npy", np.concatenate([run(photo[np.newaxis]) for photo in photos]))
    print(json.dumps(run_seconds(lambda: run(photos[:1]), runs)))


def measured(contender: Contender, folder: Path, web_dir: Path | None) -> tuple[list[float], np.ndarray]:
    """Returns the seconds of some passes, and the pictures of all photos (of onnxruntime-web: of the first)."""
    if contender.runtime == "web":
        return _measured_in_node(contender, folder, web_dir)
    command = [contender.python, __file__, "--one", contender.runtime, contender.path, folder]
    finished = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1]), np.load(folder / "pictures.npy")


def _measured_in_node(contender: Contender, folder: Path, web_dir: Path) -> tuple[list[float], np.ndarray]:
    photo = np.load(folder / "photos.npy")[:1]
    photo.tofile(folder / "in.raw")
    files = [contender.path, folder / "in.raw", folder / "out.raw"]
    program = ROOT / "benchmarks" / "onnxruntime_web.mjs"
    command = ["node", program, web_dir, *files, *photo.shape[1:3], RUNS]
    finished = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    stylized = np.fromfile(folder / "out.raw", np.float32).reshape(photo.shape)
    return json.loads(finished.stdout.splitlines()[-1]), stylized


def exported(
    style: str, side: int, folder: Path, python: str | None, web_dir: Path | None
) -> list[Contender]:
    """Exports a style for images of one size; returns all files with their runtimes, the reference first."""
    import export

    size = f"{side}x{side}"
    for flags in (
        ("--format", "saved_model", "onnx", "onnx-fp16"),
        ("--format", "litert", "onnx", "--size", size),
        ("--format", "litert", "--size", size, "--half-weights"),
    ):
        with contextlib.redirect_stdout(sys.stderr):
            if export.main([style, *flags, "-o", str(folder), "--overwrite"]):
                raise SystemExit(1)
    name = Path(style).resolve().name
    fixed, whole, half = (folder / f"{name}{part}.onnx" for part in (f"_{size}", "", "_fp16"))
    entries = [
        Contender(REFERENCE, "onnxruntime", whole),
        Contender("ONNX Runtime, onnx-fp16", "onnxruntime", half),
        Contender("LiteRT", "litert", folder / f"{name}_{size}.tflite"),
        Contender("LiteRT, --half-weights", "litert", folder / f"{name}_{size}_fp16.tflite"),
        Contender("TensorFlow, saved_model", "saved_model", folder / name / "1"),
        Contender("OpenCV 5, any size", "opencv", whole),
        Contender("OpenCV 5, --size", "opencv", fixed),
    ]
    if python:
        entries.append(Contender("OpenCV 4, --size", "opencv", fixed, python))
    if web_dir and shutil.which("node"):
        entries.append(Contender("onnxruntime-web (WebAssembly)", "web", whole))
        entries.append(Contender("onnxruntime-web, onnx-fp16", "web", half))
    return [entry for entry in entries if entry.python != sys.executable or find_spec(MODULES[entry.runtime])]


def write_photos(path: Path, side: int) -> None:
    """Writes all photos of examples/ as float32 [photos, side, side, 3]."""
    from data.images import load_image, resize_image

    paths = sorted((ROOT / "examples").glob("*.jpg"))
    photos = [resize_image(load_image(photo), height=side, width=side) for photo in paths]
    np.save(path, np.stack(photos).astype(np.float32))


def print_side(
    entries: Sequence[Contender], side: int, folder: Path, web_dir: Path | None, turns: int
) -> None:
    """Measures all files in turns and prints a line for each."""
    write_photos(folder / "photos.npy", side)
    seconds: dict[str, list[float]] = {entry.name: [] for entry in entries}
    pictures: dict[str, np.ndarray] = {}
    for _ in range(turns):
        for entry in entries:
            passes, pictures[entry.name] = measured(entry, folder, web_dir)
            seconds[entry.name] += passes
    medians = {name: statistics.median(passes) for name, passes in seconds.items()}
    for entry in entries:
        stylized = pictures[entry.name]
        difference = np.abs(stylized - pictures[REFERENCE][: len(stylized)])
        print(
            f"{side:5} {entry.name:34} {entry.megabytes:5.1f} {medians[entry.name]:8.3f}"
            f" {medians[entry.name] / medians[REFERENCE]:6.2f} {difference.max():8.3f} {difference.mean():7.4f}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("style", nargs="?", default="great_wave", help="a style, by name or folder")
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES, help="sides of the photos in pixels")
    parser.add_argument("--turns", type=int, default=3, help="turns of each runtime (default: 3)")
    parser.add_argument("--python", help="Python of a virtual environment with OpenCV 4 and NumPy")
    parser.add_argument("--web", type=Path, help="folder in which npm install onnxruntime-web was run")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # runtime, file, folder of photos.npy
    options = parser.parse_args(arguments)
    if options.one:
        runtime, path, folder = options.one
        measure_here(runtime, Path(path), Path(folder), RUNS)
        return
    print(HEADER)
    for side in options.sides:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            entries = exported(options.style, side, folder, options.python, options.web)
            print_side(entries, side, folder, options.web, options.turns)


if __name__ == "__main__":
    main()
