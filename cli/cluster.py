"""train.py as one worker of several: which of them writes, and how a worker waits for a lost one."""

import os
import sys
from typing import NoReturn

from cli.flags import UsageError, report
from system.program import prog


def is_chief() -> bool:
    """Whether this process is the one that writes. Raises UsageError for a TF_CONFIG that is not understood."""
    return _place()[0] == 0


def cluster_size() -> int:
    """The number of workers. Raises UsageError for a TF_CONFIG that is not understood."""
    return _place()[1]


def _place() -> tuple[int, int]:
    if "TF_CONFIG" not in os.environ:
        return 0, 1
    from transformer.training.cluster_config import cluster_of_environment

    try:
        return cluster_of_environment()
    except ValueError as error:
        raise UsageError(str(error)) from error


def restart_worker() -> NoReturn:
    """Replaces this process by the same command with --resume, which waits until all workers are there."""
    report(prog("train"), "a worker was lost; waiting until it is back")
    resume = [] if any(part.startswith("--resume") for part in sys.argv) else ["--resume=auto"]
    os.execv(sys.executable, [*sys.orig_argv, *resume])
