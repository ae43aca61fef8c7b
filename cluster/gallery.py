"""Many styles trained side by side, each as a task of Ray, which starts it again if its worker or machine is lost."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cluster.desk import News, open_desk
from cluster.driver import follow
from cluster.member import LostProcess, Task, run_member
from cluster.resources import Share


def train_side_by_side(
    tasks: Sequence[Task], share: Share, show: Callable[[News], None], stopping: Callable[[str], None]
) -> tuple[str, dict[int, str]]:
    """Trains the styles; returns the name of the signal that stopped them, or "", and what Ray could not run.

    A member of the news is the index of its task. Faults of styles are in the news; none stops the others.
    Raises ClusterError, and Interrupted after a second signal.
    """
    import ray

    desk = open_desk(is_group=False)
    # Every start is counted by the desk, which ends a style where restarts bring no progress.
    options = {"max_retries": -1, "retry_exceptions": [LostProcess]}
    options |= {"num_cpus": share.cpus, "num_gpus": share.gpus, "memory": share.memory or None}
    start = ray.remote(_style).options(**options)
    references = [start.remote(desk, index, task) for index, task in enumerate(tasks)]

    def is_done() -> bool:
        ready, waiting = ray.wait(references, num_returns=len(references), timeout=0)
        return not waiting

    received = follow(desk, is_done, show, stopping)
    return received, dict(_faults(references))


def _faults(references: Sequence[Any]) -> Iterator[tuple[int, str]]:
    import ray

    for index, reference in enumerate(references):
        try:
            ray.get(reference)
        except Exception as error:
            yield index, " ".join(str(error).split())[-300:]


def _style(desk: Any, member: int, task: Task) -> None:
    """Runs in a worker of Ray."""
    run_member(desk, member, task)
