"""One training from its first or a later step to its last: steps, states, watching, and what to do about trouble."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from system.signals import NotedInterrupts
from transformer.export.style_folder import StyleError
from transformer.network import Transformer
from transformer.training.distribution import Cluster
from transformer.training.monitor import Watch
from transformer.training.optimizer import Optimizer
from transformer.training.pace import Pace, finish_time, peak_memory_bytes
from transformer.training.state import SavedState, TrainingState, newest_state
from transformer.training.step import CHECK_EVERY, Diverged, Losses, training_steps
from transformer.training.summaries import RunningMeans

RETURNS_LIMIT = 3  # times that a training goes back to its last good state, each at RATE_FACTOR of the rate
RATE_FACTOR = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How long, and how often what."""

    steps: int
    batch_size: int  # of all replicas together
    save_every: int  # steps; previews and validation go with it
    summary_every: int  # steps


class Run:
    """All that one training works with, and how far it has come."""

    def __init__(
        self,
        plan: Plan,
        *,
        network: Transformer,
        optimizer: Optimizer,
        training_step: Callable[[Any], Losses],
        batches_from: Callable[[int], Iterable[Any]],
        state: TrainingState,
        watch: Watch | None,
        cluster: Cluster,
        gflop_per_step: float,
        facts: Mapping[str, Any],
    ):
        """`batches_from` gives the batches from a number of images on; `watch` is the chief's alone; `facts` are
        JSON values that go into every saved state; `gflop_per_step` counts the convolutions."""
        self.plan = plan
        self.network = network
        self.optimizer = optimizer
        self.state = state
        self.step, self.images = 0, 0  # done
        self.losses: dict[str, float] = {}  # latest means
        self.validation: dict[str, float] = {}  # latest
        self.best_validation: dict[str, float] = {}  # "step" and "total" of the lowest total
        self.returns = 0
        self.gflop_per_step = gflop_per_step
        self._training_step, self._batches_from = training_step, batches_from
        self.facts = facts
        self._watch, self._cluster = watch, cluster
        self._means = RunningMeans()
        self._watched_step = 0

    def restore(self, saved: SavedState | None) -> None:
        """Goes on from `saved`, which only the chief need have; None: from the beginning."""
        if saved is not None:
            self.state.restore(saved)
            self._adopt(saved)
        self._share()

    def train(self, interrupts: NotedInterrupts, show: Callable[[int, str], None]) -> None:
        """To the last step, or to the end of the step in which a signal came, whose state is then saved.

        `show` is called with the steps done so far and a line about them. Raises Diverged, OSError.
        """
        if self.step == 0:
            self._save()  # there is always a state to go back to; and a disk that is full is known at once
        elif self._is_due(self.step) and self._watched_step < self.step:
            self._look()  # a signal came between the step and its previews
        while True:
            try:
                self._train_on(interrupts, show)
                return
            except Diverged as trouble:
                self._go_back(trouble)

    def _train_on(self, interrupts: NotedInterrupts, show: Callable[[int, str], None]) -> None:
        plan = self.plan
        pace = Pace(steps=plan.steps, batch_size=plan.batch_size)
        for step, losses in training_steps(
            self._training_step, self._batches_from(self.images), steps=plan.steps, first_step=self.step
        ):
            self.step, self.images = step, self.images + plan.batch_size
            self._means.add(losses)
            pace.count()
            forecast = pace.forecast(step)
            if step % plan.summary_every == 0 or step == plan.steps:
                self._summarise(forecast)
            show(step, self._line(forecast))
            stops = self._stops(interrupts)
            if self._is_due(step) and not stops:
                with self._means.clock_stopped():
                    self._look()
            if self._is_due(step) or stops:
                with self._means.clock_stopped():
                    self._save()
            if stops:
                return

    def _is_due(self, step: int) -> bool:
        return step % self.plan.save_every == 0 or step == self.plan.steps

    def _stops(self, interrupts: NotedInterrupts) -> bool:
        if self._cluster.workers == 1:
            return bool(interrupts.received)
        if self.step % CHECK_EVERY and self.step != self.plan.steps:
            return False
        # all workers have to stop after the same step, or the last one would wait for the others for ever
        asked = self._cluster.sum_of_workers(np.array([1.0 if interrupts.received else 0.0]))
        if asked[0] > 0 and not interrupts.received:
            interrupts.received = "SIGTERM"
        return bool(asked[0] > 0)

    def _summarise(self, forecast: Mapping[str, float]) -> None:
        self.losses = self._means.flush(self.plan.batch_size)
        peak = peak_memory_bytes()
        memory = {} if peak is None else {"peak_memory_gb": peak / 1e9}
        if self._watch is not None:
            self._watch.losses(self.step, {**self.losses, **forecast, **memory})

    def _line(self, forecast: Mapping[str, float]) -> str:
        parts = [f"loss {self.losses['total']:.4g}"] if "total" in self.losses else []
        if forecast:
            parts.append(f"{forecast['images_per_second_overall']:.3g} images/s")
            parts.append(f"done at {finish_time(forecast['hours_left'])}")
        if self.losses.get("skipped"):
            parts.append(f"{int(self.losses['skipped'])} steps skipped")
        return ", ".join(parts)

    def _look(self) -> None:
        if self._watch is None:
            return
        self._watched_step = self.step
        self.validation = self._watch.pictures(self.step)
        total = self.validation.get("total")
        if total is not None and not total >= self.best_validation.get("total", float("inf")):
            self.best_validation = {"step": self.step, "total": total}

    def _save(self) -> None:
        if self.optimizer.value("skipped_in_a_row"):
            return  # maybe the weights are lost; the states that there are hold good ones
        self.state.save(
            self.step,
            {
                **self.facts,
                "images": self.images,
                "returns": self.returns,
                "watched_step": self._watched_step,
                "losses": self.losses,
                "validation": self.validation,
                "best_validation": self.best_validation,
                "means": self._means.as_json(),
            },
        )

    def _adopt(self, saved: SavedState) -> None:
        info = saved.info
        self.step, self.images, self.returns = saved.step, info["images"], info["returns"]
        self._watched_step = info["watched_step"]
        self.losses, self.validation = dict(info["losses"]), dict(info["validation"])
        self.best_validation = dict(info["best_validation"])
        self._means = RunningMeans(info["means"])

    def _share(self) -> None:
        numbers = [self.step, self.images, self.returns]
        self.step, self.images, self.returns = self._cluster.share_of_chief(self.state.variables, numbers)

    def _go_back(self, trouble: Diverged) -> None:
        rate_scale = self.optimizer.value("rate_scale")
        if self.returns == RETURNS_LIMIT:
            raise Diverged(
                f"{trouble}, after going back {RETURNS_LIMIT} times to lower learning rates; lower"
                " --learning-rate or --style-weight, or use --precision float32"
            ) from trouble
        returns, skipped = self.returns + 1, self.optimizer.value("skipped")
        if self._cluster.is_chief:
            saved = self._last_good_state()
            self.state.restore(saved)
            self._adopt(saved)
            self.state.drop_after(saved.step)
        self.returns = returns
        self.optimizer.variables["rate_scale"].assign(rate_scale)
        self.optimizer.lower_rate(RATE_FACTOR)
        self.optimizer.variables["skipped"].assign(skipped)
        self._share()
        logger.warning(
            "%s; gone back to step %d with %g of the learning rate (%d of %d times)",
            trouble,
            self.step,
            rate_scale * RATE_FACTOR,
            returns,
            RETURNS_LIMIT,
        )

    def _last_good_state(self) -> SavedState:
        """The newest one, but an older one where no step after the newest was finite: it was lost already."""
        newest = newest_state(self.state.state_dir)
        updates = self.optimizer.value("updates")
        if updates > int(newest.arrays["optimizer/updates"]):
            return newest
        try:
            return newest_state(self.state.state_dir, before=newest.step)
        except StyleError:
            return newest


def state_variables(network: Transformer, optimizer: Optimizer) -> dict[str, tf.Variable]:
    """All that a training changes, by the names it has in a saved state."""
    parameters = {f"parameters/{name}": variable for name, variable in network.parameters.items()}
    return {**parameters, **{f"optimizer/{name}": value for name, value in optimizer.variables.items()}}
