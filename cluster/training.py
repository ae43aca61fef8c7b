"""One style trained by several workers together, through Ray Train, which starts all again if one of them is lost."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.desk import News, open_desk
from cluster.driver import follow
from cluster.member import Task, run_member
from cluster.resources import Share
from cluster.session import ClusterError
from system.held_stderr import stderr_held

_RAY_DIR = "ray_train"  # in the log folder, while the job runs
STARTS_IN_VAIN = 60  # of the workers, a minute each: so long it waits for machines in place of lost ones


def train_together(
    task: Task,
    share: Share,
    workers: int,
    storage_dir: Path,
    show: Callable[[News], None],
    stopping: Callable[[str], None],
) -> str:
    """Trains one style in `workers` processes; returns the name of the signal that stopped it, or "".

    storage_dir: a folder that all machines share; Ray Train checks that they do. Faults of workers are in the news.
    Raises ClusterError, and Interrupted after a second signal.
    """
    desk = open_desk(is_group=True)
    fit = _Fit(_trainer(desk, task, share, workers, storage_dir))
    received = follow(desk, fit.is_done, show, stopping)
    shutil.rmtree(
        storage_dir / _RAY_DIR, ignore_errors=True
    )  # a mark by which Ray Train knows the folder again
    if fit.error is not None:
        reason = " ".join(str(fit.error).split())[-300:]
        raise ClusterError(f"Ray Train could not train ({reason}); the same command goes on") from fit.error
    return received


def _trainer(desk: Any, task: Task, share: Share, workers: int, storage_dir: Path) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with stderr_held():  # of TensorFlow, which Ray imports
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer
        from ray.train.v2.api.config import LoggingConfig

    resources = {"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {})
    # Every restart is counted by the desk, which ends the job where restarts bring no progress.
    failures = FailureConfig(max_failures=-1, controller_failure_limit=STARTS_IN_VAIN)
    return TensorflowTrainer(
        _worker_loop,
        train_loop_config={"desk": desk, "task": task},
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=bool(share.gpus), resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=_RAY_DIR,
            storage_path=str(storage_dir),
            failure_config=failures,
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


def _worker_loop(config: dict) -> None:
    """Runs in every worker of Ray Train, which has set TF_CONFIG."""
    import ray.train

    run_member(config["desk"], ray.train.get_context().get_world_rank(), config["task"])


class _Fit:
    """Ray Train's fit(), which waits, in a thread of its own. It would take over Ctrl-C in the main thread."""

    def __init__(self, trainer: Any):
        self.error: Exception | None = None
        self._trainer = trainer
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:
            self.error = error
