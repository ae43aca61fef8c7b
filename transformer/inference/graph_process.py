"""Runs foreign graphs in a child process that can be ended: by Ctrl-C, after a time limit, or by its own crash.

A graph is a program, even if all its operations are harmless: it may run for ever, take all memory, or crash the
runtime. The child process checks the graph again and runs it, see graph_child.py. It has a memory limit where the
system supports one. What it sends is not trusted: pictures are raw pixels of the expected number, errors are text.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from system.machine import NotEnoughMemory, available_cores, available_memory
from system.program import ROOT, ROOT_INDEX
from transformer.export.checksums import read_files
from transformer.export.style_folder import META_FILES, ONNX_FILE, StyleError
from transformer.inference import graph_frames as frames
from transformer.inference.devices import CPU, Device
from transformer.inference.limits import AUTO, ONNX, TENSORFLOW
from transformer.inference.onnx_session import FOREIGN_MEMORY_REMEDY
from transformer.inference.session import GpuError, GpuUse

CHILD = Path(__file__).with_name("graph_child.py")
END_SECONDS = 5.0  # for a process that has closed its streams
LOAD_SECONDS = 180.0  # for the import of TensorFlow from a slow disk, and the graph
RUN_SECONDS, RUN_SECONDS_PER_MEGAPIXEL = 60.0, 120.0  # ten times what our own graph takes on one slow core
MORE_ADDRESS_SPACE = 2e9  # bytes that threads and allocators reserve beyond the memory they use
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
RUNTIME_NAMES = {ONNX: "ONNX Runtime", TENSORFLOW: "TensorFlow"}
Result = TypeVar("Result")


@dataclass(frozen=True)
class ForeignGraph:
    """A graph that this project did not write: its folder, the runtime it needs, and whether the user trusts it.

    content: the bytes of an .onnx file, which have been read and compared already. device: of TensorFlow; ONNX graphs
    run on the CPU. gpu: is told if a GPU was asked for and cannot be used.
    """

    style_dir: Path
    runtime: str  # "onnx" or "tensorflow"
    trust: bool
    content: bytes = b""
    device: Device = Device(AUTO)
    gpu: GpuUse = field(default_factory=lambda: GpuUse(lambda line: None))

    @property
    def path(self) -> Path:
        """What messages name."""
        return self.style_dir / ONNX_FILE if self.runtime == ONNX else self.style_dir

    @contextlib.contextmanager
    def private_folder(self) -> Iterator[str]:
        """Gives a folder with copies of the meta graph's files, which nobody can change any more; "" for .onnx."""
        if self.runtime == ONNX:
            yield ""
            return
        contents = read_files(self.style_dir, META_FILES)
        try:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in contents.items():
                    (Path(folder) / name).write_bytes(content)
                yield folder
        except OSError as error:
            raise StyleError(
                f"{self.style_dir}: cannot be copied to the folder for temporary files: {error.strerror or error}; free"
                " some space or set TMPDIR"
            ) from error


class ForeignNetwork:
    """Callable: images [N, H, W, 3], RGB float32 0..255 -> stylized images of the same shape, by a child process.

    Threads may share it; their images are computed one after the other, each on all cores. After a crash or a time
    limit the next call starts another child.
    Raises StyleError if the graph is refused, crashes or takes too long, MemoryError if memory runs out.
    """

    def __init__(self, graph: ForeignGraph):
        self._graph, self._lock = graph, threading.Lock()
        self._is_stopped = False
        self._child = _Child(graph)

    def stop(self) -> None:
        """Ends the child; the calls of other threads and all later calls fail."""
        self._is_stopped = True
        self._child.end()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with self._lock:
            if self._is_stopped:
                raise StyleError(f"{self._graph.path}: the graph was stopped")
            if self._child.has_ended:
                self._child = _Child(self._graph)
            if self._is_stopped:  # meanwhile
                self._child.end()
            try:
                return self._child.stylized(images)
            except NotEnoughMemory as error:
                if not self._child.is_on_gpu:
                    raise
                self._graph.gpu.give_up(error)
            self._child.end()
            self._graph = replace(self._graph, device=Device(CPU))
            self._child = _Child(self._graph)
            return self._child.stylized(images)


class _Child:
    """One child process and its graph."""

    def __init__(self, graph: ForeignGraph):
        self._graph = graph
        with graph.private_folder() as folder:
            self._process = _started(graph)
            self._end = weakref.finalize(self, _end, self._process)
            try:
                self._asked(LOAD_SECONDS, lambda: self._send_graph(folder), self._read_ready)
            except BaseException:
                self._end()
                raise

    def end(self) -> None:
        """Ends the process."""
        self._end()

    @property
    def has_ended(self) -> bool:
        return not self._end.alive or self._process.poll() is not None

    def stylized(self, images: np.ndarray) -> np.ndarray:
        """Returns stylized images; see ForeignNetwork."""
        count, height, width = images.shape[:3]
        seconds = RUN_SECONDS + RUN_SECONDS_PER_MEGAPIXEL * count * height * width / 1e6

        def send() -> None:
            frames.write_frame(self._process.stdin, frames.IMAGES, *frames.packed_images(images))

        return self._asked(seconds, send, lambda: self._read_pictures(images.shape))

    def _send_graph(self, folder: str) -> None:
        graph, memory = self._graph, available_memory() + MORE_ADDRESS_SPACE
        settings = {
            "runtime": graph.runtime,
            "path": str(graph.path),
            "folder": folder,
            "trust": graph.trust,
            "threads": available_cores(),
            "memory": memory if math.isfinite(memory) else None,
        }
        frames.write_frame(self._process.stdin, frames.SETTINGS, json.dumps(settings).encode())
        frames.write_frame(self._process.stdin, frames.MODEL, graph.content)

    def _read_ready(self) -> None:
        ready = self._read_expected((frames.READY, frames.READY_ON_GPU), 0)
        self.is_on_gpu = ready == frames.READY_ON_GPU
        if self._graph.device.is_gpu and not self.is_on_gpu:
            is_onnx = self._graph.runtime == ONNX
            why = "graphs of other programs run on the CPU" if is_onnx else "TensorFlow finds none here"
            self._graph.gpu.give_up(GpuError(why))

    def _read_pictures(self, shape: tuple[int, ...]) -> np.ndarray:
        pictures = np.empty(shape, np.float32)
        self._read_expected((frames.PICTURES,), pictures.nbytes)
        frames.read_into(self._process.stdout, frames.pixels_of(pictures))
        return pictures

    def _read_expected(self, expected: tuple[bytes, ...], expected_length: int) -> bytes:
        """Reads the start of a message of one of these kinds and this length, and returns the kind.

        Raises what another message tells.
        """
        kind, length = frames.read_header(self._process.stdout)
        if kind in expected and length == expected_length:
            return kind
        if kind not in (frames.REFUSED, frames.NO_MEMORY) or length > frames.MAX_TEXT_BYTES:
            raise StyleError(f"{self._graph.path}: the graph's process sent a malformed answer and was ended")
        text = frames.one_line_of(frames.read_exactly(self._process.stdout, length))
        raise _Told(StyleError(text) if kind == frames.REFUSED else NotEnoughMemory(text))

    def _asked(self, seconds: float, send: Callable[[], None], receive: Callable[[], Result]) -> Result:
        """Sends a message and returns what `receive` makes of the answer.

        Ends the child if anything fails, signals included, unless the child itself has told what.
        """
        deadline = _Deadline(math.inf if self._graph.trust else seconds, self._process)
        try:
            with deadline:
                send()
                return receive()
        except _Told as told:
            raise told.error from None
        except (EOFError, OSError):
            raise self._death(deadline) from None
        except BaseException:
            self._end()
            raise
        finally:
            if deadline.has_passed:  # perhaps just after the answer
                self._end()

    def _death(self, deadline: "_Deadline") -> Exception:
        """Ends a child whose streams are closed; returns the error that says why it has ended."""
        path = self._graph.path
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return StyleError(
                f"{path}: the graph's process stopped answering and was ended; use another export of the style"
            )
        finally:
            self._end()
        if deadline.has_passed:
            return StyleError(
                f"{path}: the graph was ended because it took longer than {deadline.seconds:.0f} s; use a smaller"
                " picture (--max-side), or --trust, which lifts the limit"
            )
        if status == -getattr(signal, "SIGKILL", 9):
            return NotEnoughMemory(
                f"{path}: the system ended the graph's process, probably because memory ran out;"
                f" {FOREIGN_MEMORY_REMEDY}"
            )
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return StyleError(
            f"{path}: the graph crashed {RUNTIME_NAMES[self._graph.runtime]} ({how}); it is damaged or needs too much"
            " memory; use another export of the style or a smaller picture"
        )


class _Told(Exception):
    """The child has answered with an error, and waits for the next images."""

    def __init__(self, error: Exception):
        super().__init__()
        self.error = error


class _Deadline:
    """Within this context the process is killed after `seconds`, never later; `has_passed` says that it was."""

    def __init__(self, seconds: float, process: subprocess.Popen):
        self.seconds, self.has_passed = seconds, False
        self._process, self._lock, self._is_over = process, threading.Lock(), False

    def __enter__(self) -> None:
        self._timer = threading.Timer(min(self.seconds, threading.TIMEOUT_MAX), self._kill)
        self._timer.daemon = True
        self._timer.start()

    def __exit__(self, *_) -> None:
        self._timer.cancel()
        with self._lock:
            self._is_over = True

    def _kill(self) -> None:
        with self._lock:
            if not self._is_over:
                self.has_passed = True
                self._process.kill()


def _started(graph: ForeignGraph) -> subprocess.Popen:
    # Few arenas, because each reserves address space, which is limited. A session of its own, because a Ctrl-C at the
    # terminal is for the parent, which then ends the child.
    try:
        return subprocess.Popen(
            [sys.executable, str(CHILD), str(ROOT), str(ROOT_INDEX)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "MALLOC_ARENA_MAX": "4", **_visible_gpus(graph.device)},
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        raise StyleError(
            f"{graph.path}: no process can be started for the graph: {error.strerror or error}; close other programs"
        ) from error


def _visible_gpus(device: Device) -> dict[str, str]:
    """Returns the environment variables that make TensorFlow use a device, those of CUDA and of ROCm."""
    if device.kind == CPU:
        return dict.fromkeys(GPU_VARIABLES, "-1")
    if device.number is None:
        return {}
    visible = {}
    for name in GPU_VARIABLES:
        if name not in os.environ:
            visible[name] = str(device.number)
            continue
        # The user has hidden some GPUs, or all: gpu:1 is then the second of the others.
        given = [part for part in os.environ[name].split(",") if part]
        visible[name] = given[device.number] if device.number < len(given) else "-1"
    return visible


def _end(process: subprocess.Popen) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError, ValueError):  # what is not written yet cannot be written any more
            stream.close()
    process.wait()
