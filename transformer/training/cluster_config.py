"""Reads TF_CONFIG, the environment variable that makes a process one worker of a cluster. Imports no TensorFlow."""

import json
import os


def cluster_of_environment() -> tuple[int, int]:
    """Returns (index of this worker, number of workers) from TF_CONFIG; (0, 1) if the variable is not set.

    Raises ValueError if its value does not describe a worker.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0, 1
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        if not isinstance(workers, list) or task["type"] != "worker" or not 0 <= task["index"] < len(workers):
            raise ValueError("the task must be one of the workers")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"TF_CONFIG cannot be understood ({error!r}), got {text}; it must look like"
            ' {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
        ) from error
    return int(task["index"]), len(workers)
