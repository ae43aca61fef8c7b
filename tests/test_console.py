"""system/console.py: streams that fail cost nothing, and text cannot command a terminal."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli import doors
from cli.doors import run_door
from cli.flags import UsageError, report
from system.console import printable, unfailing_streams

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain", "plain"),
        ("ein Bär.png", "ein Bär.png"),
        ("a\u202fb", "a\u202fb"),  # the narrow space in names of macOS
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("a\u2028b", "a\\u2028b"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),  # would show the rest from right to left
        (os.fsdecode(b"caf\xe9.png"), "caf\\xe9.png"),
        ("\ud800", "\\ud800"),  # half of a pair, as JSON may contain it
        ("\x9b31m", "\\x9b31m"),  # a control sequence in one character
    ],
)
def test_printable_shows_every_character_and_obeys_none(text, shown):
    assert printable(text) == shown


class Failing(io.TextIOBase):
    def __init__(self, error: Exception):
        self.error, self.calls = error, 0

    def write(self, text):
        self.calls += 1
        raise self.error

    flush = write_line = lambda self: self.write("")


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), BrokenPipeError(), ValueError("closed file")]
)
def test_a_stream_that_fails_raises_nothing_and_is_left_alone(monkeypatch, error):
    stream = Failing(error)
    monkeypatch.setattr(sys, "stderr", stream)
    with unfailing_streams():
        for _ in range(3):
            report("infer.py", "hello")
    assert stream.calls == 1
    assert sys.stderr is stream


@pytest.mark.parametrize(
    "error, status",
    [(OSError(28, "No space left on device"), 1), (BrokenPipeError(32, "Broken pipe"), 0)],
    ids=["a full disk", "a reader that went away"],
)
def test_stdout_that_fails_is_reported_at_the_end(monkeypatch, capsys, error, status):
    monkeypatch.setattr(sys, "stdout", Failing(error))
    done = []
    assert (
        run_door("x.py", lambda: None, lambda call: print("hi") or done.append(1) or 0, lambda call: ())
        == status
    )
    assert done
    assert ("No space left" in capsys.readouterr().err) == bool(status)


def test_a_stream_that_cannot_encode_a_text_writes_escapes(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with unfailing_streams():
        print("Bär")
    assert stream.buffer.getvalue() == b"B\\xe4r\n"


def run_with_closed(number: int, code: str) -> subprocess.CompletedProcess:
    """Runs Python with descriptor `number` closed from its start."""
    program = (
        f"import os; os.close({number}); os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {code!r}])"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX")
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_file_never_gets_the_number_of_a_closed_stream(number):
    code = (
        "import sys\nfrom system.console import unfailing_streams\n"
        "with unfailing_streams() as streams:\n"
        "    print('out'); print('err', file=sys.stderr)\n"
        "    opened = open('README.md').fileno()\n"
        "    streams.out.flush()\n"
        "    sys.exit(opened if opened < 3 else 10 + bool(streams.output_fault()))"
    )
    process = run_with_closed(number, code)
    assert process.returncode == (11 if number == 1 else 10)
    assert "Traceback" not in process.stderr


def test_every_error_of_a_door_is_one_line(capsys):
    def fail(call):
        raise UsageError("bad name \x1b[2J\nsecond line")

    assert run_door("x.py", lambda: None, fail, lambda call: ()) == 2
    assert capsys.readouterr().err == "x.py: bad name \\x1b[2J\\nsecond line\n"


def test_log_messages_cannot_command_a_terminal(capsys):
    def run(call):
        logging.getLogger("data.pipeline").warning("%s is skipped\nadvice", "a\x1b[2J.png")
        return 0

    assert run_door("x.py", lambda: None, run, lambda call: ()) == 0
    assert capsys.readouterr().err == "a\\x1b[2J.png is skipped\nadvice\n"
    assert not any(
        isinstance(handler.formatter, doors._PrintableFormatter) for handler in logging.getLogger().handlers
    )


def test_an_interrupt_while_flags_are_read_is_one_line(capsys):
    from system.signals import Interrupted

    def interrupted():
        raise Interrupted("SIGTERM")

    assert run_door("x.py", interrupted, lambda call: 0, lambda call: ()) == 143
    assert capsys.readouterr().err == "x.py: interrupted by SIGTERM\n"


def test_an_interrupt_that_a_library_turned_into_another_error_is_still_an_interrupt(capsys):
    def run(call):
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException as error:
            raise ImportError("initialization failed") from error

    assert run_door("x.py", lambda: None, run, lambda call: ()) == 130
    assert capsys.readouterr().err == "x.py: interrupted by SIGINT\n"


def test_an_interrupt_that_a_library_swallowed_is_told_if_the_work_failed(capsys):
    def run(call):
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)
        return 1

    assert run_door("x.py", lambda: None, run, lambda call: ()) == 143
    assert capsys.readouterr().err == "x.py: interrupted by SIGTERM\n"


def test_a_thread_that_cannot_start_is_one_line(capsys):
    def run(call):
        raise RuntimeError("can't start new thread")

    assert run_door("x.py", lambda: None, run, lambda call: ()) == 1
    assert capsys.readouterr().err.startswith("x.py: not enough memory or processes to start a thread")


def test_a_package_of_the_training_that_is_missing_is_one_line(capsys):
    def run(call):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    assert run_door("x.py", lambda: None, run, lambda call: ()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("x.py: the package tensorflow is not installed; run make install")


def test_a_package_of_inference_that_is_missing_is_one_line_too(capsys):
    def parse():  # flags are checked by modules that import NumPy
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    assert run_door("x.py", parse, lambda call: 0, lambda call: ()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "x.py: the package numpy is not installed; run make demo or pip install -r requirements-infer.txt"
    )


def test_a_module_of_ours_that_is_missing_keeps_its_traceback():
    def run(call):
        raise ModuleNotFoundError("No module named 'cli.nothing'", name="cli.nothing")

    with pytest.raises(ModuleNotFoundError):
        run_door("x.py", lambda: None, run, lambda call: ())
