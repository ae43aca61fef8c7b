"""train.py as one worker of several, as TF_CONFIG says: which of them writes, and what becomes of one that is lost."""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from cli.flags import UsageError, report
from system.program import prog
from transformer.training.cluster_config import LOST_STATUS, is_restarted_by_starter


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


def status_of(train: Callable[[], int]) -> int:
    """The exit status of train(); LOST_STATUS where another worker was lost and the starter restarts all of them."""
    try:
        return train()
    except Exception as error:
        if not is_restarted_by_starter() or cluster_size() == 1 or not _means_lost_worker(error):
            raise
        reason = " ".join(str(error).split())[:200]
        report(prog("train"), f"another worker was lost ({type(error).__name__}: {reason})")
        return LOST_STATUS


def wait_for_others(cluster: Any) -> None:
    """Waits at the end for the other workers. The chief, whose style is written, is done if one of them is lost."""
    try:
        cluster.wait_for_all()
    except Exception as error:
        if not (is_restarted_by_starter() and cluster.is_chief and _means_lost_worker(error)):
            raise


def _means_lost_worker(error: Exception) -> bool:
    if "tensorflow" not in sys.modules:
        return False
    from transformer.training.distribution import LOST_WORKER

    return isinstance(error, LOST_WORKER)
