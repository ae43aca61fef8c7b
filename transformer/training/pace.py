"""Forecasts of a training: the memory it needs, its speed, and when it will be done.

TensorFlow is imported only to ask a GPU for its memory.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from system.machine import peak_memory, vector_bits
from transformer.training.stages import Stage, pixels_between

WARMUP_STEPS = 2  # tracing and the first allocations make these slow
SETTLED_STEPS = 10  # steps before the first forecast
# Fitted to the peaks in benchmarks/README.md, "Speed of training":
BASE_BYTES = 0.93e9  # TensorFlow, VGG19 and the optimizer
VALUES_OF_LOSS, VALUES_OF_NETWORK = 550, 820  # values in memory per pixel; the network's at width 1
# The kernels of VGG19 in the form of Winograd's algorithm (loss_net/convolution.py), measured to relu5_1
WINOGRAD_BYTES = 0.5e9
MEASURED_BLOCKS = 5  # residual blocks of the networks that were measured
# Not measured, for networks with more blocks: two convolutions with 128 channels at 1/16 of the pixels, each with four
# values in memory; and parameters, each with its gradient, two moments and a copy.
VALUES_OF_BLOCK, PARAMETERS_OF_BLOCK, COPIES_OF_PARAMETERS = 64, 2 * 9 * 128**2, 5


class Pace:
    """Measures the speed of a training from `first_step` on and forecasts its end.

    The time of a step is taken as proportional to the pixels of its crops. The time for saving, previews and
    validation counts too, because it delays the end.
    """

    def __init__(
        self, stages: Sequence[Stage], *, batch_size: int, first_step: int = 0, clock=time.perf_counter
    ):
        """clock: returns a time in seconds."""
        self.stages = stages
        self.batch_size = batch_size
        self._first_step = first_step
        self._clock = clock
        self._counted = 0
        self._start = 0.0

    def count(self) -> None:
        """Must be called after every step."""
        self._counted += 1
        if self._counted == WARMUP_STEPS:
            self._start = self._clock()

    def forecast(self) -> dict[str, float]:
        """Returns "images_per_second_overall" and "hours_left"; empty before SETTLED_STEPS steps."""
        if self._counted < SETTLED_STEPS:
            return {}
        step, timed_from = self._first_step + self._counted, self._first_step + WARMUP_STEPS
        seconds = self._clock() - self._start
        pixels_done = pixels_between(self.stages, timed_from, step)
        pixels_left = pixels_between(self.stages, step, self.stages[-1].last_step)
        return {
            "images_per_second_overall": self.batch_size * (step - timed_from) / seconds,
            "hours_left": pixels_left / pixels_done * seconds / 3600,
        }


def finish_time(hours_left: float, now: datetime | None = None) -> str:
    """Returns the local time in `hours_left` hours, "22:30", with the date in front if it is not today.

    Times that no calendar has, after the year 9999, are given as "in N years".
    """
    now = now or datetime.now()
    try:
        finish = now + timedelta(hours=hours_left)
    except OverflowError:
        return f"in {hours_left / 8766:.0f} years"
    return finish.strftime("%H:%M" if finish.date() == now.date() else "%Y-%m-%d %H:%M")


def bytes_needed(
    *,
    width: float,
    image_size: int,
    batch_size: int,
    bytes_per_value: int,
    residual_blocks: int = MEASURED_BLOCKS,
    network_passes: int = 1,
) -> int:
    """Estimates the peak memory of a training with a VGG19 loss on a CPU, in bytes.

    batch_size: images of one replica. bytes_per_value: 4 for float32, 2 for bfloat16.
    network_passes: how many pictures the network makes of each image, 2 with a stability loss.
    """
    more_blocks = max(0, residual_blocks - MEASURED_BLOCKS)
    pixels = image_size * image_size * batch_size
    of_network = (VALUES_OF_NETWORK + VALUES_OF_BLOCK * more_blocks) * width
    values = pixels * (VALUES_OF_LOSS + network_passes * of_network)
    kernels = WINOGRAD_BYTES if bytes_per_value == 4 and vector_bits() == 256 else 0
    parameters = more_blocks * PARAMETERS_OF_BLOCK * width**2
    return round(BASE_BYTES + kernels + values * bytes_per_value + 4 * parameters * COPIES_OF_PARAMETERS)


def peak_memory_bytes() -> int | None:
    """Returns the most memory that this process has held so far: of its first GPU, else main memory.

    Returns None if the system does not tell.
    """
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    return peak_memory()
