"""infer.py --cluster on a cluster of this machine: pictures, report, faults, and going on. These tests need Ray."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("ray")

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = 20
SECONDS = 180  # for one call; it takes about 15 on two cores
# A photo whose name holds "deadly" ends the process of its worker.
DEADLY = """
import os, sys
import cluster.stylizing as stylizing
import infer

class Deadly(stylizing.Worker):
    def _picture(self, row):
        if b"deadly" in row["name"] and not self._fault:
            self._painter.painted = lambda *arguments: os._exit(9)
        return super()._picture(row)

stylizing.Worker = Deadly
sys.exit(infer.main())
"""


@pytest.fixture(scope="module")
def photos(photo, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for index in range(PHOTOS):
        photo(folder / f"{index % 3}" / f"photo{index}.jpg", seed=index)
    (folder / "damaged.jpg").write_bytes((folder / "0" / "photo0.jpg").read_bytes()[:200])
    (folder / "text.png").write_text("no image")
    (folder / "empty.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def single(photos, style_dirs, tmp_path_factory) -> dict[str, bytes]:
    """What the command for one machine writes: place -> bytes."""
    folder = tmp_path_factory.mktemp("single")
    run = infer(photos, "-o", folder, "--style", style_dirs["waves"])
    assert run.returncode == 1 and "3 of 23 photos failed" in run.stderr
    return files(folder)


def command(*arguments) -> list[str]:
    return [sys.executable, str(ROOT / "infer.py"), *map(str, arguments)]


def infer(*arguments, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=SECONDS, **options)


def files(folder: Path) -> dict[str, bytes]:
    """The pictures in a folder, without the report."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_report" not in path.parts
    }


def rows(folder: Path) -> list[dict]:
    """The rows of the report of the last call."""
    parts = sorted((folder / "_report").glob("*.parquet"))
    assert parquet.read_table(folder / "_report").num_rows >= 1  # as docs/cluster.md says
    last = parts[-1].name.partition("-")[0]
    return [
        row for part in parts if part.name.startswith(last) for row in parquet.read_table(part).to_pylist()
    ]


def test_the_pictures_are_those_of_one_machine_and_a_second_call_leaves_them(
    photos, single, style_dirs, tmp_path
):
    arguments = (photos, "-o", tmp_path / "out", "--style", style_dirs["waves"], "--cluster", "local")
    first = infer(*arguments)
    assert first.returncode == 1, first.stderr
    assert files(tmp_path / "out") == single
    assert "wrote 20 pictures" in first.stderr and "3 of 23 photos failed" in first.stderr
    report = rows(tmp_path / "out")
    assert sorted(row["path"] for row in report) == sorted(map(str, filter(Path.is_file, photos.rglob("*"))))
    by_status = {
        status: [row for row in report if row["status"] == status] for status in ("written", "failed")
    }
    assert len(by_status["written"]) == 20 and len(by_status["failed"]) == 3
    for row in by_status["written"]:
        assert Path(row["target"]).stat().st_size == row["bytes_out"] and row["seconds"] > 0
        assert (row["height_in"], row["width_in"], row["bytes_in"]) == (40, 48, os.path.getsize(row["path"]))
    assert all(row["reason"].startswith(row["path"]) and row["target"] is None for row in by_status["failed"])

    (tmp_path / "out" / "1" / "photo1_waves.jpg").unlink()
    second = infer(*arguments)
    assert (
        second.returncode == 1
        and "wrote 1 picture " in second.stderr
        and "19 existed already" in second.stderr
    )
    assert files(tmp_path / "out") == single and len(rows(tmp_path / "out")) == 23


def test_a_photo_that_ends_its_workers_fails_alone(photos, single, style_dirs, tmp_path):
    shutil.copytree(photos, tmp_path / "in")
    shutil.copy(photos / "0" / "photo0.jpg", tmp_path / "in" / "deadly.jpg")
    script = tmp_path / "deadly.py"
    script.write_text(DEADLY)
    arguments = [
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--style",
        style_dirs["waves"],
        "--cluster",
        "local",
    ]
    run = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert files(tmp_path / "out") == single
    (row,) = [row for row in rows(tmp_path / "out") if "deadly" in row["path"]]
    assert (
        row["status"] == "failed"
        and "its worker ended while it computed this photo, 2 times" in row["reason"]
    )


def test_a_signal_ends_the_work_and_the_same_command_goes_on(photos, single, style_dirs, tmp_path):
    arguments = (photos, "-o", tmp_path / "out", "--style", style_dirs["waves"], "--cluster", "local")
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + SECONDS
    while len(files(tmp_path / "out")) < 1 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=SECONDS)[1]
    if process.returncode == 1:  # it was already at its end
        assert "wrote 20 pictures" in error
    else:
        assert process.returncode == 143 and "interrupted by SIGTERM" in error
    assert files(tmp_path / "out").items() <= single.items()
    again = infer(*arguments)
    assert again.returncode == 1 and "existed already" in again.stderr and files(tmp_path / "out") == single


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--cluster", "127.0.0.1:1"], "the cluster cannot be joined"),
        (
            ["--cluster", "local", "--cpus-per-worker", "1024"],
            "has room for a worker with 1024 CPUs",
        ),
        (
            ["--cluster", "local", "--gpus-per-worker", "0.5"],
            "has room for a worker with 1 CPUs and 0.5 GPUs",
        ),
    ],
)
def test_a_cluster_that_cannot_do_the_work_is_one_line(photos, style_dirs, tmp_path, flags, line):
    run = infer(photos / "0", "-o", tmp_path / "out", "--style", style_dirs["waves"], *flags)
    assert run.returncode == 1 and line in run.stderr and "Traceback" not in run.stderr
    assert files(tmp_path) == {} and "Traceback" not in run.stderr


def test_a_folder_that_cannot_be_written_ends_the_call_before_the_work(photos, style_dirs, tmp_path):
    (tmp_path / "out").write_text("a file")
    run = infer(photos / "0", "-o", tmp_path / "out", "--style", style_dirs["waves"], "--cluster", "local")
    assert run.returncode == 1 and "cannot be written" in run.stderr and "Traceback" not in run.stderr


def test_pictures_do_not_go_into_a_folder_of_photos(photos, style_dirs):
    run = infer(photos, "-o", photos / "0", "--style", style_dirs["waves"], "--cluster", "local")
    assert run.returncode == 2 and "lies in the input folder" in run.stderr
