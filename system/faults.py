"""Foreign exceptions: which of them mean that memory ran out, and each as one line of text."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from system.machine import NotEnoughMemory

# Failures to allocate that have no class of their own: of ONNX Runtime, libvips, C++ and threads.
_MEMORY_WORDS = (
    "failed to allocate",
    "bad_alloc",
    "out of memory",
    "cannot allocate",
    "can't start new thread",
)
_NATIVE_LIBRARIES = ("onnxruntime", "pyvips")
# TensorFlow reports these with the class that it also uses for memory.
_DISK_WORDS = ("No space left on device", "Disk quota exceeded", "Too many open files")


def is_memory_fault(error: BaseException) -> bool:
    """Returns whether memory could not be allocated, in Python, C++, TensorFlow, ONNX Runtime or libvips."""
    if isinstance(error, MemoryError):  # also std::bad_alloc
        return True
    if type(error).__name__ == "ResourceExhaustedError":
        return not any(words in str(error) for words in _DISK_WORDS)
    library = type(error).__module__.partition(".")[0]
    is_native = isinstance(error, RuntimeError) or library in _NATIVE_LIBRARIES
    return is_native and any(words in str(error).lower() for words in _MEMORY_WORDS)


@contextmanager
def memory_faults(remedy: str, *, what: str = "") -> Iterator[None]:
    """Within this context a failure to allocate becomes NotEnoughMemory: `what`, or else the reason, and `remedy`."""
    try:
        yield
    except NotEnoughMemory:
        raise
    except Exception as error:
        if not is_memory_fault(error):
            raise
        tensor = re.search(r"OOM when allocating tensor with shape\[[\d,]*\]", str(error))
        reason = tensor[0] if tensor else one_line(error, at_most=120)
        raise NotEnoughMemory(f"{what or f'not enough memory ({reason})'}; {remedy}") from error


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception's message, or the name of its class if it has no message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def one_line(error: BaseException, *, at_most: int = 200) -> str:
    """Returns the whole message on one line, cut to `at_most` characters, or the name of the class."""
    return " ".join(str(error).split())[:at_most] or type(error).__name__


def disk_fault(error: BaseException) -> str:
    """Returns why a file could not be written, for OSError and for TensorFlow's own errors.

    TensorFlow reports a full disk as ResourceExhaustedError with several lines of its own.
    """
    if isinstance(error, FileExistsError):  # of mkdir
        return "a part of its path is a file and not a folder"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return next((words for words in _DISK_WORDS if words in str(error)), first_line(error))
