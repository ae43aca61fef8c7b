"""One training below a Ray worker: the door train.py in a process of its own, from the newest saved state on."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.child import child_environment, run_child, was_lost
from system.child_python import door_start
from transformer.export.style_folder import STYLE_FILE, is_style
from transformer.training.state import state_paths, step_of

States = frozenset[tuple[str, int]]


class LostProcess(Exception):
    """A process of the job is lost, not faulty: Ray starts it again."""


@dataclass(frozen=True)
class Task:
    """A training for a worker, with absolute paths that lead to the same files on all machines.

    replaced: the saved states that --overwrite replaces, see `saved_states`; empty without --overwrite.
    directory: where its process runs, if there is such a folder.
    threads: see `child_environment`.
    """

    flags: tuple[str, ...]
    state_dir: Path
    style_dir: Path
    steps: int
    replaced: States
    directory: str
    threads: int | None

    @property
    def step(self) -> int:
        """The step of the newest saved state of this job, 0 without one."""
        return 0 if self.is_fresh else max(map(step_of, state_paths(self.state_dir)), default=0)

    @property
    def is_fresh(self) -> bool:
        """Whether the states there are those that this job is to replace."""
        return bool(self.replaced) and saved_states(self.state_dir) == self.replaced

    @property
    def is_done(self) -> bool:
        """Whether the style of the last step is written."""
        if self.is_fresh or self.step < self.steps or not is_style(self.style_dir):
            return False
        newest = max(state_paths(self.state_dir), key=step_of)
        return (self.style_dir / STYLE_FILE).stat().st_mtime >= newest.stat().st_mtime

    def command(self) -> list[str]:
        """The command of its process."""
        return [*door_start("train"), *self.flags, *(() if self.is_fresh else ("--resume=auto",))]


def saved_states(state_dir: Path) -> States:
    """Returns what distinguishes the saved states of a folder from later ones of the same steps."""
    return frozenset((path.name, path.stat().st_mtime_ns) for path in state_paths(state_dir))


def run_member(desk: Any, member: int, task: Task, environment: Mapping[str, str] = os.environ) -> None:
    """Runs a training below this Ray worker, and returns when it is finished, stopped or faulty; the desk knows.

    Raises LostProcess if it, or one that it works with, was lost.
    """
    import ray

    if _answer(desk.begin.remote(member, task.step, platform.node())):
        return
    if task.is_done:  # by the workers that were lost at the very end
        _answer(desk.end.remote(member, 0))
        return
    gpus = [str(number) for number in ray.get_runtime_context().get_accelerator_ids().get("GPU", [])]
    status = run_child(
        task.command(),
        child_environment(environment, threads=task.threads, gpus=gpus),
        task.directory if os.path.isdir(task.directory) else None,
        lambda lines: _answer(desk.exchange.remote(member, lines)),
    )
    is_ordered = bool(_answer(desk.exchange.remote(member, [])))
    _answer(desk.end.remote(member, status))
    if was_lost(status) and not is_ordered:
        raise LostProcess(f"status {status}")


def _answer(reference: Any) -> Any:
    """Returns what the desk answers. While ray.get waits, Ray gives the CPU cores of the waiting worker to others."""
    return reference.future().result()
