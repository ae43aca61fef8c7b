"""system/signals.py: obeyed at once, or noted until the work can stop."""

import os
import signal

import pytest

from system.signals import Interrupted, NotedInterrupts, raised_interrupts

SIGNALS = [(signal.SIGINT, "SIGINT", 130), (signal.SIGTERM, "SIGTERM", 143)]


@pytest.fixture(autouse=True)
def handlers_are_put_back():
    before = [signal.getsignal(number) for number, _, _ in SIGNALS]
    yield
    assert [signal.getsignal(number) for number, _, _ in SIGNALS] == before


@pytest.mark.parametrize(("number", "name", "status"), SIGNALS)
def test_a_signal_raises_with_its_name_and_exit_status(number, name, status):
    with pytest.raises(Interrupted) as raised, raised_interrupts():
        os.kill(os.getpid(), number)
    assert (raised.value.name, raised.value.status) == (name, status)


def test_except_exception_does_not_swallow_a_signal():
    with pytest.raises(Interrupted), raised_interrupts():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except Exception:
            pytest.fail("a signal is no error of the work")


@pytest.mark.parametrize(("number", "name", "status"), SIGNALS)
def test_the_first_signal_is_noted_and_the_second_raises(number, name, status):
    with NotedInterrupts() as interrupts:
        assert interrupts.received == ""
        os.kill(os.getpid(), number)
        assert interrupts.received == name
        with pytest.raises(Interrupted) as raised:
            os.kill(os.getpid(), signal.SIGINT)
        assert raised.value.status == 130 and interrupts.received == name


def test_noting_within_raising_gives_the_outer_way_back():
    with raised_interrupts():
        with NotedInterrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.received == "SIGTERM"
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
