"""Memory: an absurd size is refused before the work."""

from system import machine
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
