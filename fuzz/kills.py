"""Kills commands at random moments and checks that nothing is lost and nothing is left over in the end.

    python -m fuzz.kills folder --kills 100
    python -m fuzz.kills training --kills 100

A folder run is started again with --skip-existing after every kill, a training with --resume=auto. The training exports
its style, is made longer, and exports again over the first one. After every kill, each picture, state and style must
be a whole one of the uninterrupted run; at the end all must be there, byte for byte, and no other file.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STEPS = (300, 600)  # of the two trainings, the second one continues the first
PHOTOS = 24


@dataclass(frozen=True)
class Job:
    """Commands that are killed, in this order.

    commands: each is run until it ends by itself. check: raises AssertionError unless what a folder contains is whole;
    its second argument is the number of commands that have ended.
    """

    commands: Callable[[Path], list[list[str]]]
    check: Callable[[Path, int], None]
    earliest: float  # share of the time of an uninterrupted command before which it is not killed


def main(arguments: list[str] | None = None) -> int:
    """Prints how many processes were killed, and how often the work was finished in spite of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=("folder", "training"))
    parser.add_argument("--kills", type=int, default=100, help="processes to kill (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments (default: 0)")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        job = {"folder": folder_job, "training": training_job}[options.job](Path(folder))
        kills, rounds = kill_often(job, Path(folder), options.kills, random.Random(options.seed))
    print(
        f"{options.job}: {kills} processes killed, finished {rounds} times in spite of it; all whole,"
        f" nothing lost, nothing left over; {time.perf_counter() - start:.0f} s"
    )
    return 0


def kill_often(job: Job, folder: Path, kills: int, generator: random.Random) -> tuple[int, int]:
    """Returns the number of killed processes and of finished rounds, after `kills` kills."""
    durations = [_run_to_end(command) for command in job.commands(folder / "timed")]
    killer = Killer(generator, kills)
    rounds = 0
    while killer.killed < kills:
        work_dir = folder / f"round{rounds}"
        for done, command in enumerate(job.commands(work_dir)):
            for _ in killer.killed_until_done(command, job.earliest * durations[done], 1.1 * durations[done]):
                job.check(work_dir, done)
            job.check(work_dir, done + 1)
        rounds += 1
        assert _names(work_dir) == _names(folder / "timed"), "something is lost or left over"
    return killer.killed, rounds


class Killer:
    """Runs commands and kills them at random moments, at most `kills` times."""

    def __init__(self, generator: random.Random, kills: int):
        self.killed = 0
        self._generator, self._kills = generator, kills

    def killed_until_done(self, command: list[str], earliest: float, latest: float) -> Iterator[None]:
        """Runs a command again and again until it ends by itself; yields after each kill. Times are in seconds."""
        while True:
            timeout = self._generator.uniform(earliest, latest) if self.killed < self._kills else None
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            try:
                _, errors = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.killed += 1
                yield
                continue
            assert process.returncode == 0, errors[-2000:]
            return


def _run_to_end(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def _names(folder: Path) -> set[str]:
    """The files below a folder without TensorBoard's, of which every start writes one more."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name}


def folder_job(folder: Path) -> Job:
    """Photos of one folder through a shipped style."""
    for index in range(PHOTOS):
        _write_photo(folder / "photos" / f"{index:02}.png", side=200, seed=index)

    def commands(work_dir: Path) -> list[list[str]]:
        style = ("--style", str(ROOT / "checkpoints" / "great_wave"))
        flags = ("-o", str(work_dir / "art"), "--skip-existing")
        return [[sys.executable, "infer.py", str(folder / "photos"), *style, *flags]]

    def check(work_dir: Path, done: int) -> None:
        whole = _digests(folder / "timed" / "art")
        found = _digests(work_dir / "art")
        assert found.items() <= whole.items(), "a picture is not whole"
        assert not done or found == whole, "a picture is lost"

    return Job(commands, check, earliest=0.1)


def training_job(folder: Path) -> Job:
    """A tiny training that exports, continues, and exports again."""
    sys.path.insert(0, str(ROOT / "tests"))
    from vgg_files import random_vgg_weights, save_vgg_weights

    _write_photo(folder / "style.png", side=48, seed=100)
    for index in range(4):
        _write_photo(folder / "photos" / f"{index}.png", side=48, seed=index)
    save_vgg_weights(folder / "vgg.npz", random_vgg_weights("vgg19"))

    def commands(work_dir: Path) -> list[list[str]]:
        inputs = (
            "--style",
            folder / "style.png",
            "--content-dir",
            folder / "photos",
            "--vgg",
            folder / "vgg.npz",
        )
        size = ("--width", 0.125, "--residual-blocks", 1, "--image-size", 32, "--batch-size", 2)
        places = ("--output-dir", work_dir / "styles", "--log-dir", work_dir / "log", "--name", "tiny")
        pace = ("--save-every", 10, "--summary-every", 50, "--learning-rate", 0.001)
        flags = (*inputs, *size, *places, *pace, "--resume=auto", "--overwrite")
        command = [sys.executable, "train.py", *map(str, flags), "--steps"]
        return [[*command, str(steps)] for steps in STEPS]

    return Job(commands, partial(_check_training, folder / "timed"), earliest=0.6)


def _check_training(reference_dir: Path, work_dir: Path, done: int) -> None:
    """Raises AssertionError unless states and style are whole; the finished network must be that of `reference_dir`."""
    style_dir = work_dir / "styles" / "tiny"
    steps = _steps_of_style(style_dir) if style_dir.exists() else 0
    assert steps in (0, *STEPS), "the style is not whole"
    assert steps >= (0, *STEPS)[done], "the style is lost"
    states = sorted((work_dir / "log" / "state").glob("step_*.npz"))
    for path in states:
        with np.load(path) as arrays:
            assert all(arrays[name].size >= 0 for name in arrays), path  # reads all and checks the CRC
    assert states or not style_dir.exists(), "the state is lost"
    if done == len(STEPS):
        network = _digests(style_dir)
        expected = _digests(reference_dir / "styles" / "tiny")
        name = "fast_style_transfer.onnx"
        assert network[name] == expected[name], "the trained network differs from the uninterrupted one"


def _steps_of_style(style_dir: Path) -> int:
    """The steps in the settings of a style; raises an error unless the style is complete and stylizes."""
    sys.path.insert(0, str(ROOT))
    from transformer.inference.loading import load_stylizer

    load_stylizer(style_dir)(np.full((16, 16, 3), 128.0, np.float32))
    assert len(list(style_dir.iterdir())) == 6
    return json.loads((style_dir / "style.json").read_text(encoding="utf-8"))["config"]["steps"]


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.glob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _write_photo(path: Path, *, side: int, seed: int) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    colors = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(colors).resize((side, side), Image.Resampling.BICUBIC).save(path)


if __name__ == "__main__":
    sys.exit(main())
