"""Starts TensorFlow without its start-up messages, and tells why it found no GPU where there should be one."""

import contextlib
import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator

from system.child_python import run_python
from system.held_stderr import stderr_held
from system.machine import NotEnoughMemory, available_address_space, nvidia_devices

# What the messages of TensorFlow about missing GPU libraries contain.
_GPU_WORDS = ("cuda", "cudnn", "cublas", "gpu", "libnv", "tensorrt", "dlopen", "dso")
_PROBE = "import tensorflow as tf; tf.config.list_physical_devices('GPU')"
_PROBE_SECONDS = 120
ADDRESS_SPACE = (
    2.6e9  # bytes that TensorFlow 2.21 maps when it is imported and computes: measured on Linux, two cores
)

logger = logging.getLogger(__name__)


def start_tensorflow(*, one_op_at_a_time: bool = False, joins_cluster: bool = False) -> str:
    """Imports TensorFlow and finds its devices; returns "GPU" or "CPU".

    one_op_at_a_time: operations run one after the other, each on all cores. This is faster for one graph of large
    convolutions, and slower where a tf.data pipeline runs at the same time.
    joins_cluster: nothing is computed yet, because a process must join its cluster first.
    Messages that TensorFlow writes to stderr meanwhile are shown only if it fails. Where the machine has an NVIDIA
    GPU and TensorFlow cannot use it, a warning is logged with TensorFlow's reasons.
    Raises MemoryError if the limit of the address space is too low for TensorFlow, which would end the process.
    """
    _check_address_space()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _stderr_shown_on_failure():
        import tensorflow as tf

        if one_op_at_a_time:
            with contextlib.suppress(RuntimeError):  # TensorFlow runs already and keeps its setting
                tf.config.threading.set_inter_op_parallelism_threads(1)
        if not joins_cluster:
            tf.constant(0.0)  # the first tensor makes TensorFlow look for devices
        device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if device == "CPU" and (devices := nvidia_devices()):
        _warn_of_unused_gpu(devices)
    return device


def _check_address_space() -> None:
    free = available_address_space()
    if "tensorflow" not in sys.modules and free < ADDRESS_SPACE:
        raise NotEnoughMemory(
            f"TensorFlow needs about {ADDRESS_SPACE / 1e9:g} GB of address space, the limit of this process leaves"
            f" {free / 1e9:.1f} GB; raise the limit (ulimit -v)"
        )


def _warn_of_unused_gpu(devices: list[str]) -> None:
    reasons = "".join(f"\n  {line}" for line in _gpu_messages()) or " TensorFlow gives no reason."
    logger.warning(
        "the CPU is used: TensorFlow found no GPU although this machine has %s. Install the GPU libraries with"
        ' `pip install "tensorflow[and-cuda]"` and check the driver with `nvidia-smi`. TensorFlow reports:%s',
        ", ".join(devices),
        reasons,
    )


def _gpu_messages() -> list[str]:
    """TensorFlow's messages about GPUs at start-up, from a process of its own.

    This process has set a log level that hides most of them, and TensorFlow reads it only once.
    """
    try:
        probe = run_python(
            _PROBE,
            seconds=_PROBE_SECONDS,
            more_memory=math.inf,  # CUDA reserves more address space than there is memory, and fails with a limit
            environment={"TF_CPP_MIN_LOG_LEVEL": "0"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [f"(the check failed: {error})"]
    lines = {line.partition("] ")[2]: line.strip() for line in probe.stderr.splitlines()}  # each message once
    return [line for line in lines.values() if any(word in line.lower() for word in _GPU_WORDS)]


@contextlib.contextmanager
def _stderr_shown_on_failure() -> Iterator[None]:
    """Shows what is written to stderr meanwhile only if an exception leaves the context."""
    try:
        with stderr_held() as written:
            yield
    except Exception:
        sys.stderr.write(written())
        raise
