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


def check_memory(what: str, needed: float, remedy: str, allowed: float | None) -> None:
    """Like `check_free`; raises NotEnoughMemory too if more than `allowed` GB are needed and that is given."""
    if allowed is not None and needed > allowed * 1e9:
        raise NotEnoughMemory(
            f"{what} about {needed / 1e9:,.1f} GB of memory, --max-memory allows {allowed:g} GB; {remedy}"
        )
    check_free(what, needed, remedy)


def is_cpu_only() -> bool:
    """Whether TensorFlow can only compute in main memory; asked before TensorFlow is imported."""
    return not machine.nvidia_devices()
