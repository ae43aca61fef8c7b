"""What runs a model: a session of ONNX Runtime or OpenVINO, and one that goes on on the CPU when a GPU fails."""

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from system.faults import one_line

Report = Callable[[str], object]  # takes one line for the user


def once(report: Report) -> Report:
    """Returns a report that passes each line on only once: every stage of a network may meet the same fault."""
    told: set[str] = set()

    def report_new(line: str) -> None:
        if line not in told:
            told.add(line)
            report(line)

    return report_new


class Session(Protocol):
    """A model that is ready to run. Threads may share it."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Returns all outputs, in the order of the model."""

    def stop(self) -> None:
        """Ends the calls of other threads soon; they and all later calls fail."""


OpenSession = Callable[[bytes], Session]  # takes a serialized ONNX model


class GpuError(Exception):
    """A GPU cannot be used; the message says why."""


class FallbackSession:
    """A session on a GPU; once that fails, a session on the CPU, for this call and all later ones.

    open_gpu, open_cpu: open the two sessions. report: is told in one line why the GPU is not used.
    """

    def __init__(self, open_gpu: Callable[[], Session], open_cpu: Callable[[], Session], report: Report):
        self._open_cpu, self._report = open_cpu, report
        self._lock = threading.Lock()
        self._is_stopped = False
        self._cpu_session: Session | None = None
        try:
            self._gpu_session = open_gpu()
        except Exception as error:  # each library has its own classes
            self._gpu_session = None
            self._use_cpu(error)

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """See Session."""
        if self._cpu_session is None:
            try:
                return self._gpu_session.run(feeds)
            except Exception as error:
                if self._is_stopped:
                    raise
                self._use_cpu(error)
        return self._cpu_session.run(feeds)

    def stop(self) -> None:
        """See Session."""
        self._is_stopped = True
        for session in (self._gpu_session, self._cpu_session):
            if session is not None:
                session.stop()

    def _use_cpu(self, error: Exception) -> None:
        with self._lock:  # threads fail together
            if self._cpu_session is None:
                self._cpu_session = self._open_cpu()
                self._report(
                    f"the GPU cannot be used ({one_line(error, at_most=400)}); the CPU is used instead"
                )
