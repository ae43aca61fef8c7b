"""What this process may use of the machine: CPU cores, memory, NVIDIA devices; and what it has used."""

import math
import os
import sys
from pathlib import Path

CGROUP_DIR = Path("/sys/fs/cgroup")
PROCESS_DIR = Path("/proc")
_UNLIMITED = 2**60  # bytes; version 1 of cgroups writes a huge number where there is no limit


class NotEnoughMemory(MemoryError):
    """Memory is too small or ran out: one line that is complete. It names the work and tells what to do."""


def available_cores() -> int:
    """Returns the CPU cores that this process may use, at least 1.

    Counts what CPU affinity (taskset) and the CPU quota of the cgroup (containers) leave.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_cpu_quota(folder) for folder in _cgroup_dirs("cpu")]
    return max(1, math.ceil(min([float(cores), *quotas])))


def has_fast_bfloat16() -> bool:
    """Returns whether the CPU multiplies bfloat16 numbers faster than float32; False where that is unknown."""
    return bool(_cpu_flags() & {"avx512_bf16", "amx_bf16"})


def vector_bits() -> int:
    """Returns the width of the CPU's vector instructions: 512 (AVX-512), 256 (AVX2), or 0 where that is unknown."""
    flags = _cpu_flags()
    return 512 if "avx512f" in flags else 256 if "avx2" in flags else 0


def _cpu_flags() -> set[str]:
    try:
        with (PROCESS_DIR / "cpuinfo").open(errors="replace") as lines:
            first = next((line for line in lines if line.startswith("flags")), "")  # all cores have the same
    except OSError:  # not Linux
        return set()
    return set(first.split())


def available_memory() -> float:
    """Returns the bytes that this process may still allocate; infinity where the system does not tell.

    The smallest of the free memory of the machine, what the memory limits of the cgroup leave, and what the limits of
    the process leave (ulimit -v and -d).
    """
    free = [_free_in_cgroup(folder) for folder in _cgroup_dirs("memory")]
    limits = [available_address_space(), _free_in_limit("RLIMIT_DATA", "VmData")]
    return max(0.0, min([_free_in_machine(), *limits, *free]))


def available_address_space() -> float:
    """Returns the bytes of address space that this process may still map (ulimit -v); infinity without a limit."""
    return _free_in_limit("RLIMIT_AS", "VmSize")


def mapped_memory() -> int | None:
    """Returns the bytes of address space that this process has mapped; None where that is unknown."""
    return _own_status().get("VmSize")


def peak_memory() -> int | None:
    """Returns the most bytes that this process has held in main memory so far; None where that is unknown."""
    if (
        peak := _own_status().get("VmHWM")
    ) is not None:  # that of getrusage includes the process that started this one
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def nvidia_devices() -> list[str]:
    """Returns the NVIDIA GPUs that the system shows to this process, by device path; driver or not.

    Empty where CUDA_VISIBLE_DEVICES hides all of them, which is a user's way to ask for the CPU.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    places = (Path("/dev").glob("nvidia[0-9]*"), (PROCESS_DIR / "driver/nvidia/gpus").glob("*"))
    return [] if hidden else sorted(str(path) for paths in places for path in paths)


def _free_in_machine() -> float:
    try:
        lines = (PROCESS_DIR / "meminfo").read_text(encoding="ascii").splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return math.inf


def _free_in_limit(limit_name: str, used_name: str) -> float:
    """What a limit of the process leaves. Where the use is unknown, it counts as 0."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    limit = resource.getrlimit(getattr(resource, limit_name))[0]
    return math.inf if limit == resource.RLIM_INFINITY else max(0.0, limit - _own_status().get(used_name, 0))


def _own_status() -> dict[str, int]:
    """The sizes in /proc/self/status in bytes, by name."""
    words = [line.split() for line in _lines(PROCESS_DIR / "self/status")]
    return {parts[0].rstrip(":"): 1024 * int(parts[1]) for parts in words if parts[2:] == ["kB"]}


def _free_in_cgroup(folder: Path) -> float:
    """The limit minus what is used; pages of files that were read count as free, as in MemAvailable."""
    for limit_file, usage_file in (
        ("memory.max", "memory.current"),  # version 2
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),  # version 1
    ):
        limit, usage = _number(folder / limit_file), _number(folder / usage_file)
        if limit < _UNLIMITED and usage < math.inf:
            return limit - usage + _reclaimable(folder)
    return math.inf


def _reclaimable(folder: Path) -> float:
    values = dict(line.split() for line in _lines(folder / "memory.stat"))
    return float(values.get("total_inactive_file", values.get("inactive_file", 0)))


def _cpu_quota(folder: Path) -> float:
    """Cores' worth of time that a cgroup allows."""
    words = " ".join(_lines(folder / "cpu.max")).split()  # version 2: quota or "max", period
    quota, period = (
        words if len(words) == 2 else (_number(folder / f"cpu.cfs_{part}_us") for part in ("quota", "period"))
    )
    is_limited = quota != "max" and 0 < float(quota) < math.inf
    return float(quota) / float(period) if is_limited else math.inf


def _cgroup_dirs(controller: str) -> list[Path]:
    """The folder of this process's cgroup and those above it, whose limits hold too, for version 1 or 2."""
    folders = []
    for line in _lines(PROCESS_DIR / "self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUP_DIR / controller if controllers else CGROUP_DIR
        own = root / path.lstrip("/")
        # In a container the path may be that of the host and missing here; the root is then the container's own.
        folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return folders


def _number(path: Path) -> float:
    """The number in a file; infinity for "max" and where there is none."""
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
