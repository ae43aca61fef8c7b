"""What runs a model: a session of ONNX Runtime or OpenVINO, and one that goes on on the CPU when a GPU fails."""

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from system.faults import one_line

Report = Callable[[str], object]  # takes one line for the user


class Session(Protocol):
    """A model that is ready to run. Threads may share it."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Returns all outputs, in the order of the model."""

    def stop(self) -> None:
        """Ends the calls of other threads soon; they and all later calls fail."""


class GpuError(Exception):
    """A GPU cannot be used; the message says why."""


class GpuUse:
    """Whether the GPU of a call works, for all its sessions: one that failed is not tried again.

    report: is told once, in one line, why the GPU is not used any more. turn: a lock that a session holds while the GPU
    computes, because the memory of a GPU holds few images at once.
    """

    def __init__(self, report: Report):
        self._report, self._lock = report, threading.Lock()
        self.has_failed = False
        self.turn = threading.Lock()

    def give_up(self, error: Exception) -> None:
        """Notes that the GPU has failed."""
        with self._lock:  # threads fail together
            if not self.has_failed:
                self.has_failed = True
                self._report(
                    f"the GPU cannot be used ({one_line(error, at_most=400)}); the CPU is used instead"
                )


class FallbackSession:
    """A session on a GPU; once that fails, a session on the CPU, for this call and all later ones.

    open_gpu, open_cpu: open the two sessions. gpu: is shared by all sessions of a call.
    """

    def __init__(self, open_gpu: Callable[[], Session], open_cpu: Callable[[], Session], gpu: GpuUse):
        self._open_cpu, self._gpu = open_cpu, gpu
        self._lock = threading.RLock()
        self._is_stopped = False
        self._gpu_session: Session | None = None
        self._cpu_session: Session | None = None
        with gpu.turn:
            if not gpu.has_failed:
                try:
                    self._gpu_session = open_gpu()
                except Exception as error:  # each library has its own classes
                    gpu.give_up(error)
        if self._gpu_session is None:
            self._on_cpu()

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """See Session."""
        with self._gpu.turn:
            session = self._gpu_session
            if session is not None and not self._gpu.has_failed:
                try:
                    return session.run(feeds)
                except Exception as error:
                    if self._is_stopped:
                        raise
                    self._gpu.give_up(error)
        return self._on_cpu().run(feeds)

    def stop(self) -> None:
        """See Session."""
        with self._lock:
            self._is_stopped = True
            sessions = (self._gpu_session, self._cpu_session)
        for session in sessions:
            if session is not None:
                session.stop()

    def _on_cpu(self) -> Session:
        """The session on the CPU, in place of that on the GPU, whose memory is freed."""
        with self._lock:
            self._gpu_session = None
            if self._cpu_session is None:
                self._cpu_session = self._open_cpu()
                if self._is_stopped:
                    self._cpu_session.stop()
            return self._cpu_session
