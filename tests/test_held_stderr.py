"""system/held_stderr.py: what C++ code writes to stderr is held and can be read."""

import os
import tempfile

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
