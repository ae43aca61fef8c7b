"""train.py and infer.py as processes of the studio: what they are told and how they end; the slow method."""

import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from cli.flags import UsageError
from web.studio.door_process import DoorProcess, flags_of
from web.studio.slow_runs import SlowFailure, SlowRequest, slow_pictures
from web.studio.uploads import Upload
from web.studio.visits import Visits


def test_no_value_becomes_a_flag_of_its_own():
    assert flags_of({"name": "--resume", "vgg": None, "steps": 5}) == ["--name=--resume", "--steps=5"]
    [flag, path] = flags_of({"preview": (Path("-x.png"),)})
    assert flag == "--preview" and path.startswith("/")


def use_doors_in(folder: Path, monkeypatch) -> None:
    def start(door: str) -> list[str]:
        return [sys.executable, str(folder / f"{door}.py")]

    monkeypatch.setattr("web.studio.door_process.door_start", start)


def door(tmp_path, monkeypatch, program: str) -> DoorProcess:
    (tmp_path / "door.py").write_text(program)
    use_doors_in(tmp_path, monkeypatch)
    return DoorProcess("door", [], tmp_path / "output.log")


def test_the_lines_of_a_door_are_read_and_those_of_libraries_are_not(tmp_path, monkeypatch):
    process = door(
        tmp_path, monkeypatch, "print('door.py: one'); print('I tensorflow: noise'); print('door.py: two')"
    )
    wait_for(lambda: not process.is_running)
    assert process.lines() == ["one", "two"] and process.status == 0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
def test_a_door_is_stopped_by_a_signal_and_killed_if_it_does_not_end(tmp_path, monkeypatch):
    polite = (
        "import signal, time\nsignal.signal(2, signal.default_int_handler)  # ignored in the background of scripts\n"
        "print('door.py: on', flush=True)\n"
        "try: time.sleep(60)\nexcept KeyboardInterrupt: print('door.py: saved')"
    )
    process = door(tmp_path, monkeypatch, polite)
    wait_for(lambda: process.lines() == ["on"])
    process.end()
    assert process.lines() == ["on", "saved"] and process.status == 0

    deaf = "import signal, time\nsignal.signal(2, signal.SIG_IGN)\nprint('door.py: on', flush=True)\ntime.sleep(60)"
    process = door(tmp_path, monkeypatch, deaf)
    wait_for(lambda: process.lines() == ["on"])
    process.end(0.2)
    assert process.status == -9


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
def test_a_door_that_saves_its_state_is_not_disturbed_by_a_second_stop(tmp_path, monkeypatch):
    saving = (
        "import pathlib, signal, time\nsignal.signal(2, signal.default_int_handler)\nprint('door.py: on', flush=True)\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('door.py: saving', flush=True)\n"
        f"    while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.05)\n"
        "    print('door.py: saved')"
    )
    process = door(tmp_path, monkeypatch, saving)
    wait_for(lambda: process.lines() == ["on"])
    process.stop()
    wait_for(lambda: process.lines() == ["on", "saving"])
    process.stop()  # a double click, another page, the end of the studio
    time.sleep(0.3)  # a signal would have arrived
    assert process.is_running
    (tmp_path / "go").touch()
    process.end()
    assert process.lines() == ["on", "saving", "saved"] and process.status == 0


def test_only_the_end_of_a_long_log_is_read(tmp_path, monkeypatch):
    process = door(tmp_path, monkeypatch, "pass")
    wait_for(lambda: not process.is_running)
    bar = "".join(f"\r{share}% of it, 1 s passed" for share in range(100))
    (tmp_path / "output.log").write_text("door.py: early\n" + "noise\n" * 2_000_000 + bar)
    tracemalloc.start()
    try:
        assert process.progress() == "99% of it, 1 s passed" and process.lines() == []
        assert tracemalloc.get_traced_memory()[1] < 2_000_000  # of 12 MB
    finally:
        tracemalloc.stop()


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def slow_request(tiny_inputs, **changes) -> SlowRequest:
    fields = {
        "photo": Upload(tiny_inputs / "photos" / "photo0.png", "cat.png"),
        "painting": Upload(tiny_inputs / "style.png", "wave.png"),
        "preset": "athalye", "width": 64, "iterations": 3, "initial": "content",
    }  # fmt: skip
    return SlowRequest(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes", [{"width": 10_000}, {"iterations": 0}, {"preset": "../x"}, {"initial": "/etc/passwd"}], ids=str
)
def test_settings_of_the_slow_method_have_limits(tiny_inputs, changes):
    with pytest.raises(UsageError):
        slow_request(tiny_inputs, **changes).check()


@pytest.mark.tensorflow
def test_the_slow_method_makes_a_picture_and_tells_its_losses(tiny_inputs, tmp_path):
    visit = Visits(tmp_path).visit("a")
    *_, last = slow_pictures(slow_request(tiny_inputs), visit, tiny_inputs / "vgg.npz", seconds=300)
    assert not last.is_running and last.iteration == 3
    assert last.picture.name == "cat_wave.png" and last.picture.is_file()
    assert {term for _, term, _ in last.losses} == {"content", "style", "total"}


def test_a_slow_method_that_fails_gives_its_last_line(tiny_inputs, tmp_path, monkeypatch):
    use_doors_in(tmp_path, monkeypatch)
    (tmp_path / "infer.py").write_text("print('infer.py: too small')")
    with pytest.raises(SlowFailure, match="too small"):
        list(slow_pictures(slow_request(tiny_inputs), Visits(tmp_path).visit("a"), None, seconds=300))
