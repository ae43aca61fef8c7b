"""Reads TF_CONFIG, the environment variable that makes a process one worker of a cluster. Imports no TensorFlow."""

import os
import re
from typing import Any

from system.json_reader import parse_json

# Set in the environment of a worker whose starter, such as Ray, starts all workers again if one of them is lost. The
# others then end with LOST_STATUS, EX_TEMPFAIL of sysexits.h. Without it, they wait for the lost one.
RESTARTS_VARIABLE = "FAST_STYLE_TRANSFER_RESTARTS"
LOST_STATUS = 75


def is_restarted_by_starter() -> bool:
    """Returns whether the starter of this process starts all workers again if one is lost."""
    return bool(os.environ.get(RESTARTS_VARIABLE))


def cluster_of_environment() -> tuple[int, int]:
    """Returns (index of this worker, number of workers) from TF_CONFIG; (0, 1) if the variable is not set.

    Raises ValueError if its value does not describe a worker.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0, 1
    try:
        return _task_of(parse_json(text))
    except ValueError as error:
        raise ValueError(
            f"TF_CONFIG cannot be understood ({error}); it must look like"
            ' {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
        ) from error


def _task_of(config: Any) -> tuple[int, int]:
    """(index of this worker, number of workers). Raises ValueError."""
    cluster, task = (_object_at(config, key) for key in ("cluster", "task"))
    workers, index = cluster.get("worker"), task.get("index")
    if list(cluster) != ["worker"] or not isinstance(workers, list) or not workers:
        raise ValueError("the cluster must have workers and nothing else")
    if not all(
        isinstance(address, str) and re.fullmatch(r"[\w.\[\]:-]+:\d{1,5}", address) for address in workers
    ):
        raise ValueError("each worker must be a text HOST:PORT")
    if task.get("type") != "worker" or type(index) is not int or not 0 <= index < len(workers):
        raise ValueError("the task must be one of the workers")
    return index, len(workers)


def _object_at(config: Any, key: str) -> dict:
    value = config.get(key) if isinstance(config, dict) else None
    if not isinstance(value, dict):
        raise ValueError(f'it has no object "{key}"')
    return value
