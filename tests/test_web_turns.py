"""Turns: order, limits, room, and giving up."""

import threading

import pytest
from waiting import wait_until

from web.turns import Busy, ClientGone, Deadline, GaveUp, Turns


def long() -> Deadline:
    return Deadline(60)


class Holder(threading.Thread):
    """A thread that takes a turn and holds it until `release`; notes its name in `order`."""

    def __init__(self, turns: Turns, order: list, name: str, takes: float = 1.0):
        super().__init__(daemon=True)
        self.turns, self.order, self.takes, self.label = turns, order, takes, name
        self.places: list[int] = []
        self._release = threading.Event()
        self.start()

    def run(self) -> None:
        with self.turns.turn(long(), self.places.append, takes=self.takes):
            self.order.append(self.label)
            self._release.wait(60)

    def release(self) -> None:
        self._release.set()
        self.join(60)


def test_turns_are_taken_in_order_and_places_are_told():
    turns, order = Turns(5), []
    holders = []
    for name in "abc":
        holders.append(Holder(turns, order, name))
        wait_until(lambda: all(holder.places for holder in holders))
    wait_until(lambda: order == ["a"] and turns.waiting == 2)
    for holder in holders:
        holder.release()
    assert order == ["a", "b", "c"]
    assert holders[2].places[0] == 2 and holders[2].places[-1] == 0


def test_one_too_many_is_refused_at_once_with_a_time():
    turns, order = Turns(1), []
    first = Holder(turns, order, "a")
    wait_until(lambda: order)
    second = Holder(turns, order, "b")
    wait_until(lambda: turns.waiting == 1)
    with pytest.raises(Busy, match="1 photos wait already") as caught, turns.turn(long()):
        pass
    assert caught.value.retry_after >= 1
    with pytest.raises(Busy):
        turns.check_free()
    first.release(), second.release()
    turns.check_free()


def test_frames_and_previews_do_not_count_for_the_time_of_photos(monkeypatch):
    turns, now = Turns(), [0.0]
    monkeypatch.setattr("web.turns.time.monotonic", lambda: now[0])

    def take(seconds: float, **options) -> float:
        with turns.turn(long(), **options):
            now[0] += seconds
        return turns.busy(10).retry_after

    photos = take(40.0, is_measured=True)
    assert photos > 40
    assert take(0.01) == photos


def test_nobody_may_wait_if_none_may():
    turns, order = Turns(0), []
    first = Holder(turns, order, "a")
    wait_until(lambda: order)
    with pytest.raises(Busy):
        turns.check_free()
    first.release()


def test_several_have_their_turn_while_there_is_room():
    turns, order = Turns(room=10.0), []
    holders = [Holder(turns, order, "a", 6), Holder(turns, order, "b", 4)]
    wait_until(lambda: len(order) == 2)
    third = Holder(turns, order, "c", 5)
    wait_until(lambda: turns.waiting == 1)
    holders[1].release()
    assert turns.waiting == 1  # 6 and 5 are more than 10
    holders[0].release()
    wait_until(lambda: order[-1] == "c")
    third.release()


def test_one_who_takes_more_than_all_room_has_it_alone():
    turns, order = Turns(room=10.0), []
    small = Holder(turns, order, "small", 1)
    wait_until(lambda: order)
    large = Holder(turns, order, "large", 99)
    wait_until(lambda: turns.waiting == 1)
    later = Holder(turns, order, "later", 1)
    wait_until(lambda: turns.waiting == 2)
    small.release()
    wait_until(lambda: order == ["small", "large"])
    assert turns.waiting == 1
    large.release(), later.release()
    assert order == ["small", "large", "later"]


def test_one_who_gives_up_leaves_the_line():
    turns, order = Turns(5), []
    first = Holder(turns, order, "a")
    wait_until(lambda: order)
    deadline = long()
    deadline.cancel(ClientGone())
    with pytest.raises(ClientGone, match="the client has gone"), turns.turn(deadline):
        pass
    assert turns.waiting == 0
    with pytest.raises(GaveUp, match="time limit of 0.01 seconds"), turns.turn(Deadline(0.01)):
        pass
    first.release()


def test_a_deadline_that_is_cancelled_without_a_reason_says_so():
    deadline = long()
    deadline.check()
    deadline.cancel()
    with pytest.raises(GaveUp, match="cancelled"):
        deadline.check()


def test_a_fault_within_a_turn_ends_it():
    turns = Turns(0)
    with pytest.raises(KeyError), turns.turn(long()):
        raise KeyError
    with turns.turn(long()):
        pass
