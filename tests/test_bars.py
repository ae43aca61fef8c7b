"""cli/bars.py: a bar on a terminal, few lines in a log."""

import re
import sys
import time

import pytest

from cli import bars
from cli.bars import progress_bar


@pytest.fixture
def line_every(monkeypatch):
    return lambda seconds: monkeypatch.setattr(bars, "LINE_SECONDS", seconds)


def test_a_log_gets_nothing_of_work_that_is_soon_done(capsys):
    with progress_bar(total=1000, unit="photos", desc="stylizing") as bar:
        for _ in range(1000):
            bar.update()
    assert capsys.readouterr().err == ""


def test_a_log_gets_whole_lines_at_the_pace_that_is_set(capsys, line_every):
    line_every(0.1)
    start = time.perf_counter()
    with progress_bar(total=100, unit="photos", desc="stylizing") as bar:
        while (passed := time.perf_counter() - start) < 0.55:
            time.sleep(0.01)
            bar.update(1)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= passed / 0.1
    pattern = r"stylizing: +\d+% \d+ of 100 photos, 00:00 passed, \d\d:\d\d left"
    assert all(re.fullmatch(pattern, line) for line in lines)


def test_a_log_gets_a_line_every_half_minute():
    assert bars.LINE_SECONDS == 30


def test_messages_stand_on_lines_of_their_own(capsys, line_every):
    line_every(0.0)
    with progress_bar(total=3, unit="photos", desc="stylizing") as bar:
        bar.update()
        bar.write("infer.py: a.png: is empty", file=sys.stderr)
        bar.update()
    assert "infer.py: a.png: is empty" in capsys.readouterr().err.splitlines()


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bar(total=3, unit="photos", desc="stylizing") as bar:
        bar.update(3)
    assert "\r" in (written := capsys.readouterr().err) and "100%|" in written


def test_the_bar_of_a_training_forecasts_nothing_itself(monkeypatch, capsys):
    monkeypatch.setattr(bars, "LINE_SECONDS", 0.0)
    with bars.steps_bar(total=10, initial=4, desc="wave on CPU") as bar:
        bar.set_postfix_str("done at 22:30", refresh=False)
        bar.update(1)
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"wave on CPU:  50% 5 of 10 steps, 00:00 passed, done at 22:30", line)
