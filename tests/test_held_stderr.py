"""system/held_stderr.py: what C++ code writes to stderr is held and can be read."""

import os
import tempfile
import threading
import time

from system.held_stderr import stderr_held


def test_what_is_written_meanwhile_is_held_and_can_be_read_within_and_after(capfd):
    with stderr_held() as written:
        os.write(2, b"first\n")
        assert written() == "first\n"
        os.write(2, b"second\n")
    assert written() == "first\nsecond\n"
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"


def test_an_exception_passes_and_the_messages_stay_readable(capfd):
    try:
        with stderr_held() as written:
            os.write(2, b"why\n")
            raise ValueError
    except ValueError:
        assert written() == "why\n"
    assert capfd.readouterr().err == ""


def test_messages_are_shown_where_nothing_can_be_held(monkeypatch, capfd):
    def fail():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with stderr_held() as written:
        os.write(2, b"shown\n")
    assert written() == ""
    assert capfd.readouterr().err == "shown\n"


def test_threads_that_hold_stderr_at_the_same_time_leave_it_as_it_was(capfd):
    inside, leave = threading.Event(), threading.Event()

    def first():
        with stderr_held():
            inside.set()
            leave.wait(10)

    def second():
        inside.wait(10)
        with stderr_held():
            leave.set()

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    time.sleep(0.05)  # the second one tries to enter
    leave.set()
    for thread in threads:
        thread.join(10)
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"
