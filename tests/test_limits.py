"""system/limits.py: what a process forbids itself."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have fewer limits")


def outcome(source: str, *arguments: object) -> str:
    """What a fresh Python process prints."""
    command = [sys.executable, "-c", f"from system.limits import *\n{source}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_more_memory_than_the_limit_cannot_be_allocated():
    source = """
limit_memory(100e6)
held = bytearray(50_000_000)
try:
    bytearray(200_000_000)
except MemoryError:
    print("refused")
"""
    assert outcome(source) == "refused"


def test_where_the_size_of_the_process_is_unknown_nothing_is_limited():
    source = """
from pathlib import Path
from system import machine
machine.PROCESS_DIR = Path("/nowhere")
limit_memory(1e6)
print(len(bytearray(200_000_000)))
"""
    assert outcome(source) == "200000000"


def test_an_infinite_limit_is_none():
    assert outcome("limit_memory(float('inf'))\nprint(len(bytearray(200_000_000)))") == "200000000"


def test_no_file_can_be_written_but_a_pipe_can(tmp_path):
    source = """
forbid_files()
try:
    with open(sys.argv[1], "wb") as file:
        file.write(b"content")
except OSError as error:
    print(error.strerror)
"""
    assert outcome("import sys\n" + source, tmp_path / "file") == "File too large"


def test_the_system_ends_this_process_first():
    source = """
import resource
end_first_without_memory()
print(open("/proc/self/oom_score_adj").read().strip(), resource.getrlimit(resource.RLIMIT_CORE)[0])
"""
    assert outcome(source) == "1000 0"
