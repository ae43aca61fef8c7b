"""data/guarded_stream.py: no exception is lost in PyAV, and no signal."""

import io
import os
import signal

import pytest

from data.guarded_stream import GuardedStream, signals_wait
from system.signals import Interrupted, raised_interrupts


class Broken(io.BytesIO):
    def __init__(self, error):
        super().__init__()
        self.error, self.calls = error, 0

    def write(self, content):
        self.calls += 1
        raise self.error

    def read(self, size=-1):
        self.calls += 1
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), Interrupted("SIGINT"), ValueError("closed")]
)
def test_the_first_exception_is_raised_at_the_end_and_the_stream_is_not_used_again(error):
    broken = Broken(error)
    stream = GuardedStream(broken)
    with pytest.raises(type(error)) as caught, stream.raised():
        assert stream.write(b"a") < 0 and stream.write(b"b") < 0
        assert stream.read(4) == b"" and stream.seek(0) < 0
        raise RuntimeError("what PyAV makes of it")
    assert caught.value is error and broken.calls == 1


def test_a_position_that_cannot_be_is_an_answer_and_no_fault():
    stream = GuardedStream(io.BytesIO(b"abc"))
    with stream.raised():
        assert stream.seek(-5) < 0 and stream.seek(2) == 2 and stream.read(9) == b"c"
    with open(__file__, "rb") as file:
        stream = GuardedStream(file)
        assert stream.seek(-1) < 0 and stream.seek(2**70) < 0 and stream.seek(1) == 1 and stream.fault is None


def test_other_exceptions_pass():
    with pytest.raises(RuntimeError), GuardedStream(io.BytesIO()).raised():
        raise RuntimeError


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_waits_for_the_end_of_the_context(name):
    reached = []
    with raised_interrupts(), pytest.raises(Interrupted) as caught, signals_wait():
        os.kill(os.getpid(), signal.Signals[name])
        reached.append(True)
    assert reached and caught.value.name == name


def test_a_signal_counts_more_than_the_error_that_follows_it():
    with raised_interrupts(), pytest.raises(Interrupted), signals_wait():
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("a frame cannot be encoded")
