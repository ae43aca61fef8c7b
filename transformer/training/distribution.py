"""One training on several GPUs or machines, by tf.distribute.

The GPUs of one machine work as replicas under MirroredStrategy; where TF_CONFIG names a cluster, every process is
one worker of it under MultiWorkerMirroredStrategy, on GPUs or not. Worker 0 is the chief, which alone writes.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from transformer.training.cluster_config import cluster_of_environment

LOST_WORKER = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError)
LOST_WORKER += (tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError, tf.errors.CancelledError)


@dataclass(frozen=True)
class Cluster:
    """How a training is spread: its strategy, and which worker this process is."""

    strategy: tf.distribute.Strategy
    worker: int = 0
    workers: int = 1

    @property
    def is_chief(self) -> bool:
        return self.worker == 0

    @property
    def replicas(self) -> int:
        """In all workers together."""
        return self.strategy.num_replicas_in_sync

    @property
    def local_replicas(self) -> int:
        return self.replicas // self.workers

    def distributed(self, dataset: tf.data.Dataset) -> Iterable[Any]:
        """Batches of `dataset`, each one replica's, as what one step of all replicas takes."""
        if self.replicas == 1:
            return dataset
        return self.strategy.distribute_datasets_from_function(lambda _context: dataset)

    def sum_of_workers(self, values: np.ndarray) -> np.ndarray:
        """The elementwise sum of a vector [N] over the workers, of which each gives its own."""
        if self.workers == 1:
            return values

        return _summing(self.strategy)(tf.constant(values)).numpy() / self.local_replicas

    def wait_for_all(self) -> None:
        """Returns when every worker has called this: one that left earlier would look lost to the others."""
        self.sum_of_workers(np.zeros(1))

    def share_of_chief(self, variables: Mapping[str, tf.Variable], numbers: list[int]) -> list[int]:
        """Sets `variables` to the chief's values on every worker; returns the chief's `numbers`.

        Only the chief need have read a state: its disk may not be the others'.
        """
        if self.workers == 1:
            return numbers
        own = [np.asarray(numbers, np.float64)]
        own += [np.asarray(variable.numpy(), np.float64).reshape(-1) for variable in variables.values()]
        vector = np.concatenate(own)
        shared = self.sum_of_workers(vector if self.is_chief else np.zeros_like(vector))
        sizes = np.cumsum([len(part) for part in own])[:-1]
        first, *values = np.split(shared, sizes)
        for variable, value in zip(variables.values(), values, strict=True):
            variable.assign(value.reshape(variable.shape).astype(variable.dtype.as_numpy_dtype))
        return [int(number) for number in first]


@functools.lru_cache(maxsize=1)  # traced once
def _summing(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function(reduce_retracing=True)
    def summed(vector: tf.Tensor) -> tf.Tensor:
        of_replicas = strategy.run(tf.identity, args=(vector,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, of_replicas, axis=None)

    return summed


def join_cluster() -> Cluster:
    """The cluster of this process; with TF_CONFIG of several workers it waits until all of them are there.

    To be called before TensorFlow has computed anything.
    """
    worker, workers = cluster_of_environment()
    if workers > 1:
        return Cluster(tf.distribute.MultiWorkerMirroredStrategy(), worker, workers)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return Cluster(tf.distribute.MirroredStrategy())
    return Cluster(tf.distribute.get_strategy())
