"""How large a training is and how long it will take: said before the first step, and corrected as it goes.

No TensorFlow here, but where a GPU is asked for its memory.
"""

import time
from datetime import datetime, timedelta

from system.machine import peak_memory

WARMUP_STEPS = 2  # tracing and the first allocations are not the pace of the rest
SETTLED_STEPS = 10  # from then on the forecast is shown
BASE_BYTES = 0.93e9  # TensorFlow, VGG19 and the optimiser
VALUES_OF_LOSS, VALUES_OF_NETWORK = 550, 820  # per pixel; the network's at width 1


class Pace:
    """Steps against the clock: images per second so far in this call, and when the last step will be done.

    Saving, previews and validation count: the forecast is for the watch on the wall.
    """

    def __init__(self, *, steps: int, batch_size: int, clock=time.perf_counter):
        self.steps = steps
        self.batch_size = batch_size
        self._clock = clock
        self._counted = 0
        self._start = 0.0

    def count(self) -> None:
        """Called after every step."""
        self._counted += 1
        if self._counted == WARMUP_STEPS:
            self._start = self._clock()

    def forecast(self, step: int) -> dict[str, float]:
        """ "images_per_second_overall" and "hours_left" after `step`; empty in the first SETTLED_STEPS."""
        timed = self._counted - WARMUP_STEPS
        if self._counted < SETTLED_STEPS:
            return {}
        seconds = (self._clock() - self._start) / timed
        return {
            "images_per_second_overall": self.batch_size / seconds,
            "hours_left": (self.steps - step) * seconds / 3600,
        }


def finish_time(hours_left: float, now: datetime | None = None) -> str:
    """When that is, as a clock shows it, with the date unless it is today."""
    now = now or datetime.now()
    finish = now + timedelta(hours=hours_left)
    return finish.strftime("%H:%M" if finish.date() == now.date() else "%Y-%m-%d %H:%M")


def bytes_needed(*, width: float, image_size: int, batch_size: int, bytes_per_value: int) -> int:
    """About the memory that a training of a VGG19 loss takes at its peak on a CPU, in bytes; measured, not derived.

    `batch_size`: of one replica. `bytes_per_value`: 4 for float32, 2 for bfloat16. See benchmarks/README.md for
    what it was fitted to.
    """
    pixels = image_size * image_size * batch_size
    values = pixels * (VALUES_OF_LOSS + VALUES_OF_NETWORK * width)
    return round(BASE_BYTES + values * bytes_per_value)


def peak_memory_bytes() -> int | None:
    """The most memory that the process has held so far: of the first GPU where there is one; None if unknown."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    return peak_memory()
