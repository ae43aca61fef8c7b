"""Visits and the folder of a studio: what is kept for whom, and that it ends."""

import importlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from web.studio import visits, workspace
from web.studio.config import StudioConfig
from web.studio.uploads import Upload
from web.studio.visits import Visits
from web.studio.workspace import Workspace
from web.turns import Busy, Deadline, GaveUp

ROOT = Path(__file__).resolve().parents[1]


def test_a_visit_has_a_private_folder_that_ends_with_it(tmp_path):
    everyone = Visits(tmp_path)
    visit = everyone.visit("a")
    folder = visit.folder
    assert everyone.visit("a") is visit and everyone.visit("b").folder != folder == visit.folder
    (visit.new_folder() / "art.png").touch()
    everyone.end("a")
    assert not folder.exists() and len(everyone) == 1
    everyone.end("a")  # once more is no error


def test_the_key_of_a_visit_is_no_part_of_a_path(tmp_path):
    folder = Visits(tmp_path).visit("../../outside").folder
    assert folder.parent == tmp_path and "outside" not in folder.name


def test_the_end_of_a_visit_stops_its_work_and_removes_what_that_writes_afterwards(tmp_path):
    everyone, stopped = Visits(tmp_path), []
    visit = everyone.visit("a")
    folder = visit.folder
    with visit.work(lambda: stopped.append(True)):
        everyone.end("a")
        assert stopped == [True]
        folder.mkdir()
        (folder / "late.png").touch()
    assert not folder.exists()


def test_a_visit_that_is_over_gets_no_new_folder(tmp_path):
    everyone = Visits(tmp_path)
    visit = everyone.visit("a")
    everyone.end("a")
    with pytest.raises(GaveUp):
        visit.new_folder()
    assert list(tmp_path.iterdir()) == []


def test_stop_tells_whether_there_was_work(tmp_path):
    visit = Visits(tmp_path).visit("a")
    assert not visit.stop_all()
    with visit.work(lambda: None):
        assert visit.is_working and visit.stop_all()
    assert not visit.is_working


def test_visits_that_never_say_good_bye_end_after_a_while(tmp_path):
    everyone = Visits(tmp_path)
    idle, working = everyone.visit("idle"), everyone.visit("working")
    folders = idle.folder, working.folder
    with working.work(lambda: None):
        for visit in (idle, working):
            visit.seen -= visits.IDLE_SECONDS + 1
        everyone.visit("working")
    assert [folder.exists() for folder in folders] == [False, True]


def test_a_visit_without_files_has_no_folder(tmp_path):
    everyone = Visits(tmp_path)
    for number in range(20):
        everyone.visit(str(number))
    assert list(tmp_path.iterdir()) == []
    everyone.end_all()


def test_a_flood_of_visits_closes_the_studio_for_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(visits, "MOST_VISITS", 4)
    everyone = Visits(tmp_path)
    looking, working = everyone.visit("looking"), everyone.visit("working")
    result = looking.new_folder() / "art.png"
    result.touch()
    with working.work(lambda: pytest.fail("the work of a visitor was stopped")):
        for number in range(20):
            everyone.visit(f"flood {number}")
        assert len(everyone) == 4
        assert everyone.visit("working") is working
        assert everyone.visit("looking") is looking and result.exists()
    everyone.end_all()
    assert list(tmp_path.iterdir()) == []


def test_visits_with_files_end_when_there_is_no_other_room_the_oldest_first(tmp_path, monkeypatch):
    monkeypatch.setattr(visits, "MOST_VISITS", 2)
    everyone = Visits(tmp_path)
    first, second = everyone.visit("first"), everyone.visit("second")
    first.seen -= 10
    folders = [visit.new_folder() for visit in (second, first)]
    everyone.visit("third")
    assert [folder.exists() for folder in folders] == [True, False]


def test_visits_at_work_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(visits, "MOST_VISITS", 1)
    everyone = Visits(tmp_path)
    with everyone.visit("a").work(lambda: None), pytest.raises(Busy):
        everyone.visit("b")
    everyone.visit("b")


def test_work_that_begins_after_the_end_of_its_visit_is_stopped_at_once(tmp_path):
    everyone, stopped = Visits(tmp_path), []
    visit = everyone.visit("a")
    everyone.end("a")
    with visit.work(lambda: stopped.append(True)):
        assert stopped == [True]


def test_looking_a_visit_up_begins_none(tmp_path):
    everyone = Visits(tmp_path)
    assert everyone.find("a") is None and len(everyone) == 0
    assert everyone.find("a") is None
    visit = everyone.visit("a")
    assert everyone.find("a") is visit


def stub_studio(**parts) -> SimpleNamespace:
    """A studio that has no room for visits."""
    pytest.importorskip("gradio", reason="the studio needs gradio")
    from web.studio.studio import Studio

    studio = SimpleNamespace(
        config=StudioConfig(), folders=dict, trainings=None, visits=FullVisits(),
        maker=SimpleNamespace(deadline=lambda: Deadline(60.0)), **parts,
    )  # fmt: skip
    for name in ("visit", "work", "stop"):
        setattr(studio, name, getattr(Studio, name).__get__(studio))
    return studio


class FullVisits:
    """Stands in for Visits."""

    def visit(self, key):
        raise Busy("9 visitors are here already", 60.0)

    def find(self, key):
        return None


def event(name: str):
    """The function of an event, and its values without those of the request."""
    from web.studio.clip_tab import ClipTab
    from web.studio.live_tab import LiveTab
    from web.studio.photo_tab import PhotoTab
    from web.studio.slow_tab import SlowTab

    upload = Upload(Path("cat.png"), "cat.png")
    return {
        "photo": (PhotoTab._make, (upload, None)), "sheet": (PhotoTab._make_sheet, (upload,)),
        "mask": (PhotoTab._on_photo, (upload,)), "live": (LiveTab._frame, (b"frame", "waves", 256)),
        "clip": (ClipTab._make, ([upload], "waves", 80, 640, False)),
        "slow": (SlowTab._make, (upload, upload, "gatys", 320, 100, "content")),
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", ["photo", "sheet", "mask", "live", "clip", "slow"])
def test_a_studio_without_room_says_so_in_every_tab(name):
    studio = stub_studio()
    function, values = event(name)
    with pytest.raises(Exception, match="9 visitors are here already") as caught:
        list(function(SimpleNamespace(_studio=studio), *values, SimpleNamespace(session_hash="a")) or ())
    assert type(caught.value).__module__.startswith("gradio")  # which the page shows as one line


@pytest.mark.parametrize("width", ["wide", None, float("nan"), float("inf"), [64]], ids=str)
def test_a_size_that_is_no_number_gets_one_line(width):
    studio = stub_studio()
    function, values = event("slow")
    values = (*values[:3], width, *values[4:])
    with pytest.raises(Exception, match="width must be a whole number") as caught:
        list(function(SimpleNamespace(_studio=studio), *values, SimpleNamespace(session_hash="a")))
    assert type(caught.value).__module__.startswith("gradio")


@pytest.mark.parametrize("tab", ["photo", "clip", "slow"])
def test_stop_begins_no_visit(tab, monkeypatch):
    studio = stub_studio()
    import gradio

    told = []
    monkeypatch.setattr(gradio, "Info", lambda line, duration: told.append(line))
    stop = {"photo": "photo_tab.PhotoTab", "clip": "clip_tab.ClipTab", "slow": "slow_tab.SlowTab"}[tab]
    module, kind = stop.split(".")
    function = getattr(importlib.import_module(f"web.studio.{module}"), kind)._stop
    function(SimpleNamespace(_studio=studio), SimpleNamespace(session_hash="a"))
    assert told == ["nothing is under way"]


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
