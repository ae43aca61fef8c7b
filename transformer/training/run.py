"""A training from its first or a resumed step to its last: steps, saved states, monitoring, signals."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from system.signals import NotedInterrupts
from transformer.network import Transformer
from transformer.training.distribution import Cluster
from transformer.training.monitor import Monitor
from transformer.training.optimizer import Optimizer
from transformer.training.pace import Pace, finish_time, peak_memory_bytes
from transformer.training.progress import Progress
from transformer.training.recovery import Recovery
from transformer.training.stages import Stage, staged_batches
from transformer.training.state import SavedState, TrainingState
from transformer.training.step import CHECK_EVERY, Diverged, Losses, training_steps


@dataclass(frozen=True)
class Plan:
    """How many steps a training has, and how often it saves and reports."""

    stages: tuple[Stage, ...]
    batch_size: int  # images per step, of all replicas together
    save_every: int  # steps between saved states; previews and validation come with them
    summary_every: int  # steps between scalars in TensorBoard

    @property
    def steps(self) -> int:
        """The last step of the training."""
        return self.stages[-1].last_step


class Run:
    """One training: runs its steps, saves its state, reports to its monitor, and recovers from lost weights.

    training_step: from `build_training_step`.
    batches_from: returns endless batches from a given number of images on, with images of a given side in pixels.
    monitor: None in workers other than the chief.
    metadata: JSON values that are saved with every state; "config" and "photos" are required.
    gflop_per_step: 1e9 floating-point operations of the convolutions in one step.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        network: Transformer,
        optimizer: Optimizer,
        training_step: Callable[[Any], Losses],
        batches_from: Callable[[int, int], Iterable[Any]],
        state: TrainingState,
        monitor: Monitor | None,
        cluster: Cluster,
        gflop_per_step: float,
        metadata: Mapping[str, Any],
    ):
        self.plan = plan
        self.network = network
        self.optimizer = optimizer
        self.gflop_per_step = gflop_per_step
        self.metadata = metadata
        self._training_step, self._batches_from = training_step, batches_from
        self._monitor, self._cluster = monitor, cluster
        self._recovery = Recovery(state, optimizer, cluster, metadata)

    @property
    def progress(self) -> Progress:
        """How far the training has come."""
        return self._recovery.progress

    @property
    def saved_step(self) -> int | None:
        """The step of the newest saved state; None before the first.

        It is below `progress.step` if the last steps were skipped because loss or gradient were not finite.
        """
        return self._recovery.saved_step

    @property
    def is_monitoring_incomplete(self) -> bool:
        """Whether TensorBoard events, previews or the configuration could not be written."""
        return self._monitor is not None and self._monitor.is_incomplete

    def restore(self, saved: SavedState | None) -> None:
        """Continues from `saved`, which only the chief needs; None starts from the beginning.

        Raises StateError if the state belongs to another network.
        """
        self._recovery.restore(saved)

    def train(self, interrupts: NotedInterrupts, show: Callable[[int, str], None]) -> None:
        """Trains to the last step, or to the end of the step in which a signal arrives, and saves the state.

        `show` is called after every step with the number of steps done and a line of text about them.
        Raises OSError if a file cannot be written, and Diverged if the training is lost after several rollbacks.
        """
        if self._monitor is not None:
            self._monitor.open()
        if self.progress.step == 0:
            self._recovery.save()  # for a rollback; and a full disk shows at once
        elif self._is_due() and self.progress.monitored_step < self.progress.step:
            self._evaluate()  # a signal arrived between the step and its previews
        while True:
            try:
                self._train_on(interrupts, show)
                return
            except Diverged as trouble:
                self._recovery.roll_back(trouble)

    def _train_on(self, interrupts: NotedInterrupts, show: Callable[[int, str], None]) -> None:
        plan, progress = self.plan, self.progress
        pace = Pace(plan.stages, batch_size=plan.batch_size, first_step=progress.step)
        batches = staged_batches(
            plan.stages, self._batches_from, plan.batch_size, step=progress.step, images=progress.images
        )
        steps = training_steps(self._training_step, batches, steps=plan.steps, first_step=progress.step)
        previous = time.perf_counter()
        for step, losses in steps:
            progress.add_step(losses, plan.batch_size)
            pace.count()
            forecast = pace.forecast()
            if step % plan.summary_every == 0 or step == plan.steps:
                self._summarize(forecast)
            show(step, self._line(forecast))
            is_stopping = self._is_stopping(interrupts)
            with progress.means.clock_stopped():
                if self._is_due() and not is_stopping:
                    self._evaluate()
                now = time.perf_counter()
                progress.seconds, previous = progress.seconds + now - previous, now
                if self._is_due() or is_stopping:
                    self._recovery.save()
            if is_stopping:
                return

    def _is_due(self) -> bool:
        """Whether the state is saved after the current step."""
        return self.progress.step % self.plan.save_every == 0 or self.progress.step == self.plan.steps

    def _is_stopping(self, interrupts: NotedInterrupts) -> bool:
        """Whether a worker has received a signal.

        All workers must stop after the same step, because each would wait for the others in the next one. They
        exchange signals only at the steps where they look at the losses anyway.
        """
        if self._cluster.workers == 1:
            return bool(interrupts.received)
        if self.progress.step % CHECK_EVERY and self.progress.step != self.plan.steps:
            return False
        received = self._cluster.sum_over_workers(np.array([1.0 if interrupts.received else 0.0]))[0]
        if received and not interrupts.received:
            interrupts.received = "SIGTERM"
        return bool(received)

    def _summarize(self, forecast: Mapping[str, float]) -> None:
        self.progress.losses = self.progress.means.flush(self.plan.batch_size)
        peak = peak_memory_bytes()
        memory = {} if peak is None else {"peak_memory_gb": peak / 1e9}
        if self._monitor is not None:
            self._monitor.write_scalars(self.progress.step, {**self.progress.losses, **forecast, **memory})

    def _line(self, forecast: Mapping[str, float]) -> str:
        losses = self.progress.losses
        parts = [f"loss {losses['total']:.4g}"] if "total" in losses else []
        if forecast:
            parts.append(f"{forecast['images_per_second_overall']:.3g} images/s")
            parts.append(f"done at {finish_time(forecast['hours_left'])}")
        if losses.get("skipped"):
            parts.append(f"{int(losses['skipped'])} steps skipped")
        return ", ".join(parts)

    def _evaluate(self) -> None:
        if self._monitor is not None:
            self.progress.add_validation(self._monitor.evaluate(self.progress.step))


def state_variables(network: Transformer, optimizer: Optimizer) -> dict[str, tf.Variable]:
    """Returns all variables that a training changes, by the names of a saved state's arrays."""
    parameters = {f"parameters/{name}": variable for name, variable in network.parameters.items()}
    return {**parameters, **{f"optimizer/{name}": value for name, value in optimizer.variables.items()}}
