"""system/tensorflow_start.py: quiet, but not about a GPU that is there and cannot be used."""

import logging
import os
import subprocess
import tempfile

import pytest

from system import tensorflow_start
from system.tensorflow_start import start_tensorflow

MESSAGES = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1 port.cc:153] oneDNN custom operations are on.
W0000 00:00:2 gpu_device.cc:2342] Cannot dlopen some GPU libraries. Please make sure they are installed.
E0000 00:00:3 cuda_executor.cc:1] failed call to cuInit: UNKNOWN ERROR (303)
E0000 00:00:3 cuda_executor.cc:1] failed call to cuInit: UNKNOWN ERROR (303)
"""


@pytest.fixture
def probe(monkeypatch):
    """The process that asks TensorFlow for its reasons is replaced; what it was started with."""
    calls = []

    def run(command, **options):
        calls.append(options)
        return subprocess.CompletedProcess(command, 0, "", MESSAGES)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_a_gpu_that_cannot_be_used_is_said_with_tensorflows_reasons(monkeypatch, probe, caplog):
    monkeypatch.setattr(tensorflow_start, "nvidia_devices", lambda: ["/dev/nvidia0"])
    assert start_tensorflow() == "CPU"
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    lines = record.getMessage().splitlines()
    assert (
        "found no GPU although this machine has /dev/nvidia0" in lines[0]
        and "tensorflow[and-cuda]" in lines[0]
    )
    assert ["Cannot dlopen some GPU libraries" in line for line in lines[1:]] == [True, False]
    assert "cuInit" in lines[2]
    assert probe[-1]["env"]["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_a_machine_without_a_gpu_is_left_in_peace(monkeypatch, probe, caplog):
    monkeypatch.setattr(tensorflow_start, "nvidia_devices", lambda: [])
    assert start_tensorflow() == "CPU"
    assert not caplog.records and not probe


def test_a_probe_that_fails_costs_nothing_but_its_reasons(monkeypatch, caplog):
    def fail(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(tensorflow_start, "nvidia_devices", lambda: ["/dev/nvidia0"])
    assert start_tensorflow() == "CPU"
    assert "no more processes" in caplog.text


def test_what_is_written_to_stderr_at_the_start_is_shown_only_on_failure(capfd):
    with tensorflow_start._stderr_shown_on_failure():
        os.write(2, b"chatter\n")
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError), tensorflow_start._stderr_shown_on_failure():
        os.write(2, b"the reason\n")
        raise ImportError
    assert capfd.readouterr().err == "the reason\n"


def test_tensorflow_starts_where_its_messages_cannot_be_held_back(monkeypatch):
    def fail():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    assert start_tensorflow() == "CPU"


def test_the_probe_imports_nothing_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "colorsys.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        tensorflow_start, "_PROBE", "import colorsys, sys; sys.stderr.write('] gpu is there')"
    )
    assert tensorflow_start._gpu_messages() == ["] gpu is there"]
    assert not (tmp_path / "ran").exists()
