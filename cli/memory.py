"""Memory: an absurd size is refused before the work, and a failure to allocate is one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from system import machine
from system.faults import one_line
from system.machine import NotEnoughMemory


def check_free(what: str, needed: float, remedy: str, *, tolerance: float = 1.0) -> None:
    """Raises NotEnoughMemory if `what` needs more than `tolerance` times the free memory. needed: bytes."""
    free = machine.available_memory()
    if needed > tolerance * free:
        raise NotEnoughMemory(
            f"{what} about {needed / 1e9:,.1f} GB of memory, {free / 1e9:.1f} GB are free; {remedy}"
        )


def is_cpu_only() -> bool:
    """Whether TensorFlow can only compute in main memory; asked before TensorFlow is imported."""
    return not machine.nvidia_devices()


@contextmanager
def memory_faults(remedy: str) -> Iterator[None]:
    """Within this context a failure to allocate, in Python, C++ or TensorFlow, is one line that ends with `remedy`."""
    try:
        yield
    except NotEnoughMemory:
        raise
    except Exception as error:
        if not is_memory_fault(error):
            raise
        tensor = re.search(r"OOM when allocating tensor with shape\[[\d,]*\]", str(error))
        reason = tensor[0] if tensor else one_line(error, at_most=120)
        raise NotEnoughMemory(f"not enough memory ({reason}); {remedy}") from error


def is_memory_fault(error: Exception) -> bool:
    """Whether an exception means that memory could not be allocated. std::bad_alloc arrives as a MemoryError."""
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
