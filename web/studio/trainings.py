"""Trainings that visitors start: one at a time, as a process of train.py, whatever becomes of the page."""

import contextlib
import importlib.util
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.flags import UsageError
from system.files import write_whole
from system.program import setup_line
from transformer.export.style_folder import new_styles_dir
from web.pictures import without_flags
from web.studio.config import StudioConfig, folder_name
from web.studio.door_process import DoorProcess, flags_of
from web.studio.run_folders import KEPT_UPLOADS, UPLOADS, RunFolders, remove_inputs, stored_inputs
from web.studio.training_events import Preview, TrainingEvents
from web.studio.training_requests import TrainingRequest, check_new, checked_values, grid_weights

DOOR = "train"
CLOSE_SECONDS = 10.0  # in which a start that is under way notices the end of the studio
KEPT_VERSIONS = 2  # of a preview: the newest, and the one before, which a page may still be reading
IDLE, STARTING, RUNNING, STOPPING, FINISHED, STOPPED, FAILED = (
    "idle",
    "starting",
    "running",
    "stopping",
    "finished",
    "stopped",
    "failed",
)
UNDER_WAY = (STARTING, RUNNING, STOPPING)


@dataclass(frozen=True)
class TrainingStatus:
    """The training, or preview grid, that runs or was the last.

    step: the last one of which losses are known. number: counts the trainings and grids of this studio.
    """

    phase: str = IDLE
    name: str = ""
    step: int = 0
    steps: int = 0
    line: str = ""  # what train.py said last
    is_grid: bool = False
    number: int = 0


@dataclass
class _Run:
    """One training or preview grid, from the start of its process on. inputs: the folder of what was sent for it."""

    process: DoorProcess
    events: TrainingEvents
    name: str
    steps: int
    inputs: Path
    number: int
    is_grid: bool = False
    is_stopping: bool = False
    is_cleared: bool = False

    @property
    def phase(self) -> str:
        if self.process.is_running:
            return STOPPING if self.is_stopping else RUNNING
        if self.process.status == 0:
            return FINISHED
        return STOPPED if self.is_stopping else FAILED


class Trainings:
    """Starts, stops and resumes trainings. Every page sees the same one; threads may share it.

    more_flags: added to those of every training.
    """

    def __init__(self, config: StudioConfig, private_dir: Path, more_flags: tuple[str, ...] = ()):
        self._config, self._dir, self.more_flags = config, private_dir / "training", more_flags
        self._styles_dir = (config.styles_dir or new_styles_dir()).absolute()
        self._runs = RunFolders(
            config.runs_dir.absolute(), self._styles_dir, KEPT_UPLOADS * config.max_upload * 1e6
        )
        self._folders = {folder_name(folder): folder for folder in config.content_dir}
        self._lock = (
            threading.Lock()
        )  # of the fields below; held for a moment only, because pages wait for it
        self._start_lock = threading.Lock()  # held by a start, which may copy photos for minutes
        self._run: _Run | None = None
        self._starting: TrainingStatus | None = None
        self._is_closed = False
        self._count = self._grids = 0
        self._dir.mkdir(parents=True, exist_ok=True)
        self._runs.clear_abandoned()

    @property
    def grid_path(self) -> Path:
        """The newest preview grid, once it is finished."""
        return self._grid_path(self._grids)

    def folders(self) -> list[str]:
        """The names of the operator's folders of photos."""
        return list(self._folders)

    def missing(self) -> str:
        """What a training needs and is not there, in one line; "" for nothing. It may name paths of this machine."""
        if importlib.util.find_spec("tensorflow") is None:
            return f"TensorFlow is not installed: run {setup_line('train')}"
        from loss_net.weights import WeightsError, check_vgg_source

        try:
            check_vgg_source(self._config.vgg)
        except WeightsError as error:
            return f"the VGG19 weights cannot be used: {error}"
        return ""

    def note(self) -> str:
        """What a visitor should know before a training; "" for nothing."""
        from loss_net.weights import keras_cache_path

        if self._config.vgg is None and not keras_cache_path("vgg19").exists():
            return (
                "The first training downloads VGG19 weights (80 MB), unless the studio is started with --vgg."
            )
        return ""

    def start(self, request: TrainingRequest) -> None:
        """Starts a training. Raises UsageError if it cannot be, or if another one runs."""
        values = checked_values(request, self._config, self._folders, self._styles_dir)
        name = values["name"]
        with self._claimed(TrainingStatus(STARTING, name, steps=request.steps)):
            check_new(name, self._config, self._styles_dir)
            if self._runs.has_state(name):
                raise UsageError(
                    f"an unfinished training is called {name}; resume it, or choose another name"
                )
            self._runs.check_room((request.painting, *request.photos))
            log_dir = self._runs.log_dir(name)
            with self._inputs(request, log_dir / UPLOADS) as inputs:
                flags = flags_of(values | inputs | {"log_dir": log_dir})
                self._launch(flags, name, request.steps, log_dir, log_dir / UPLOADS)

    def start_grid(self, request: TrainingRequest) -> None:
        """Starts the preview grid: the painting at several style weights. Raises UsageError."""
        values = checked_values(request, self._config, self._folders, self._styles_dir)
        with self._claimed(TrainingStatus(STARTING, values["name"], is_grid=True)):
            folder, log_dir = self._dir / UPLOADS, self._dir / "grid_log"
            with self._inputs(request, folder) as inputs:
                grid = [
                    f"--preview-grid={self._grid_path(self._grids + 1)}",
                    "--grid-weights",
                    *(f"{weight:g}" for weight in grid_weights(values)),
                ]
                flags = [*flags_of(values | inputs | {"log_dir": log_dir}), *grid]
                self._launch(flags, values["name"], 0, log_dir, folder, is_grid=True)
            self._grids += 1
            self._grid_path(self._grids - KEPT_VERSIONS).unlink(missing_ok=True)

    def resume(self, name: str) -> None:
        """Continues a training that was stopped. Raises UsageError."""
        with self._claimed():
            if name not in self.unfinished():
                raise UsageError("there is no unfinished training of this name; choose one of the list")
            log_dir = self._runs.log_dir(name)
            places = {
                "name": name,
                "log_dir": log_dir,
                "output_dir": self._styles_dir,
                "vgg": self._config.vgg,
            }
            flags = [*flags_of(places), "--resume"]
            self._launch(flags, name, self._runs.steps_of(name), log_dir, log_dir / UPLOADS)

    def unfinished(self) -> list[str]:
        """The names of trainings that can be resumed."""
        return self._runs.unfinished()

    def stop(self) -> bool:
        """Asks the training to save its state and end; returns whether one runs."""
        with self._lock:
            run = self._run
            if run is None or not run.process.is_running:
                return False
            run.is_stopping = True
        run.process.stop()
        return True

    def status(self) -> TrainingStatus:
        """How the training is doing. Removes what one that has ended no longer needs."""
        with self._lock:
            self._clear_ended()
            starting, run = self._starting, self._run
        if starting is not None or run is None:
            return starting or TrainingStatus()
        phase = run.phase  # before the events: those of a training that has ended are all there
        run.events.read()
        said = run.process.lines()
        line = run.process.progress() if run.is_grid and phase == RUNNING else (said[-1] if said else "")
        return TrainingStatus(
            phase, run.name, run.events.step, run.steps, without_flags(line), run.is_grid, run.number
        )

    def losses(self) -> list[tuple[int, str, float]]:
        """(step, term, loss) of the training so far."""
        run = self._shown_run()
        losses = run.events.losses if run is not None else {}
        return [(step, term, value) for step in sorted(losses) for term, value in losses[step].items()]

    def previews(self) -> list[tuple[str, str]]:
        """(path, caption) of the newest preview photos, each beside its stylized form."""
        run = self._shown_run()
        if run is None:
            return []
        return [
            (str(self._written(run, index, preview)), f"{preview.name}, step {preview.step}")
            for index, preview in enumerate(run.events.previews.values())
        ]

    def close(self) -> None:
        """Ends the training as `stop` does, and waits until its state is saved. No other one can start."""
        with self._lock:
            self._is_closed = True
            run = self._run
            if run is not None and run.process.is_running:
                run.is_stopping = True
        if run is not None:
            run.process.end()
        if self._start_lock.acquire(timeout=CLOSE_SECONDS):  # a start removes what it has copied
            self._start_lock.release()
        with self._lock:
            self._clear_ended()

    @contextlib.contextmanager
    def _claimed(self, starting: TrainingStatus | None = None) -> Iterator[None]:
        """Within this context no other training starts; other pages show `starting`. Raises UsageError."""
        if not self._start_lock.acquire(blocking=False):
            raise UsageError("a training runs already, which starts just now; wait for its end, or stop it")
        try:
            with self._lock:
                self._check_free()
                self._clear_ended()
            if missing := self.missing():
                raise UsageError(missing)
            with self._lock:
                self._starting = starting
            yield
        finally:
            with self._lock:
                self._starting = None
            self._start_lock.release()

    @contextlib.contextmanager
    def _inputs(self, request: TrainingRequest, folder: Path) -> Iterator[dict[str, Path]]:
        """Gives the flags of what a visitor has sent. The copies are removed if anything fails before the start."""
        photos = () if request.folder else request.photos
        try:
            painting, content_dir = stored_inputs(request.painting, photos, folder, self._check_open)
            if request.folder:
                content_dir = self._folders[request.folder].resolve()
            yield {"style": painting, "content_dir": content_dir}
        except BaseException:
            remove_inputs(folder)
            raise

    def _launch(
        self, flags: list[str], name: str, steps: int, log_dir: Path, inputs: Path, *, is_grid: bool = False
    ) -> None:
        events = TrainingEvents(log_dir)
        with self._lock:
            self._check_open()
            process = DoorProcess(DOOR, [*flags, *self.more_flags], self._dir / "output.log")
            self._count += 1
            self._run = _Run(process, events, name, steps, inputs, self._count, is_grid)

    def _clear_ended(self) -> None:
        """Removes what was sent for a training that has ended and cannot be resumed. Needs the lock.

        Once for each: its folder may belong to the next training of this name.
        """
        run = self._run
        if run is None or run.is_cleared or run.process.is_running:
            return
        run.is_cleared = True
        if run.is_grid or run.phase == FINISHED:
            remove_inputs(run.inputs)
        else:
            self._runs.clear(run.name)

    def _shown_run(self) -> _Run | None:
        with self._lock:
            return self._run if self._starting is None else None

    def _grid_path(self, number: int) -> Path:
        return self._dir / f"preview_grid{number}.png"

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError("the studio is about to end; start the training when it is there again")

    def _check_free(self) -> None:
        self._check_open()
        if self._run is not None and self._run.process.is_running:
            raise UsageError(f"a training runs already ({self._run.name}); wait for its end, or stop it")

    def _written(self, run: _Run, index: int, preview: Preview) -> Path:
        """The file of a preview; each version has a name of its own, and never changes."""
        path = self._dir / f"shown{index}_{run.number:06}_{preview.step:010}.png"
        if not path.exists():
            write_whole(path, lambda stream: stream.write(preview.png))
            for older in sorted(self._dir.glob(f"shown{index}_*.png"))[:-KEPT_VERSIONS]:
                with contextlib.suppress(OSError):
                    older.unlink()
        return path
