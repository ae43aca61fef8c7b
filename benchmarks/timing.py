"""Times of repeated runs, for the benchmarks."""

import statistics
import time
from collections.abc import Callable, Sequence


def run_seconds(call: Callable[[], object], runs: int) -> list[float]:
    """Returns the seconds that each of `runs` calls takes."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Returns the median of at least two values, and the relative spread: interquartile range over median."""
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, (high - low) / middle
