"""fuzz/engine.py: every kind of fault is found, and good targets pass."""

import os
import subprocess
import sys
import time

import pytest

from fuzz import engine
from fuzz.engine import Target, run_cases

GREEDY_PROCESS = [sys.executable, "-c", "import time; b = bytearray(b'x') * 300_000_000; time.sleep(2)"]


class Refused(ValueError):
    pass


def target_of(run, **limits) -> Target:
    # Children start with the memory of this process, which earlier tests may have made larger than the usual limit.
    limits = {"memory": 1e11, **limits}
    return Target("planted", lambda: {"good": b"good"}, run, lambda: (Refused,), **limits)


def damaged_only(action):
    """A target that does `action` with every damaged input."""
    return lambda content, folder: None if content == b"good" else action()


def refuse(text: str):
    def action():
        raise Refused(text)

    return action


def test_a_target_that_refuses_in_one_line_has_no_finding():
    outcomes, findings = run_cases(target_of(damaged_only(refuse("x.bin: damaged"))), 30, seed=0)
    assert not findings
    assert sum(outcomes.values()) == 30
    assert outcomes["refused"] >= 25  # a change may give the seed again


@pytest.mark.parametrize(
    "action, limits, expected",
    [
        (lambda: 1 // 0, {}, "ZeroDivisionError"),
        (refuse("two\nlines"), {}, "not one line"),
        (refuse("\x1b[31mred"), {}, "not one line"),
        (lambda: os.abort(), {}, "SIGABRT"),
        (lambda: os._exit(3), {}, "status 3"),
        (lambda: time.sleep(60), {"seconds": 0.3}, "no end after 0.3 s"),
        (lambda: (bytearray(b"x") * 300_000_000, time.sleep(0.5)), {"memory": 1e8}, "more than 0.1 GB"),
        (lambda: subprocess.run(GREEDY_PROCESS), {"memory": 1e8}, "more than 0.1 GB"),
    ],
    ids=["exception", "two lines", "escape", "crash", "exit", "hang", "memory", "memory of a process"],
)
def test_every_kind_of_fault_is_found_and_the_loop_goes_on(action, limits, expected):
    outcomes, findings = run_cases(target_of(damaged_only(action), **limits), 3, seed=0)
    assert findings and all(expected in finding.what for finding in findings)
    assert sum(outcomes.values()) == 3


@pytest.mark.parametrize(
    "action, expected",
    [
        (refuse("bad"), "the undamaged input good is refused: bad"),
        (os.abort, "undamaged input: the process died"),
    ],
)
def test_a_seed_that_is_not_read_is_the_one_finding(tmp_path, action, expected):
    def run(content, folder):
        with open(tmp_path / "runs", "ab") as runs:
            runs.write(b".")
        action()

    outcomes, (finding,) = run_cases(target_of(run), 10, seed=0)
    assert expected in finding.what and finding.case is None and not outcomes
    assert (tmp_path / "runs").read_bytes() == b"."


def test_a_seed_that_is_not_read_is_printed_without_an_input(capsys):
    assert engine.main(target_of(lambda content, folder: refuse("bad")()), ["--cases", "3"]) == 1
    assert "  the undamaged input good is refused: bad\n" in capsys.readouterr().out


def test_kept_seeds_run_first_and_unchanged(tmp_path, monkeypatch):
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "old_finding").write_bytes(b"once bad")
    monkeypatch.setattr(engine, "KEPT_SEEDS_DIR", tmp_path)

    def run(content, folder):
        if content == b"once bad":
            raise RuntimeError("again")

    outcomes, findings = run_cases(target_of(run), 2, seed=0)
    assert [finding.case for finding in findings] == [0]
    assert sum(outcomes.values()) == 3


def test_the_same_seed_gives_the_same_inputs():
    target = target_of(lambda content, folder: None)
    first, second = ([engine.case_content(target, seed, case) for case in range(20)] for seed in (1, 1))
    assert first == second != [engine.case_content(target, 2, case) for case in range(20)]
