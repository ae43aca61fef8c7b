"""The driver of a job: shows what its members say until the job is done, and stops it at a signal."""

import time
from collections.abc import Callable
from typing import Any

from cluster.child import SAVE
from cluster.desk import News
from cluster.session import ClusterError
from system.signals import NotedInterrupts

POLL_SECONDS = 0.5
SILENT_SECONDS = 15.0  # after which a job that was stopped has no members left to wait for


def follow(
    desk: Any, is_done: Callable[[], bool], show: Callable[[News], None], stopping: Callable[[str], None]
) -> str:
    """Shows the news of a job until it is done; returns the name of the signal that stopped it, or "".

    stopping: is called with the name of the first signal, which makes all members save their state and end. A second
    one raises Interrupted; the members end with the connection to the cluster.
    Raises ClusterError if the cluster is lost.
    """
    import ray

    with NotedInterrupts() as interrupts:
        is_told = False
        while True:
            is_last = is_done()  # before the news are taken: then these are the last ones
            try:
                is_last |= is_told and ray.get(desk.silence.remote()) > SILENT_SECONDS
                for news in ray.get(desk.take_news.remote()):
                    show(news)
                if interrupts.received and not is_told:
                    ray.get(desk.command.remote(SAVE))
                    is_told = True
                    stopping(interrupts.received)
            except ray.exceptions.RayError as error:
                reason = " ".join(str(error).split())[:200]
                raise ClusterError(f"the cluster was lost ({reason}); the same command goes on") from error
            if is_last:
                return interrupts.received
            time.sleep(POLL_SECONDS)
