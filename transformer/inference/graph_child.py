"""The child process that runs a foreign graph: stdin brings settings and images, stdout returns pictures.

graph_process.py starts this file as a program, with the folder of our modules and its place in sys.path. The process
ends when stdin does, even while a graph runs.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO


def serve() -> None:
    """Loads a graph and stylizes images with it until stdin ends."""
    from system.faults import memory_faults
    from transformer.inference import graph_frames as frames
    from transformer.inference.onnx_session import FOREIGN_MEMORY_REMEDY

    replies = _own_stdout()
    messages: queue.SimpleQueue = queue.SimpleQueue()  # of (kind, content)
    threading.Thread(target=_receive, args=(sys.stdin.buffer, messages), daemon=True).start()
    try:
        with memory_faults(FOREIGN_MEMORY_REMEDY):
            stylize, device = _load(messages)
    except Exception as error:
        _send_error(replies, error)
        return
    frames.write_frame(replies, frames.READY_ON_GPU if device == "GPU" else frames.READY)
    while True:
        _, content = messages.get()
        try:
            with memory_faults(FOREIGN_MEMORY_REMEDY):
                pictures = stylize(frames.unpacked_images(content))
        except Exception as error:
            _send_error(replies, error)
        else:
            frames.write_frame(replies, frames.PICTURES, frames.pixels_of(pictures))


def _own_stdout() -> BinaryIO:
    """Returns stdout as a stream that only this module writes to; what libraries print goes to stderr."""
    stream = os.fdopen(os.dup(1), "wb")
    try:
        os.dup2(2, 1)
    except OSError:  # stderr is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return stream


def _receive(requests: BinaryIO, messages: queue.SimpleQueue) -> None:
    """Puts what arrives into `messages`; ends the process when the stream ends, whatever other threads do."""
    from transformer.inference import graph_frames as frames

    try:
        while True:
            kind, length = frames.read_header(requests)
            messages.put((kind, frames.read_exactly(requests, length)))
    except (EOFError, OSError, MemoryError):
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def _send_error(replies: BinaryIO, error: Exception) -> None:
    from system.faults import one_line
    from transformer.inference import graph_frames as frames

    kind = frames.NO_MEMORY if isinstance(error, MemoryError) else frames.REFUSED
    frames.write_frame(replies, kind, frames.text_bytes(one_line(error, at_most=1000)))


def _load(messages: queue.SimpleQueue) -> tuple[Callable, str]:
    """Returns the function that stylizes images with the graph that the first messages describe, and its device."""
    from system.limits import end_first_without_memory

    _, content = messages.get()
    settings = json.loads(content)
    end_first_without_memory()
    load = _load_onnx if settings["runtime"] == "onnx" else _load_tensorflow
    return load(settings, messages)


def _load_onnx(settings: Mapping, messages: queue.SimpleQueue) -> tuple[Callable, str]:
    from transformer.inference.foreign_onnx import OnnxGraphStylizer

    _, content = messages.get()
    _limit(settings, uses_gpu=False)
    stylize = OnnxGraphStylizer(
        bytes(content), Path(settings["path"]), threads=settings["threads"], trust=settings["trust"]
    )
    return stylize, "CPU"


def _load_tensorflow(settings: Mapping, messages: queue.SimpleQueue) -> tuple[Callable, str]:
    from system.program import install_line
    from system.tensorflow_start import start_tensorflow
    from transformer.export.style_folder import StyleError

    try:
        device = start_tensorflow()
        from transformer.inference.foreign_graph import MetaGraphStylizer
    except ImportError as error:
        raise StyleError(
            f"TensorFlow is not installed, and --runtime tensorflow needs it; run {install_line('train')}"
        ) from error
    messages.get()  # the folder is complete
    _limit(settings, uses_gpu=device == "GPU")
    stylize = MetaGraphStylizer(
        Path(settings["folder"]), trust=settings["trust"], named=Path(settings["path"])
    )
    return stylize, device


def _limit(settings: Mapping, *, uses_gpu: bool) -> None:
    """Limits the memory of this process; unless the graph is trusted, it can neither write files nor print."""
    from system.limits import forbid_files, limit_memory

    if settings["memory"] is not None and not uses_gpu:  # GPUs need far more address space than memory
        limit_memory(settings["memory"])
    if not settings["trust"]:
        forbid_files()
        for descriptor in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent  # whose modules must not hide those of libraries
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]
    sys.path.insert(int(sys.argv[2]), sys.argv[1])
    serve()
