"""Trainings in the studio: what train.py is told, what is read of it, and what becomes of the files that were sent."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from cli.flags import UsageError
from web.studio import trainings as module
from web.studio.config import StudioConfig
from web.studio.training_events import Preview, TrainingEvents
from web.studio.training_requests import TrainingRequest
from web.studio.trainings import FAILED, FINISHED, IDLE, RUNNING, STARTING, STOPPED, Trainings
from web.studio.uploads import Upload


class FakeProcess:
    """Stands in for train.py."""

    calls: list = []

    def __init__(self, door, flags, log_path):
        FakeProcess.calls.append((door, flags))
        self.status, self.is_stopped, self.said = None, False, []

    @property
    def is_running(self):
        return self.status is None

    def lines(self):
        return self.said

    def progress(self):
        return ""

    def stop(self):
        self.is_stopped = True

    def end(self):
        self.status = 130


@pytest.fixture
def trainings(tmp_path, tiny_inputs, monkeypatch) -> Trainings:
    FakeProcess.calls = []
    monkeypatch.setattr(module, "DoorProcess", FakeProcess)
    monkeypatch.setattr(Trainings, "missing", lambda self: "")
    config = StudioConfig(
        styles_dir=tmp_path / "styles",
        runs_dir=tmp_path / "runs",
        content_dir=(tiny_inputs / "photos",),
        vgg=tiny_inputs / "vgg.npz",
        max_training_steps=5000,
    )
    return Trainings(config, tmp_path / "private", ("--width", "0.125"))


@pytest.fixture
def request_for(tiny_inputs):
    def build(**changes):
        painting = Upload(tiny_inputs / "style.png", "my wave.png")
        return TrainingRequest(**{"painting": painting, "name": "wave", "folder": "photos", **changes})

    return build


def test_a_training_gets_the_operators_folder_and_a_copy_of_the_painting(
    trainings, request_for, tmp_path, tiny_inputs
):
    trainings.start(request_for(style_weight=50.0, steps=200))
    [(door, flags)] = FakeProcess.calls
    painting = tmp_path / "runs" / "wave" / "uploads" / "painting.png"
    assert door == "train" and flags[-2:] == ["--width", "0.125"]
    for flag in (
        "--name=wave", f"--style={painting}", f"--content-dir={tiny_inputs / 'photos'}", "--steps=200",
        "--style-weight=50.0", f"--output-dir={tmp_path / 'styles'}", f"--log-dir={tmp_path / 'runs' / 'wave'}",
    ):  # fmt: skip
        assert flag in flags
    assert painting.read_bytes() == (tiny_inputs / "style.png").read_bytes()


def test_the_flags_are_those_of_train(trainings, request_for):
    import train

    trainings.start(request_for(name="--name"))  # which is a name like any other
    options = train.parse_args(FakeProcess.calls[0][1])
    assert options.given["name"] == "--name" and options.given["steps"] == 1500


def test_sent_photos_get_names_of_the_studio(trainings, request_for, tmp_path, tiny_inputs):
    photos = tuple(Upload(path, f"../../{path.name}") for path in sorted((tiny_inputs / "photos").iterdir()))
    trainings.start(request_for(folder="", photos=photos))
    stored = tmp_path / "runs" / "wave" / "uploads" / "photos"
    assert sorted(path.name for path in stored.iterdir()) == [f"photo000{index}.png" for index in range(4)]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../x"}, {"name": "a/b"}, {"name": ""}, {"name": "."}, {"name": "base"}, {"name": "none"},
        {"name": "x" * 61}, {"name": "a\nb"}, {"folder": "/etc"}, {"folder": "elsewhere"}, {"folder": ""},
        {"steps": 0}, {"steps": 5001}, {"preset": "none"}, {"style_weight": -1.0}, {"style_weight": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_what_train_would_refuse_is_refused_before_anything_is_written(
    trainings, request_for, tmp_path, changes
):
    with pytest.raises(UsageError) as caught:
        trainings.start(request_for(**changes))
    assert "\n" not in str(caught.value) and "--" not in str(caught.value)
    assert FakeProcess.calls == [] and not (tmp_path / "runs").exists()


def test_no_style_and_no_run_is_replaced(trainings, request_for, tmp_path):
    (tmp_path / "styles" / "wave").mkdir(parents=True)
    with pytest.raises(UsageError, match="exists already"):
        trainings.start(request_for())
    state = tmp_path / "runs" / "sea" / "state"
    state.mkdir(parents=True)
    (state / "step_00000010.npz").touch()
    with pytest.raises(UsageError, match="resume it"):
        trainings.start(request_for(name="sea"))
    assert FakeProcess.calls == []


def test_one_training_runs_at_a_time(trainings, request_for):
    trainings.start(request_for())
    for start in (lambda: trainings.start(request_for(name="b")), lambda: trainings.resume("wave"),
                  lambda: trainings.start_grid(request_for())):  # fmt: skip
        with pytest.raises(UsageError, match="runs already"):
            start()


def test_the_phases_of_a_training(trainings, request_for, tmp_path):
    assert trainings.status().phase == IDLE and not trainings.stop()
    trainings.start(request_for())
    process = trainings._run.process
    assert trainings.status().phase == RUNNING
    assert trainings.stop() and process.is_stopped and trainings.status().phase == "stopping"
    process.status, process.said = 130, ["state saved"]
    status = trainings.status()
    assert (status.phase, status.line, status.name, status.steps) == (STOPPED, "state saved", "wave", 1500)

    trainings.start(request_for(name="sea"))
    trainings._run.process.status, trainings._run.process.said = 1, ["--content-dir: too few photos"]
    assert trainings.status().phase == FAILED and trainings.status().line.startswith("content_dir: ")

    trainings.start(request_for(name="sky"))
    trainings._run.process.status = 0
    assert (tmp_path / "runs" / "sky" / "uploads").exists()
    assert trainings.status().phase == FINISHED
    assert not (tmp_path / "runs" / "sky" / "uploads").exists()


def test_a_stopped_training_is_resumed_by_its_name(trainings, tmp_path):
    state = tmp_path / "runs" / "wave" / "state"
    state.mkdir(parents=True)
    (state / "step_00000010.npz").touch()
    (tmp_path / "runs" / "wave" / "config.json").write_text('{"steps": 77}')
    assert trainings.unfinished() == ["wave"]
    trainings.resume("wave")
    assert "--resume" in FakeProcess.calls[0][1] and "--name=wave" in FakeProcess.calls[0][1]
    assert trainings.status().steps == 77


def test_the_preview_grid_tries_three_style_weights_and_writes_no_style(trainings, request_for):
    import train

    trainings.start_grid(request_for(style_weight=100.0))
    options = train.parse_args(FakeProcess.calls[0][1])
    assert options.preview_grid == trainings.grid_path and options.grid_weights == [25, 100, 400]
    assert trainings.status().is_grid


def test_closing_ends_the_training_and_no_other_one_starts(trainings, request_for):
    trainings.start(request_for())
    trainings.close()
    assert trainings._run.process.status == 130 and trainings.status().phase == STOPPED
    for start in (lambda: trainings.start(request_for(name="b")), lambda: trainings.start_grid(request_for()),
                  lambda: trainings.resume("wave")):  # fmt: skip
        with pytest.raises(UsageError, match="about to end"):
            start()
    assert len(FakeProcess.calls) == 1


@pytest.fixture
def slow_copies(monkeypatch):
    """(copying, go): the first says that a copy is under way, and the second lets it go on."""
    from web.studio import run_folders

    copying, go, copy = threading.Event(), threading.Event(), run_folders.shutil.copyfile

    def slow(source, target):
        copying.set()
        assert go.wait(60)
        return copy(source, target)

    monkeypatch.setattr(run_folders.shutil, "copyfile", slow)
    yield copying, go
    go.set()


def sent_photos(tiny_inputs) -> tuple[Upload, ...]:
    return tuple(Upload(path, path.name) for path in sorted((tiny_inputs / "photos").iterdir()))


def in_thread(call) -> tuple[threading.Thread, list]:
    """Runs it beside the test; the list gets its error."""
    errors: list = []

    def run() -> None:
        try:
            call()
        except UsageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


def test_pages_are_answered_while_photos_are_copied(trainings, request_for, tiny_inputs, slow_copies):
    copying, go = slow_copies
    request = request_for(folder="", photos=sent_photos(tiny_inputs))
    thread, errors = in_thread(lambda: trainings.start(request))
    assert copying.wait(60)
    looked, _ = in_thread(trainings.status)
    looked.join(20)
    assert not looked.is_alive()
    status = trainings.status()
    assert (status.phase, status.name, status.steps) == (STARTING, "wave", 1500)
    assert trainings.losses() == [] and trainings.previews() == [] and not trainings.stop()
    with pytest.raises(UsageError, match="runs already"):
        trainings.start(request_for(name="sea"))
    go.set()
    thread.join(60)
    assert errors == [] and trainings.status().phase == RUNNING


def test_no_training_outlives_a_studio_that_ends_while_photos_are_copied(
    trainings, request_for, tiny_inputs, slow_copies, tmp_path
):
    copying, go = slow_copies
    request = request_for(folder="", photos=sent_photos(tiny_inputs))
    start, errors = in_thread(lambda: trainings.start(request))
    assert copying.wait(60)
    close, _ = in_thread(trainings.close)
    while not trainings._is_closed:
        time.sleep(0.01)
    go.set()
    start.join(60), close.join(60)
    assert FakeProcess.calls == [] and ["about to end" in error for error in errors] == [True]
    assert not (tmp_path / "runs" / "wave" / "uploads").exists()


def saved_state(tmp_path, name: str = "wave") -> Path:
    """The uploads of a run that has saved a state."""
    state = tmp_path / "runs" / name / "state"
    state.mkdir(parents=True)
    (state / "step_00000010.npz").touch()
    return tmp_path / "runs" / name / "uploads"


@pytest.mark.parametrize("status", [1, 130])
@pytest.mark.parametrize("has_state", [False, True])
def test_what_was_sent_stays_only_while_it_can_be_resumed(
    trainings, request_for, tmp_path, status, has_state
):
    trainings.start(request_for())
    uploads = tmp_path / "runs" / "wave" / "uploads"
    if has_state:
        saved_state(tmp_path)
    trainings._run.process.status = status
    assert uploads.exists()
    trainings.status()
    assert uploads.exists() == has_state


def test_what_was_sent_is_removed_though_nobody_looks(trainings, request_for, tmp_path):
    trainings.start(request_for())
    trainings._run.process.status = 1
    trainings.start(request_for(name="sea"))
    assert not (tmp_path / "runs" / "wave" / "uploads").exists()
    trainings.close()
    assert not (tmp_path / "runs" / "sea" / "uploads").exists()


def test_a_training_of_the_same_name_keeps_its_files_when_the_one_before_is_forgotten(
    trainings, request_for, tmp_path
):
    trainings.start(request_for())
    trainings._run.process.status = 1
    trainings.start(request_for())
    trainings.status()
    assert (tmp_path / "runs" / "wave" / "uploads" / "painting.png").exists()


def test_a_start_that_fails_leaves_no_files(trainings, request_for, tiny_inputs, tmp_path, monkeypatch):
    photos = (*sent_photos(tiny_inputs), Upload(tmp_path / "missing.png", "missing.png"))
    monkeypatch.setattr("web.studio.run_folders.RunFolders.check_room", lambda self, uploads: None)
    with pytest.raises(FileNotFoundError):
        trainings.start(request_for(folder="", photos=photos))
    assert not (tmp_path / "runs" / "wave" / "uploads").exists()
    assert trainings.status().phase == IDLE
    trainings.start(request_for())


def test_the_files_of_stopped_trainings_are_limited(trainings, request_for, tmp_path):
    uploads = saved_state(tmp_path, "sea")
    uploads.mkdir()
    with open(uploads / "painting.png", "wb") as file:
        file.truncate(int(100 * StudioConfig.max_upload * 1e6))  # takes no room on the disk
    with pytest.raises(UsageError, match="5000 MB is the limit"):
        trainings.start(request_for())
    assert not (tmp_path / "runs" / "wave").exists()
    uploads.joinpath("painting.png").unlink()
    trainings.start(request_for())


def test_a_studio_removes_what_a_killed_one_has_left(trainings, tmp_path):
    (tmp_path / "styles" / "done").mkdir(parents=True)
    (tmp_path / "styles" / "done" / "fast_style_transfer.onnx").touch()
    folders = {name: saved_state(tmp_path, name) for name in ("done", "stopped")}
    folders |= {name: tmp_path / "runs" / name / "uploads" for name in ("never saved", "just begun", "other")}
    for folder in folders.values():
        (folder / "photos").mkdir(parents=True)
        (folder / "painting.jpg").touch()
    (folders["other"] / "letter.txt").touch()  # no file of the studio
    for name in ("never saved", "stopped", "other"):
        os.utime(folders[name], (1, 1))
    Trainings(trainings._config, tmp_path / "private")
    assert {name for name, folder in folders.items() if folder.exists()} == {"stopped", "just begun", "other"}


def test_no_visitor_hides_a_style_that_is_offered(request_for, tmp_path, monkeypatch, style_dirs):
    from transformer.export import style_folder

    monkeypatch.setattr(module, "DoorProcess", FakeProcess)
    monkeypatch.setattr(Trainings, "missing", lambda self: "")
    monkeypatch.setattr(style_folder, "CHECKPOINTS_DIR", style_dirs["waves"].parent)
    monkeypatch.setenv(style_folder.STYLES_VARIABLE, str(tmp_path / "own"))
    FakeProcess.calls = []
    config = StudioConfig(runs_dir=tmp_path / "runs", content_dir=(tmp_path / "photos",))
    trainings = Trainings(config, tmp_path / "private")
    for name in ("waves", "Waves"):
        with pytest.raises(UsageError, match="exists already"):
            trainings.start(request_for(name=name))
    assert FakeProcess.calls == []
    trainings.start(request_for(name="another"))


def test_trainings_of_the_command_line_are_not_offered_to_visitors():
    from cli.train_config import TrainConfig, settled

    log_dir = settled({"style": Path("wave.png"), "content_dir": Path("photos")}).log_dir
    assert TrainConfig().log_dir is None and log_dir == Path("runs", "wave")
    assert StudioConfig().runs_dir != log_dir.parent


def test_a_resumed_training_gets_the_operators_weights_and_flags(trainings, tmp_path, tiny_inputs):
    saved_state(tmp_path)
    trainings.resume("wave")
    [(_, flags)] = FakeProcess.calls
    assert f"--vgg={tiny_inputs / 'vgg.npz'}" in flags and flags[-2:] == ["--width", "0.125"]


def test_what_is_wrong_with_the_weights_is_told_whole_and_without_paths(tmp_path):
    pytest.importorskip("gradio", reason="the studio needs gradio")
    pytest.importorskip("tensorflow", reason="it is named first where it is missing")
    from types import SimpleNamespace

    from web.studio.slow_tab import SlowTab
    from web.studio.studio import Studio

    vgg = tmp_path / "vgg.npz"
    vgg.write_text("no weights")
    config = StudioConfig(vgg=vgg, runs_dir=tmp_path / "runs")
    trainings = Trainings(config, tmp_path / "private")
    studio = Studio(config, None, SimpleNamespace(root=tmp_path / "root"), None, None, trainings)
    line = SlowTab._missing(SimpleNamespace(_studio=studio))
    assert line == trainings.missing().replace(str(vgg), "the VGG weights")
    assert (
        line.startswith("the VGG19 weights cannot be used: the VGG weights: ") and str(tmp_path) not in line
    )


def test_words_of_a_line_are_not_taken_for_folders(tmp_path):
    pytest.importorskip("gradio", reason="the studio needs gradio")
    from types import SimpleNamespace

    from web.studio.studio import Studio

    config = StudioConfig(runs_dir=Path("a"), content_dir=(Path("photos"),), styles_dir=Path("own/styles"))
    studio = Studio(config, None, SimpleNamespace(root=tmp_path), None, None, None)
    assert studio.scrubbed("a training reads photos") == "a training reads photos"
    assert (
        studio.scrubbed(f"{Path('a').absolute()}/wave and own/styles/x") == "the runs/wave and the styles/x"
    )


def test_what_a_page_reads_of_a_training_does_not_change_under_it(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from web.studio import training_events

    monkeypatch.setattr(training_events, "_array", lambda value: 1.0)
    events = TrainingEvents(tmp_path)
    events._take(1, SimpleNamespace(tag="loss/total"))
    losses, previews = events.losses, events.previews
    events._take(1, SimpleNamespace(tag="loss/style"))
    events._take(2, SimpleNamespace(tag="loss/total"))
    tensor = SimpleNamespace(dtype=7, string_val=[b"1", b"1", b"PNG"])
    events._take(2, SimpleNamespace(tag="preview/cat", tensor=tensor))
    assert losses == {1: {"total": 1.0}} and previews == {}
    assert sorted(events.losses) == [1, 2] and events.previews["cat"].png == b"PNG" and events.step == 2


def test_previews_of_two_steps_and_two_trainings_are_different_files(trainings, request_for, monkeypatch):
    shown = {}
    monkeypatch.setattr(TrainingEvents, "previews", property(lambda self: dict(shown)))

    def files(step: int, content: bytes) -> Path:
        shown["cat"] = Preview("cat", step, content)
        [(path, caption)] = trainings.previews()
        assert caption == f"cat, step {step}" and Path(path).read_bytes() == content
        return Path(path)

    trainings.start(request_for())
    first, second = files(10, b"one"), files(20, b"two")
    assert first.exists()  # a page may be reading it
    trainings._run.process.status = 1
    trainings.start(request_for())
    assert files(10, b"three") not in (first, second)
    assert not first.exists()


def test_a_preview_is_there_whole_or_not_at_all(trainings, request_for, monkeypatch):
    monkeypatch.setattr(
        TrainingEvents, "previews", property(lambda self: {"cat": Preview("cat", 10, "no bytes")})
    )
    trainings.start(request_for())
    with pytest.raises(TypeError):
        trainings.previews()
    assert list(trainings._dir.glob("*.png")) == []


@pytest.fixture
def tab(trainings, tmp_path):
    """The tab of these trainings on a page of its own."""
    gr = pytest.importorskip("gradio", reason="the studio needs gradio")
    pytest.importorskip("pandas", reason="tables are pandas'")
    from types import SimpleNamespace

    from web.studio.studio import Studio
    from web.studio.training_tab import TrainingTab

    studio = Studio(trainings._config, None, SimpleNamespace(root=tmp_path / "root"), None, None, trainings)
    with gr.Blocks():
        yield TrainingTab(studio, (list, []))


def test_a_page_notices_the_training_that_another_visitor_starts(tab, trainings, request_for):
    def looked(known):
        updates = dict(zip(tab.outputs, tab._looked(known), strict=True))
        return updates[tab.known], updates[tab.timer], updates[tab.line]

    known = dict(zip(tab.outputs, tab.shown(), strict=True))[tab.known]
    assert tab.timer.active and tab.timer.value > 2
    trainings.start(request_for())
    known, timer, line = looked(known)
    assert known[0] == RUNNING and timer.value == 2 and "wave runs" in line
    trainings._run.process.status = 0
    known, timer, line = looked(known)
    assert known[0] == FINISHED and timer.active and timer.value > 2 and "is finished" in line


def test_a_look_at_a_studio_where_nothing_happens_changes_nothing_on_the_page(tab, trainings, tmp_path):
    import gradio as gr

    known = dict(zip(tab.outputs, tab.shown(), strict=True))[tab.known]
    assert tab._looked(known) == [gr.skip()] * len(tab.outputs)
    saved_state(tmp_path)  # of a training that can be resumed since
    assert tab._looked(known) != [gr.skip()] * len(tab.outputs)


def test_losses_and_previews_are_read_without_tensorflow(tiny_run, tmp_path):
    import subprocess

    pytest.importorskip("tensorboard", reason="reads event files by tensorboard")
    program = (
        "import sys; from pathlib import Path; from web.studio.training_events import TrainingEvents\n"
        "events = TrainingEvents(Path(sys.argv[1])); events.read(); events.read()\n"
        "assert 'tensorflow' not in sys.modules\n"
        "print(sorted(events.losses), sorted(events.losses[2]), events.step)\n"
        "print([(p.name, p.step, p.png[:4]) for p in events.previews.values()])"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_run / "log")], cwd=root, capture_output=True, text=True
    )
    losses, previews = done.stdout.splitlines()
    assert losses == "[2, 4, 6] ['content', 'style', 'total'] 6", done.stderr
    assert previews == r"[('unseen', 6, b'\x89PNG')]"


def test_a_table_of_losses_is_thinned_out_and_keeps_the_last_step():
    pytest.importorskip("pandas", reason="tables are pandas'")
    from web.studio.training_plot import MOST_POINTS, loss_table

    table = loss_table([(step, "total", 1.0) for step in range(1, 5001)], "step")
    assert len(table) <= MOST_POINTS + 1 and table["step"].max() == 5000
    assert list(loss_table([], "step").columns) == ["step", "term", "loss"]
