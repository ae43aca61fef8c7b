"""cli/memory.py and system/faults.py: what is too large is refused in one line, a failure to allocate becomes one."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.memory import check_free
from system import machine
from system.faults import disk_fault, is_memory_fault, memory_faults
from system.machine import NotEnoughMemory

ROOT = Path(__file__).resolve().parents[1]


class ResourceExhaustedError(Exception):
    """Stands for TensorFlow's class of this name."""


def test_what_fits_passes_and_what_does_not_is_named_with_figures_and_remedy(monkeypatch):
    monkeypatch.setattr(machine, "available_memory", lambda: 2e9)
    check_free("the work needs", 2e9, "do less")
    check_free("the work needs", 3e9, "do less", tolerance=1.5)
    with pytest.raises(MemoryError) as caught:
        check_free("the work needs", 9e15, "do less")
    assert str(caught.value) == "the work needs about 9,000,000.0 GB of memory, 2.0 GB are free; do less"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("std::bad_alloc"), "not enough memory (std::bad_alloc); do less"),
        (MemoryError(), "not enough memory (MemoryError); do less"),
        (
            ResourceExhaustedError(
                "Graph execution error:\n\nOOM when allocating tensor with shape[1,2] and type"
            ),
            "not enough memory (OOM when allocating tensor with shape[1,2]); do less",
        ),
        (NotEnoughMemory("the work needs 3 GB"), "the work needs 3 GB"),
    ],
)
def test_a_failure_to_allocate_is_one_line_with_the_remedy(error, words):
    with pytest.raises(MemoryError) as caught, memory_faults("do less"):
        raise error
    assert str(caught.value) == words


def native_error(module: str, text: str) -> Exception:
    return type("Fault", (Exception,), {"__module__": module})(text)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        native_error("onnxruntime.capi", "Failed to allocate memory for requested buffer of size 9"),
        native_error("pyvips.error", "out of memory --- size == 40MB"),
        ResourceExhaustedError("failed to allocate memory"),
    ],
)
def test_every_library_s_failure_to_allocate_is_recognized(error):
    assert is_memory_fault(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError("out of memory"),
        ValueError("out of memory.png: no such file"),
        native_error("onnxruntime.capi", "Invalid rank"),
        ResourceExhaustedError("/full/a.tmp; No space left on device"),
        ResourceExhaustedError("/many/a.tmp; Too many open files"),
    ],
)
def test_other_faults_are_none_of_the_memory(error):
    assert not is_memory_fault(error)


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_named_by_its_words(words):
    assert disk_fault(ResourceExhaustedError(f"lines\nof TensorFlow; {words}")) == words


def test_a_text_of_ours_is_complete_whatever_words_it_has_and_others_are_not():
    with pytest.raises(NotEnoughMemory, match="^no words of a remedy$"), memory_faults("do less"):
        raise NotEnoughMemory("no words of a remedy")
    with pytest.raises(NotEnoughMemory, match="do less$"), memory_faults("do less"):
        raise MemoryError("free some memory, --max-side")


def test_other_errors_stay_what_they_are():
    with pytest.raises(ValueError, match="something else"), memory_faults("do less"):
        raise ValueError("something else")


LIMITED = """
import resource, sys
sys.path.insert(0, ".")
resource.setrlimit(resource.{limit}, ({bytes}, {bytes}))
from system.machine import available_memory
print(available_memory())
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="the use of address space is read from /proc"
)
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_limits_of_the_process_count_as_memory(limit):
    program = LIMITED.format(limit=limit, bytes=400 * 2**20)
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 100 * 2**20 < float(printed.stdout) < 400 * 2**20


@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="the use of address space is read from /proc"
)
@pytest.mark.tensorflow
def test_tensorflow_is_not_started_where_its_address_space_is_limited(tiny_flags, tmp_path):
    program = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9));"
    program += " import train; sys.exit(train.main(sys.argv[1:]))"
    finished = subprocess.run(
        [sys.executable, "-c", program, *tiny_flags(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert "TensorFlow needs about 2.6 GB of address space" in line and "ulimit -v" in line
