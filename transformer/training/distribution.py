"""One training on several GPUs or machines, with tf.distribute.

The GPUs of one machine are replicas under MirroredStrategy. If TF_CONFIG describes a cluster, every process is one
of its workers under MultiWorkerMirroredStrategy, with GPUs or without. Worker 0 is the chief; only it writes files.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from transformer.training.cluster_config import cluster_of_environment

# What a collective operation raises when another worker has died.
LOST_WORKER = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError)
LOST_WORKER += (tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError, tf.errors.CancelledError)


@dataclass(frozen=True)
class Cluster:
    """The processes that train together: their strategy and the index of this worker."""

    strategy: tf.distribute.Strategy
    worker: int = 0
    workers: int = 1

    @property
    def is_chief(self) -> bool:
        return self.worker == 0

    @property
    def replicas(self) -> int:
        """The number of replicas in all workers together."""
        return self.strategy.num_replicas_in_sync

    @property
    def local_replicas(self) -> int:
        """The number of replicas in this worker."""
        return self.replicas // self.workers

    def distributed(self, dataset: tf.data.Dataset) -> Iterable[Any]:
        """Returns the input of one step after another. Each batch of `dataset` goes to one replica."""
        if self.replicas == 1:
            return dataset
        return self.strategy.distribute_datasets_from_function(lambda _context: dataset)

    def sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        """Returns the elementwise sum over all workers of a vector [N]; every worker must call this."""
        if self.workers == 1:
            return values
        return _sum_over_replicas(self.strategy)(tf.constant(values)).numpy() / self.local_replicas

    def wait_for_all(self) -> None:
        """Returns when every worker has called this. A worker that ends earlier looks lost to the others."""
        self.sum_over_workers(np.zeros(1))

    def broadcast_from_chief(self, variables: Mapping[str, tf.Variable], numbers: list[int]) -> list[int]:
        """Sets `variables` to the chief's values in every worker and returns the chief's `numbers`.

        The other workers need not have read a state, whose file may be on the chief's disk only.
        """
        if self.workers == 1:
            return numbers
        parts = [np.asarray(numbers, np.float64)]
        parts += [np.asarray(variable.numpy(), np.float64).reshape(-1) for variable in variables.values()]
        vector = np.concatenate(parts)
        vector = self.sum_over_workers(vector if self.is_chief else np.zeros_like(vector))
        first, *values = np.split(vector, np.cumsum([len(part) for part in parts])[:-1])
        for variable, value in zip(variables.values(), values, strict=True):
            variable.assign(value.reshape(variable.shape).astype(variable.dtype.as_numpy_dtype))
        return [int(number) for number in first]


@functools.lru_cache(maxsize=1)  # traced once
def _sum_over_replicas(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function(reduce_retracing=True, autograph=False)
    def summed(vector: tf.Tensor) -> tf.Tensor:
        per_replica = strategy.run(tf.identity, args=(vector,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)

    return summed


def join_cluster() -> Cluster:
    """Returns the cluster of this process. If TF_CONFIG names several workers, waits until all have joined.

    Must be called before TensorFlow computes anything. Raises ValueError if TF_CONFIG cannot be understood.
    """
    worker, workers = cluster_of_environment()
    if workers > 1:
        return Cluster(tf.distribute.MultiWorkerMirroredStrategy(), worker, workers)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return Cluster(tf.distribute.MirroredStrategy())
    return Cluster(tf.distribute.get_strategy())
