"""Visits and the folder of a studio: what is kept for whom, and that it ends."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from web.studio import visits, workspace
from web.studio.visits import Visits
from web.studio.workspace import Workspace
from web.turns import Busy

ROOT = Path(__file__).resolve().parents[1]


def test_a_visit_has_a_private_folder_that_ends_with_it(tmp_path):
    everyone = Visits(tmp_path)
    visit = everyone.visit("a")
    assert everyone.visit("a") is visit and everyone.visit("b").folder != visit.folder
    (visit.new_folder() / "art.png").touch()
    everyone.end("a")
    assert not visit.folder.exists() and len(everyone) == 1
    everyone.end("a")  # once more is no error


def test_the_key_of_a_visit_is_no_part_of_a_path(tmp_path):
    folder = Visits(tmp_path).visit("../../outside").folder
    assert folder.parent == tmp_path and "outside" not in folder.name


def test_the_end_of_a_visit_stops_its_work_and_removes_what_that_writes_afterwards(tmp_path):
    everyone, stopped = Visits(tmp_path), []
    visit = everyone.visit("a")
    with visit.work(lambda: stopped.append(True)):
        everyone.end("a")
        assert stopped == [True]
        visit.folder.mkdir()
        (visit.folder / "late.png").touch()
    assert not visit.folder.exists()


def test_stop_tells_whether_there_was_work(tmp_path):
    visit = Visits(tmp_path).visit("a")
    assert not visit.stop_all()
    with visit.work(lambda: None):
        assert visit.is_working and visit.stop_all()
    assert not visit.is_working


def test_visits_that_never_say_good_bye_end_after_a_while(tmp_path):
    everyone = Visits(tmp_path)
    idle, working = everyone.visit("idle"), everyone.visit("working")
    with working.work(lambda: None):
        for visit in (idle, working):
            visit.seen -= visits.IDLE_SECONDS + 1
        everyone.visit("new")
    assert not idle.folder.exists() and working.folder.exists()


def test_there_is_a_limit_for_visits(tmp_path, monkeypatch):
    monkeypatch.setattr(visits, "MOST_VISITS", 2)
    everyone = Visits(tmp_path)
    everyone.visit("a"), everyone.visit("b")
    with pytest.raises(Busy):
        everyone.visit("c")
    everyone.end_all()
    assert list(tmp_path.iterdir()) == []


def test_the_workspace_is_private_and_removed(tmp_path):
    with Workspace(tmp_path) as workspace:
        (workspace.cache_dir / "visit").mkdir()
        (workspace.cache_dir / "visit" / "cat.jpg").write_bytes(bytes(1000))
        assert workspace.stored_bytes() == 1000
        assert workspace.root.stat().st_mode & 0o777 == 0o700
        assert workspace.private_dir.is_dir()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def later(monkeypatch):
    """A function: lets that many seconds pass for the workspace."""
    start = time.time()
    return lambda seconds: monkeypatch.setattr(
        workspace, "time", SimpleNamespace(time=lambda: start + seconds)
    )


def test_what_is_left_of_an_upload_is_removed_after_the_time_of_an_upload(tmp_path, later):
    with Workspace(tmp_path) as place:
        rest, complete = place.cache_dir / "tmpabc", place.cache_dir / "hash" / "tmpcat.png"
        complete.parent.mkdir()
        for path in (rest, complete):
            path.write_bytes(bytes(1000))
        later(60)
        place.sweep(keep_seconds=3600, upload_seconds=60)
        assert rest.exists()  # it may still be coming
        later(100)
        place.sweep(keep_seconds=3600, upload_seconds=60)
        assert not rest.exists() and place.stored_bytes() == 1000
        later(3700)
        place.sweep(keep_seconds=3600, upload_seconds=60)
        assert place.stored_bytes() == 0


def test_an_old_file_that_was_copied_now_is_kept(tmp_path):
    with Workspace(tmp_path) as place:
        path = place.cache_dir / "card.jpg"
        path.touch()
        os.utime(path, (0, 0))
        place.sweep(keep_seconds=3600, upload_seconds=60)
        assert path.exists()


def test_the_workspace_is_swept_again_and_again_until_it_is_closed(tmp_path, monkeypatch):
    sweeps, enough = [], threading.Event()

    def sweep(self, *seconds):
        sweeps.append(seconds)
        if len(sweeps) == 2:
            enough.set()

    monkeypatch.setattr(Workspace, "sweep", sweep)
    with Workspace(tmp_path) as place:
        place.keep_clean(0.01, 3600, 60)
        assert enough.wait(60) and sweeps[0] == (3600, 60)
        thread = next(thread for thread in threading.enumerate() if thread.name == "sweep")
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.skipif(os.name != "posix", reason="folders have no locks here")
def test_what_a_killed_studio_has_left_is_removed_and_a_running_one_keeps_its_folder(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from web.studio.workspace import Workspace\n"
        "workspace = Workspace(Path(sys.argv[1])); (workspace.cache_dir / 'cat.jpg').touch(); os.kill(os.getpid(), 9)"
    )
    with Workspace(tmp_path) as running:
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT)
        assert len(list(tmp_path.iterdir())) == 2
        with Workspace(tmp_path) as later:
            assert {path.resolve() for path in tmp_path.iterdir()} == {running.root, later.root}
