"""Tables of losses for the plots of the page."""

from collections.abc import Sequence
from typing import Any

MOST_POINTS = 600  # of each term; more make the page slow and look the same


def loss_table(losses: Sequence[tuple[int, str, float]], unit: str) -> Any:
    """A table with the columns `unit`, "term" and "loss" of (step, term, loss), thinned out."""
    import pandas

    steps = sorted({step for step, _, _ in losses})
    every = -(-len(steps) // MOST_POINTS) if steps else 1
    kept = {*steps[::every], *steps[-1:]}
    rows = [row for row in losses if row[0] in kept]
    return pandas.DataFrame(rows, columns=[unit, "term", "loss"])
