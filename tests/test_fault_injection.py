"""Every writer against every fault: afterwards the old file or folder is there whole, or the new one is.

Faults: a short write and then no space, a failing disk at each system call in turn, and SIGKILL before each line of
the one module that replaces files. All writers of the project go through it (the last test).
"""

import ast
import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from cli import side_outputs
from cli.infer_config import SlowConfig
from cli.optimize import LOSS_NAMES, Outcome
from data.decoding import Picture
from data.encoding import encode_file
from data.photo_cache import PhotoCache
from data.video import stylize_video, video_frames
from system import files, locks
from system.files import write_folder, write_text
from transformer.training.state import INFO_KEYS, TrainingState

SAID: list[str] = []  # what side outputs have reported


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    monkeypatch.setattr(side_outputs, "report", lambda prog, line: SAID.append(line))


ROOT = Path(__file__).resolve().parents[1]
Writer = Callable[[Path, int], None]  # target, version 1 or 2


def pixels(version: int, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(version).integers(0, np.iinfo(dtype).max, (64, 80, 3)).astype(dtype)


def write_picture(path: Path, version: int) -> None:
    encode_file(path, Picture(pixels(version)))


def write_deep_picture(path: Path, version: int) -> None:
    encode_file(path, Picture(pixels(version, np.uint16)))


def write_video(path: Path, version: int) -> None:
    source = path.with_name("source.mkv")
    if not source.exists():
        with av.open(str(source), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
            for level in range(5):
                frame = np.full((32, 32, 3), 40 * level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    stylize_video(source, path, lambda image: image * (version - 1))


def write_state(path: Path, version: int) -> None:
    variables = {"kernel": SimpleNamespace(numpy=lambda: pixels(version), shape=(64, 80, 3))}
    TrainingState(path.parent, variables, keep=1).save(1, dict.fromkeys(INFO_KEYS, 0))


def write_history(path: Path, version: int) -> None:
    outcome = Outcome(SlowConfig(history=path), path.with_name("picture.png"), None)
    outcome.rows = [(step, *[float(version)] * len(LOSS_NAMES)) for step in range(500)]
    outcome._save_history("")
    if outcome.side_outputs.status:
        raise OSError(SAID[-1])


def write_metadata(path: Path, version: int) -> None:
    write_text(path, f'{{"version": {version}}}' * 100)


def write_style(path: Path, version: int) -> None:
    def fill(folder: Path) -> None:
        (folder / "network.onnx").write_bytes(pixels(version).tobytes())
        (folder / "style.json").write_text(f'{{"version": {version}}}')

    write_folder(path, fill)


def write_style_by_two_renames(path: Path, version: int) -> None:
    exchange, files._exchange = files._exchange, lambda first, second: False
    try:
        write_style(path, version)
    finally:
        files._exchange = exchange


WRITERS = {
    **{f"a.{suffix}": write_picture for suffix in ("png", "jpg", "webp", "tif", "bmp")},
    **{f"deep.{suffix}": write_deep_picture for suffix in ("png", "tif")},
    **{f"a.{suffix}": write_video for suffix in ("mp4", "webm")},
    "step_00000001.npz": write_state,
    "history.csv": write_history,
    "config.json": write_metadata,
    "style": write_style,
    "style2": write_style_by_two_renames,
}
writers = pytest.mark.parametrize(("name", "writer"), WRITERS.items(), ids=WRITERS)


def content(target: Path) -> object:
    """What is at a path: a file's bytes, the frames of a video, a folder's files, or None."""
    if target.suffix in (".mp4", ".webm") and target.exists():  # encoded by threads, with the time in it
        return [round(float(frame.mean())) for frame in video_frames(target)]
    if target.is_dir():
        return {path.name: path.read_bytes() for path in sorted(target.iterdir())}
    return target.read_bytes() if target.exists() else None


class Versions:
    """The two versions that a target may have."""

    def __init__(self, folder: Path, name: str, writer: Writer):
        self.target, self._writer = folder / name, writer
        self.old, self.new = (self._written(version) for version in (1, 2))
        assert self.old != self.new

    def _written(self, version: int):
        self.write(version)
        return content(self.target)

    def write(self, version: int) -> None:
        self._writer(self.target, version)

    def check(self) -> str:
        """Returns which version is there; fails if it is neither."""
        files.restore_retired(self.target)
        found = content(self.target)
        assert found in (self.old, self.new)
        return "old" if found == self.old else "new"

    def check_clean(self) -> None:
        """After the next start, nothing is left over."""
        files._swept.clear()
        self.write(2)
        assert content(self.target) == self.new
        assert {path.name for path in self.target.parent.iterdir()} <= {self.target.name, "source.mkv"}


class ShortRaw(io.FileIO):
    """A file on a disk with `space` bytes left. Writes the rest that fits first, as the system does."""

    space = 0

    def write(self, data) -> int:
        fits = bytes(data)[: self.space]
        if not fits and len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.space -= len(fits)
        return super().write(fits)


@writers
@pytest.mark.parametrize("space", [0, 1, 300, 700])
def test_a_disk_that_fills_keeps_the_old_version(tmp_path, monkeypatch, name, writer, space):
    versions = Versions(tmp_path, name, writer)
    versions.write(1)

    def open_short(descriptor, mode="r", **options):
        if mode != "wb":
            return builtins.open(descriptor, mode, **options)
        raw = ShortRaw(descriptor, "wb", **options)
        raw.space = space
        return io.BufferedWriter(raw)

    def write_bytes(path: Path, data: bytes) -> int:
        with open_short(os.open(path, os.O_WRONLY | os.O_CREAT), "wb") as stream:
            return stream.write(data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "open", open_short, raising=False)
        patch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises((OSError, ValueError), match="No space left"):
            versions.write(2)
    assert versions.check() == "old"
    assert content(versions.target) == versions.old
    versions.check_clean()


CALLS = ("open", "fsync", "replace", "rename", "mkdir", "stat", "unlink", "fstat")


@contextmanager
def failing_call(number: int, code: int) -> Iterator[list[str]]:
    """The system call with this number fails; gives the names of the calls so far."""
    made: list[str] = []
    originals = {name: getattr(os, name) for name in CALLS}

    def failing(name: str):
        def call(*arguments, **options):
            made.append(name)
            if len(made) == number:
                raise OSError(code, os.strerror(code))
            return originals[name](*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, failing(name))
    try:
        yield made
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


@writers
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_system_call_that_fails_leaves_the_old_or_the_new_version(tmp_path, name, writer, code):
    versions = Versions(tmp_path, name, writer)
    with failing_call(0, code) as made:
        versions.write(2)
    assert len(made) >= 4
    for number in range(1, len(made) + 1):
        versions.write(1)
        error = None
        with failing_call(number, code):
            try:
                versions.write(2)
            except (OSError, ValueError) as caught:
                error = caught
        # Without an error the failure did not matter, for example in the search for leftovers.
        assert versions.check() == "new" if error is None else os.strerror(code) in str(error)
        versions.check()
        versions.check_clean()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", ["a.jpg", "config.json", "step_00000001.npz", "style", "style2"])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_version(tmp_path, name):
    versions = Versions(tmp_path, name, WRITERS[name])
    reached = []
    while True:
        files._swept.clear()
        versions.write(1)
        status = _status_of_child_killed_at(len(reached) + 1, lambda: versions.write(2))
        reached.append(versions.check())
        if not os.WIFSIGNALED(status):
            break
    assert os.waitstatus_to_exitcode(status) == 0
    assert reached[0] == "old" and reached[-1] == "new" and len(reached) > 30
    versions.check_clean()


def _status_of_child_killed_at(line: int, action: Callable[[], None]) -> int:
    """Runs `action` in a child, which is killed before the `line`-th line that it runs in files.py and locks.py."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    lines = 0
    places = {files.__file__, locks.__file__}

    def trace(frame, event, _argument):
        nonlocal lines
        if frame.f_code.co_filename not in places:
            return None
        lines += event == "line"
        if lines == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    files._swept.clear()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(None)
        os._exit(0)


FULL_DISK = """
import resource, sys
sys.path.insert(0, "tests")
from pathlib import Path
from conftest import _varied_network
from transformer.export.finished_style import export_style
folder = Path(sys.argv[1])
export_style(folder, _varied_network(1), {"name": "old"})
old = {path.name: path.read_bytes() for path in folder.iterdir()}
size = max(len(content) for content in old.values())
for limit in (0, 100, 1000, size // 4, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        export_style(folder, _varied_network(2), {"name": "new"})
    except OSError as error:
        print("refused", limit)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == old, limit
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], limit
"""


@pytest.mark.tensorflow
@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_style_that_does_not_fit_on_the_disk_keeps_the_old_one(tmp_path):
    import subprocess

    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "styles" / "a")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.count("refused") == 5


def test_a_cache_on_a_disk_that_fills_is_packed_again_later(tmp_path, monkeypatch, photo):
    paths = [photo(tmp_path / "photos" / f"{index}.png", seed=index) for index in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(files, "open", _open_full, raising=False)
        with pytest.raises(OSError, match="No space left"):
            list(PhotoCache(tmp_path / "cache", paths, 32).pack(1))
    cache = PhotoCache(tmp_path / "cache", paths, 32)
    assert cache.missing == [0, 1, 2]
    assert list(cache.pack(1)) == [1, 2, 3]
    assert not list((tmp_path / "cache").glob(".*"))


def _open_full(descriptor, mode="r", **options):
    raw = ShortRaw(descriptor, mode, **options)
    raw.space = 100
    return io.BufferedWriter(raw)


_MAY_OPEN = {
    "cli/train_cluster.py",  # logs of workers, to which lines are added as they come
    "cluster/painter.py",  # in a temporary folder, for one photo
    "cluster/style_parcel.py",  # in a temporary folder of a worker
    "system/files.py",  # the one function
    "system/console.py",  # standard streams
    "system/limits.py",  # /proc
    "transformer/export/base_folder.py",  # in the temporary folder that `write_folder` gives
    "transformer/export/finished_style.py",  # in the temporary folder that `write_folder` gives
    "transformer/inference/graph_process.py",  # in a temporary folder for the child process
}


def test_no_module_writes_files_around_the_one_function():
    found = []
    for folder in ("cli", "cluster", "data", "loss_net", "system", "transformer"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _writes(node):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert [place for place in found if place.partition(":")[0] not in _MAY_OPEN] == []
    assert any(place.startswith("system/files.py") for place in found)


def _writes(call: ast.Call) -> bool:
    """Whether a call opens a file by its name for writing; PyAV's open() writes to a stream that it is given."""
    function = ast.unparse(call.func)
    if function.endswith((".write_bytes", ".write_text")):
        return True
    modes = {
        value.value for value in call.args if isinstance(value, ast.Constant) and isinstance(value.value, str)
    }
    opens = function == "open" or function.endswith(".open")
    return opens and function not in ("os.open", "av.open") and any(set(mode) & set("wxa+") for mode in modes)
