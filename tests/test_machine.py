"""system/machine.py: cores and memory as affinity and cgroups leave them."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from system import machine

ROOT = Path(__file__).resolve().parents[1]
GB = 2**30


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A function that writes files below fake /proc and /sys/fs/cgroup folders: {path: text}."""
    monkeypatch.setattr(machine, "PROCESS_DIR", tmp_path / "proc")
    monkeypatch.setattr(machine, "CGROUP_DIR", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def write(files: dict[str, str]) -> None:
        files = {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {64 * GB // 1024} kB\n", **files}
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return write


def test_without_cgroups_the_machine_is_the_limit(fake):
    fake({})
    assert machine.available_memory() == 64 * GB and machine.available_cores() == 16


def test_where_the_system_does_not_tell_memory_is_unlimited(fake):
    assert machine.available_memory() == math.inf


def test_the_memory_limit_of_a_container_counts(fake):
    fake(
        {
            "proc/self/cgroup": "0::/\n",
            "cgroup/memory.max": str(4 * GB),
            "cgroup/memory.current": str(3 * GB),
            "cgroup/memory.stat": f"anon 1\ninactive_file {GB // 2}\n",
        }
    )
    assert machine.available_memory() == 1.5 * GB


def test_the_limit_of_a_cgroup_above_counts_too(fake):
    fake(
        {
            "proc/self/cgroup": "0::/user/job\n",
            "cgroup/user/job/memory.max": "max\n",
            "cgroup/user/memory.max": str(2 * GB),
            "cgroup/user/memory.current": str(GB),
        }
    )
    assert machine.available_memory() == GB


def test_version_1_of_cgroups_counts(fake):
    fake(
        {
            "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n",
            "cgroup/memory/job/memory.limit_in_bytes": str(5 * GB),
            "cgroup/memory/job/memory.usage_in_bytes": str(2 * GB),
            "cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "cgroup/memory/memory.usage_in_bytes": str(50 * GB),
            "cgroup/cpu/job/cpu.cfs_quota_us": "250000",
            "cgroup/cpu/job/cpu.cfs_period_us": "100000",
            "cgroup/cpu/cpu.cfs_quota_us": "-1",
            "cgroup/cpu/cpu.cfs_period_us": "100000",
        }
    )
    assert machine.available_memory() == 3 * GB and machine.available_cores() == 3


def test_a_limit_that_is_passed_leaves_nothing(fake):
    fake({"proc/self/cgroup": "0::/\n", "cgroup/memory.max": "100", "cgroup/memory.current": "200"})
    assert machine.available_memory() == 0


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("10000 100000", 1), ("max 100000", 16)])
def test_the_cpu_quota_of_a_container_counts(fake, quota, cores):
    fake({"proc/self/cgroup": "0::/\n", "cgroup/cpu.max": f"{quota}\n"})
    assert machine.available_cores() == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_affinity_counts():
    core = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, [{core}]); from system.machine import available_cores;"
        "print(available_cores())"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert completed.stdout.strip() == "1"


def test_the_peak_grows_with_what_is_held():
    code = (
        "from system.machine import peak_memory; before = peak_memory(); block = b'x' * 300_000_000;"
        "print(peak_memory() - before)"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 2.9e8 < int(completed.stdout) < 3.3e8


def test_a_gpu_that_the_user_hides_is_not_missed(fake, monkeypatch):
    fake({"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: H200"})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert any("0000:01:00.0" in device for device in machine.nvidia_devices())
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert machine.nvidia_devices() == []


@pytest.mark.parametrize(
    ("flags", "is_fast"),
    [("fpu avx512_bf16 sse", True), ("amx_tile amx_bf16", True), ("avx512f avx512_bf16x", False)],
)
def test_fast_bfloat16_is_read_from_the_flags_of_the_cpu(fake, flags, is_fast):
    fake({"proc/cpuinfo": f"model name : amx_bf16 like\nflags\t\t: {flags}\nbugs : amx_bf16\n"})
    assert machine.has_fast_bfloat16() is is_fast


def test_without_cpuinfo_bfloat16_counts_as_slow(fake):
    assert machine.has_fast_bfloat16() is False


@pytest.mark.parametrize("flags, bits", [("fpu avx2 avx512f", 512), ("fpu avx avx2", 256), ("fpu avx", 0)])
def test_the_width_of_vectors_is_read_from_the_flags_of_the_cpu(fake, flags, bits):
    fake({"proc/cpuinfo": f"model name : avx512f like\nflags\t\t: {flags}\n"})
    assert machine.vector_bits() == bits


def test_without_cpuinfo_the_width_of_vectors_is_unknown(fake):
    fake({})
    assert machine.vector_bits() == 0
