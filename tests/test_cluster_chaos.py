"""Processes of a cluster are killed while infer.py --cluster stylizes; every photo still has its picture in the end."""

import os
import signal
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.tensorflow]
ROOT = Path(__file__).resolve().parents[1]
PHOTOS, HOSTILE = 24, 3
SECONDS = 150.0  # that one command may take at most
if find_spec("ray") is None:  # importing it here would settle how this process authenticates itself
    pytest.skip("needs ray", allow_module_level=True)
pytest.importorskip("psutil")
cluster_run = import_module("benchmarks.cluster_run")


@pytest.fixture(scope="module")
def photos_dir(tmp_path_factory, photo) -> Path:
    """Photos that take some tenths of a second each, and hostile files among them."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(PHOTOS):
        photo(folder / f"{index:02}.jpg", height=800, width=1000, seed=index)
    for index in range(HOSTILE):
        suffix, content = cluster_run.hostile_file(index)
        (folder / f"{8 * index:02}x{suffix}").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def reference(photos_dir, style_dirs, tmp_path_factory) -> dict[str, bytes]:
    """Name -> bytes of each picture that infer.py makes without a cluster."""
    folder = tmp_path_factory.mktemp("reference")
    command = [sys.executable, ROOT / "infer.py", photos_dir, "-o", folder, "--style", style_dirs["waves"]]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode == 1 and ended.stderr.count("infer.py: ") == HOSTILE + 1
    pictures = cluster_run.contents(folder)
    assert len(pictures) == PHOTOS
    return pictures


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs and two nodes of one CPU each."""
    nodes = cluster_run.LocalCluster(2, {})
    yield nodes
    nodes.close()


class Command:
    """infer.py --cluster, as a process, from photos_dir to a folder."""

    def __init__(self, cluster, photos_dir: Path, style_dir: Path, pictures_dir: Path):
        self._folder = pictures_dir
        places = [photos_dir, "-o", pictures_dir, "--style", style_dir, "--cluster", cluster.address]
        self._log = pictures_dir.parent / "log"
        with self._log.open("wb") as log:
            environment = {**os.environ, **cluster.environment}
            command = [sys.executable, ROOT / "infer.py", *places]
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def wait_for_pictures(self) -> None:
        """Waits for the first pictures; most are still missing then."""

        def has_pictures() -> bool:
            assert self._process.poll() is None, self._log.read_text()
            return len(list(self._folder.glob("*_waves.jpg"))) >= 2

        wait_until(has_pictures, SECONDS)

    def assert_unfinished(self) -> None:
        assert self._process.poll() is None and len(list(self._folder.glob("*_waves.jpg"))) < PHOTOS

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def status(self) -> int:
        """Waits for the end of the command."""
        try:
            return self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the command does not end: {self._log.read_text()[-2000:]}")


@pytest.fixture
def command(cluster, photos_dir, style_dirs, tmp_path):
    """A function that gives the command."""
    given = []

    def give() -> Command:
        given.append(Command(cluster, photos_dir, style_dirs["waves"], tmp_path / "pictures"))
        return given[-1]

    yield give
    for each in given:
        each.kill()


@pytest.fixture
def faults(photos_dir, reference, tmp_path):
    """A function: what is wrong with the pictures and the report, by kind; empty if nothing is."""

    def found(*, was_cut: bool = False) -> dict[str, list[str]]:
        from pyarrow import parquet

        pictures = cluster_run.contents(tmp_path / "pictures")
        parts = [name for name in pictures if name.endswith(".parquet")]
        rows = [row for name in parts for row in parquet.read_table(tmp_path / "pictures" / name).to_pylist()]
        names = {path.name for path in photos_dir.iterdir()}
        hostile = {name for name in names if "x" in name.partition(".")[0]}
        # Files whose names start with a dot are what killed processes have left; the next call removes them.
        made = {name: content for name, content in pictures.items() if not name.startswith((".", "_report/"))}
        kinds = cluster_run.faults(reference, names - hostile, hostile, made, rows, was_cut=was_cut)
        return {kind: of_it for kind, of_it in kinds.items() if of_it}

    return found


def test_photos_of_a_killed_worker_get_their_pictures(cluster, command, faults):
    run = command()
    run.wait_for_pictures()
    cluster.kill_worker()
    run.assert_unfinished()
    assert run.status() == 1  # of the hostile files
    assert faults() == {}


def test_photos_of_a_killed_node_get_their_pictures_with_the_node_that_is_added(cluster, command, faults):
    run = command()
    run.wait_for_pictures()
    cluster.kill_node()
    run.assert_unfinished()
    cluster.add_node()
    assert run.status() == 1
    assert faults() == {}


def test_the_same_command_after_a_kill_makes_the_missing_pictures_alone(
    command, faults, photos_dir, tmp_path
):
    killed = command()
    killed.wait_for_pictures()
    killed.assert_unfinished()
    killed.kill()
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "pictures").glob("*_waves.jpg")}
    assert command().status() == 1
    assert faults(was_cut=True) == {}
    assert {path: path.stat().st_mtime_ns for path in first} == first
