"""Times of frames and of packets of sound that increase, as containers need them."""

from fractions import Fraction

MOST_SINGLE_REPEATS = 3  # times in a row that may repeat before the file counts as one without times
LEAST_STEP = Fraction(1, 1000)  # seconds between two frames; Matroska counts milliseconds


class Times:
    """Increasing times of frames or packets, from those of a file, which may be missing, repeat or go back.

    step: the usual distance of two, least: the least distance; both in units of the time base.
    """

    def __init__(self, step: Fraction | int, least: Fraction | int):
        self._least = max(1, -(-least // 1))
        self._step = max(self._least, round(step))
        self._last: int | None = None
        self._offset = 0  # added to the times of the file since they went back
        self._repeats = 0  # in a row

    def following(self, time: int | None) -> int:
        """Returns `time`, or a time after the last one if it is not later."""
        if self._last is None:
            self._last = time or 0
        elif time is None:
            self._last += self._step
        elif time + self._offset >= self._last + self._least:
            self._last, self._repeats = time + self._offset, 0
        elif self._last - time - self._offset > MOST_SINGLE_REPEATS * self._step:
            # Another recording was appended.
            self._last += self._step
            self._offset = self._last - time
        else:
            # Single times that repeat must not delay what follows. Where all do, the usual distance is the best guess.
            self._repeats += 1
            self._last += self._least if self._repeats <= MOST_SINGLE_REPEATS else self._step
        return self._last
