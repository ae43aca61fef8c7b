"""system/threads.py: several at once, in order, and never more than there is memory for."""

import threading
import time

import pytest

from system.threads import MemoryBudget, in_order


def test_items_come_in_order_with_what_went_wrong():
    def work(item: int) -> None:
        time.sleep(0.01 * (item == 0))  # the first is done last
        if item == 2:
            raise ValueError("two")

    outcomes = list(in_order(range(5), work, workers=3))
    assert [item for item, _ in outcomes] == [0, 1, 2, 3, 4]
    assert [type(future.exception()) for _, future in outcomes] == [type(None)] * 2 + [ValueError] + [
        type(None)
    ] * 2


def test_as_many_work_at_once_as_there_are_workers():
    together = threading.Barrier(3, timeout=10)  # breaks unless three wait for each other
    assert [
        future.exception() for _, future in in_order(range(6), lambda _: together.wait() and None, workers=3)
    ] == [None] * 6


def test_little_is_begun_ahead_and_what_waits_is_called_off():
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.1)

    outcomes = in_order(range(100), work, workers=2)
    next(outcomes)
    outcomes.close()  # waits for the two that work, and not for the two that wait for them
    assert len(begun) <= 4


@pytest.mark.parametrize("workers", [1, 2])
def test_work_that_has_started_is_told_to_stop_when_the_caller_is_interrupted(workers):
    stopped = threading.Event()

    def work(item: int) -> None:
        if item and not stopped.wait(timeout=30):
            raise TimeoutError("nobody said stop")

    outcomes = in_order(range(5), work, workers, stop=stopped.set)
    next(outcomes)
    outcomes.close()
    assert stopped.is_set()


def test_a_run_to_the_end_stops_nothing():
    stopped = threading.Event()
    assert len(list(in_order(range(5), lambda item: None, 2, stop=stopped.set))) == 5
    assert not stopped.is_set()


def test_a_budget_makes_wait_who_wants_too_much_at_once():
    budget, held, most = MemoryBudget(100), [], []
    lock = threading.Lock()

    def work(wanted: int) -> None:
        with budget.reserved(wanted):
            with lock:
                held.append(wanted)
                most.append(sum(held))
            time.sleep(0.005)
            with lock:
                held.remove(wanted)

    assert not any(
        future.exception() for _, future in in_order([40, 70, 30, 60, 30, 30, 90, 10], work, workers=4)
    )
    assert max(most) <= 100 and len(most) == 8


def test_who_wants_more_than_all_gets_all():
    budget = MemoryBudget(100)
    with budget.reserved(float("inf")):
        waiting = threading.Thread(target=lambda: budget.reserved(1).__enter__(), daemon=True)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_failure_gives_back_what_it_held():
    budget = MemoryBudget(100)
    with pytest.raises(ValueError, match="no"), budget.reserved(100):
        raise ValueError("no")
    with budget.reserved(100):
        pass
