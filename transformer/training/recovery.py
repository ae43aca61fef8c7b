"""When the state of a training is saved, and what happens when its weights are lost: a rollback to that state."""

import logging
from collections.abc import Mapping
from typing import Any

from transformer.training.distribution import Cluster
from transformer.training.optimizer import Optimizer
from transformer.training.progress import Progress
from transformer.training.state import SavedState, StateError, TrainingState, newest_state
from transformer.training.step import Diverged

ROLLBACK_LIMIT = 3
RATE_FACTOR = 0.5  # of the learning rate, at every rollback

logger = logging.getLogger(__name__)


class Recovery:
    """Saves, restores and rolls back one training: the variables of `state`, and `progress`.

    metadata: JSON values that are saved with every state. All workers of `cluster` call the same methods at the
    same step; only the chief reads and writes files.
    """

    def __init__(
        self, state: TrainingState, optimizer: Optimizer, cluster: Cluster, metadata: Mapping[str, Any]
    ):
        self.progress = Progress()
        self.saved_step: int | None = None  # step of the newest saved state
        self.metadata = metadata
        self._state, self._optimizer, self._cluster = state, optimizer, cluster

    def save(self) -> None:
        """Saves the state, unless the last step was skipped: the weights may be lost then, the older states are not.

        Raises OSError.
        """
        if self._optimizer.value("skipped_in_a_row"):
            return
        self._state.save(self.progress.step, {**self.metadata, **self.progress.as_json()})
        self.saved_step = self.progress.step

    def restore(self, saved: SavedState | None) -> None:
        """Continues from `saved`, which only the chief needs; None starts from the beginning.

        Raises StateError if the state belongs to another network.
        """
        if saved is not None:
            self._read(saved)
        self._broadcast()

    def roll_back(self, trouble: Diverged) -> None:
        """Returns to the last good state with a lower learning rate; later states are removed.

        Raises Diverged after ROLLBACK_LIMIT rollbacks.
        """
        rate_scale, skipped = self._optimizer.value("rate_scale"), self._optimizer.value("skipped")
        rollbacks, seconds = self.progress.rollbacks + 1, self.progress.seconds
        if rollbacks > ROLLBACK_LIMIT:
            raise Diverged(
                f"{trouble}, after {ROLLBACK_LIMIT} rollbacks with lower learning rates; lower --learning-rate or"
                " --style-weight, or use --precision float32"
            ) from trouble
        if self._cluster.is_chief:
            saved = self._last_good_state()
            self._read(saved)
            self._state.drop_after(saved.step)
        self.progress.rollbacks, self.progress.seconds = rollbacks, seconds
        self._optimizer.variables["rate_scale"].assign(rate_scale)
        self._optimizer.lower_rate(RATE_FACTOR)
        self._optimizer.variables["skipped"].assign(skipped)
        self._broadcast()
        logger.warning(
            "%s; rolled back to step %d; learning rate multiplied by %g (rollback %d of %d)",
            trouble,
            self.progress.step,
            rate_scale * RATE_FACTOR,
            rollbacks,
            ROLLBACK_LIMIT,
        )

    def _read(self, saved: SavedState) -> None:
        self._state.restore(saved)
        self.progress.restore(saved.step, saved.info)
        self.saved_step = saved.step

    def _broadcast(self) -> None:
        progress = self.progress
        saved_step = -1 if self.saved_step is None else self.saved_step
        numbers = [progress.step, progress.images, progress.rollbacks, saved_step]
        numbers = self._cluster.broadcast_from_chief(self._state.variables, numbers)
        progress.step, progress.images, progress.rollbacks, saved_step = numbers
        self.saved_step = None if saved_step < 0 else saved_step

    def _last_good_state(self) -> SavedState:
        """Returns the newest state, or the one before it if no step after the newest was finite.

        In that case the weights were lost already when the newest state was saved.
        """
        newest = newest_state(self._state.state_dir)
        if self._optimizer.value("updates") > int(newest.arrays["optimizer/updates"]):
            return newest
        try:
            return newest_state(self._state.state_dir, before=newest.step)
        except StateError:
            return newest
