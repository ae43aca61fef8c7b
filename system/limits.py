"""Limits that a process sets for itself before it does work that it does not trust. Linux; fewer on other systems."""

import contextlib
import signal
import sys
from pathlib import Path

from system.machine import mapped_memory


def limit_memory(more_bytes: float) -> None:
    """Lets this process take at most `more_bytes` of address space beyond what it has; allocations then fail.

    Does nothing where the system does not support it (macOS, Windows).
    """
    mapped = mapped_memory()
    if mapped is not None and mapped + more_bytes < sys.maxsize:
        _limit("RLIMIT_AS", int(mapped + more_bytes))


def forbid_files() -> None:
    """Lets this process write no more bytes to files; pipes still work."""
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _limit("RLIMIT_FSIZE", 0)


def end_first_without_memory() -> None:
    """Makes this process the first that the system ends when memory runs out, and the end leaves no core file."""
    _limit("RLIMIT_CORE", 0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit(name: str, value: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    kind = getattr(resource, name)
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, hard))
