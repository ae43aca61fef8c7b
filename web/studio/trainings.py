"""Trainings that visitors start: one at a time, as a process of train.py, whatever becomes of the page."""

import contextlib
import importlib.util
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from cli.flags import UsageError
from cli.train_config import TrainConfig, settled
from system.program import ROOT, setup_line
from transformer.export.style_folder import hiding_style, is_style, new_styles_dir
from transformer.training.log_folder import CONFIG_FILE, STATE_DIR
from transformer.training.state import state_paths
from web.pictures import without_flags
from web.studio.config import StudioConfig, folder_name
from web.studio.door_process import DoorProcess, flags_of
from web.studio.training_events import TrainingEvents
from web.studio.uploads import Upload

DOOR = "train"
UPLOADS = (
    "uploads"  # in the folder of a run: the painting and the photos, which a resumed training reads again
)
PREVIEWS = tuple(ROOT / "examples" / name for name in ("chelsea.jpg", "coffee.jpg"))
MOST_NAME_CHARACTERS = 60
MOST_PHOTOS = 2000  # that a visitor may send
GRID_WEIGHTS = 3  # columns of the preview grid; each takes a minute or two
IDLE, RUNNING, STOPPING, FINISHED, STOPPED, FAILED = (
    "idle",
    "running",
    "stopping",
    "finished",
    "stopped",
    "failed",
)


@dataclass(frozen=True)
class TrainingRequest:
    """What a visitor asks for. folder: a name among those of --content-dir; "" means the photos that were sent."""

    painting: Upload
    name: str
    folder: str = ""
    photos: tuple[Upload, ...] = ()
    preset: str = TrainConfig.preset
    style_weight: float | None = None
    steps: int = TrainConfig.steps


@dataclass(frozen=True)
class TrainingStatus:
    """The training, or preview grid, that runs or was the last. step: the last one of which losses are known."""

    phase: str = IDLE
    name: str = ""
    step: int = 0
    steps: int = 0
    line: str = ""  # what train.py said last
    is_grid: bool = False


class Trainings:
    """Starts, stops and resumes trainings. Every page sees the same one; threads may share it.

    more_flags: added to those of every training.
    """

    def __init__(self, config: StudioConfig, private_dir: Path, more_flags: tuple[str, ...] = ()):
        self._config, self._dir, self.more_flags = config, private_dir / "training", more_flags
        self._styles_dir = (config.styles_dir or new_styles_dir()).absolute()
        self._runs_dir = config.runs_dir.absolute()
        self._folders = {folder_name(folder): folder for folder in config.content_dir}
        self._lock = threading.Lock()
        self._process: DoorProcess | None = None
        self._events: TrainingEvents | None = None
        self._name, self._steps, self._is_grid, self._is_stopping = "", 0, False, False
        self._dir.mkdir(parents=True, exist_ok=True)

    @property
    def grid_path(self) -> Path:
        """The preview grid, once it is finished."""
        return self._dir / "preview_grid.png"

    def folders(self) -> list[str]:
        """The names of the operator's folders of photos."""
        return list(self._folders)

    def missing(self) -> str:
        """What a training needs and is not there, in one line; "" for nothing."""
        if importlib.util.find_spec("tensorflow") is None:
            return f"TensorFlow is not installed: run {setup_line('train')}"
        from loss_net.weights import WeightsError, check_vgg_source

        try:
            check_vgg_source(self._config.vgg)
        except WeightsError as error:
            return f"the VGG19 weights cannot be used: {str(error).rpartition('/')[2]}"
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
        with self._lock:
            self._check_free()
            values = self._checked(request)
            log_dir = self._log_dir(values["name"])
            self._check_new(values["name"], log_dir)
            values |= self._stored_inputs(request, log_dir / UPLOADS)
            self._run(values["name"], [*flags_of(values), *self.more_flags], values["steps"])

    def start_grid(self, request: TrainingRequest) -> None:
        """Starts the preview grid: the painting at several style weights. Raises UsageError."""
        from cli.preview_grid import weights_around

        with self._lock:
            self._check_free()
            values = self._checked(request)
            weight = settled({"style": Path("x"), "content_dir": Path("x"), **_loss_of(values)}).style_weight
            weights = weights_around(weight)
            middle = len(weights) // 2
            chosen = weights[middle - 1 : middle - 1 + GRID_WEIGHTS]
            self.grid_path.unlink(missing_ok=True)
            shutil.rmtree(self._dir / UPLOADS, ignore_errors=True)
            values |= self._stored_inputs(request, self._dir / UPLOADS) | {"log_dir": self._dir / "grid_log"}
            grid = [
                f"--preview-grid={self.grid_path}",
                "--grid-weights",
                *(f"{weight:g}" for weight in chosen),
            ]
            self._run(values["name"], [*flags_of(values), *self.more_flags, *grid], 0, is_grid=True)

    def resume(self, name: str) -> None:
        """Continues a training that was stopped. Raises UsageError."""
        with self._lock:
            self._check_free()
            if name not in self.unfinished():
                raise UsageError("there is no unfinished training of this name; choose one of the list")
            places = {"name": name, "log_dir": self._log_dir(name), "output_dir": self._styles_dir}
            self._run(name, [*flags_of(places), "--resume"], _steps_of(self._log_dir(name)))

    def unfinished(self) -> list[str]:
        """The names of trainings that can be resumed."""
        folders = sorted(self._runs_dir.iterdir()) if self._runs_dir.is_dir() else []
        return [
            folder.name
            for folder in folders
            if state_paths(folder / STATE_DIR) and not is_style(self._styles_dir / folder.name)
        ]

    def stop(self) -> bool:
        """Asks the training to save its state and end; returns whether one runs."""
        process = self._process
        if process is None or not process.is_running:
            return False
        self._is_stopping = True
        process.stop()
        return True

    def status(self) -> TrainingStatus:
        """How the training is doing. Removes what a finished one no longer needs."""
        process, events = self._process, self._events
        if process is None or events is None:
            return TrainingStatus()
        with self._lock:
            events.read()
        phase = self._phase(process)
        if phase == FINISHED and not self._is_grid:
            shutil.rmtree(self._log_dir(self._name) / UPLOADS, ignore_errors=True)
        said = process.lines()
        line = process.progress() if self._is_grid and phase == RUNNING else (said[-1] if said else "")
        return TrainingStatus(phase, self._name, events.step, self._steps, without_flags(line), self._is_grid)

    def losses(self) -> list[tuple[int, str, float]]:
        """(step, term, loss) of the training so far."""
        losses = dict(self._events.losses) if self._events is not None else {}
        return [(step, term, value) for step in sorted(losses) for term, value in losses[step].items()]

    def previews(self) -> list[tuple[str, str]]:
        """(path, caption) of the newest preview photos, each beside its stylized form."""
        previews = list(self._events.previews.values()) if self._events is not None else []
        return [self._written(index, preview) for index, preview in enumerate(previews)]

    def close(self) -> None:
        """Ends the training as `stop` does, and waits until its state is saved."""
        if self._process is not None:
            self._process.end()

    def _phase(self, process: DoorProcess) -> str:
        if process.is_running:
            return STOPPING if self._is_stopping else RUNNING
        if process.status == 0:
            return FINISHED
        return STOPPED if self._is_stopping else FAILED

    def _run(self, name: str, flags: list[str], steps: int, *, is_grid: bool = False) -> None:
        log_dir = self._dir / "grid_log" if is_grid else self._log_dir(name)
        self._events = TrainingEvents(log_dir)
        self._name, self._steps, self._is_grid, self._is_stopping = name, steps, is_grid, False
        self._process = DoorProcess(DOOR, flags, self._dir / "output.log")

    def _check_free(self) -> None:
        if self._process is not None and self._process.is_running:
            raise UsageError(f"a training runs already ({self._name}); wait for its end, or stop it")
        if missing := self.missing():
            raise UsageError(missing)

    def _checked(self, request: TrainingRequest) -> dict:
        """The flags of a training without its inputs, by the rules of train.py. Raises UsageError."""
        if request.folder and request.folder not in self._folders:
            raise UsageError("there is no folder of this name; choose one of the list")
        if not request.folder and not 1 <= len(request.photos) <= MOST_PHOTOS:
            raise UsageError(f"give 1 to {MOST_PHOTOS} photos to train on, got {len(request.photos)}")
        if not 1 <= request.steps <= self._config.max_training_steps:
            raise UsageError(
                f"steps must be 1 to {self._config.max_training_steps}, got {request.steps}; fewer are faster"
            )
        if not re.search(r"\w", request.name) or len(request.name) > MOST_NAME_CHARACTERS:
            raise UsageError(
                f"give the style a name of 1 to {MOST_NAME_CHARACTERS} characters, such as my_style"
            )
        values = {
            "name": request.name,
            "preset": request.preset,
            "style_weight": request.style_weight,
            "steps": request.steps,
            "summary_every": max(1, min(50, request.steps // 50)),
            "save_every": max(1, min(500, request.steps // 4)),
            "vgg": self._config.vgg,
            "output_dir": self._styles_dir,
            "preview": tuple(path for path in PREVIEWS if path.is_file()),
        }
        try:
            settled({**values, "style": request.painting.path, "content_dir": Path("photos")})
        except UsageError as error:
            raise UsageError(without_flags(str(error))) from error
        return values

    def _check_new(self, name: str, log_dir: Path) -> None:
        """Raises UsageError for the name of a style or run that exists: no visitor replaces another one's work."""
        style_dir = self._styles_dir / name
        if style_dir.exists() or hiding_style(style_dir):
            raise UsageError(f"a style called {name} exists already; choose another name")
        if state_paths(log_dir / STATE_DIR):
            raise UsageError(f"an unfinished training is called {name}; resume it, or choose another name")

    def _stored_inputs(self, request: TrainingRequest, folder: Path) -> dict:
        """Copies the uploads to where they stay while the training needs them; returns their flags."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        painting = folder / f"painting{_plain_suffix(request.painting)}"
        shutil.copyfile(request.painting.path, painting)
        log_dir = {"log_dir": folder.parent, "style": painting}
        if request.folder:
            return log_dir | {"content_dir": self._folders[request.folder].resolve()}
        photos = folder / "photos"
        photos.mkdir()
        for number, photo in enumerate(request.photos):
            shutil.copyfile(photo.path, photos / f"photo{number:04}{_plain_suffix(photo)}")
        return log_dir | {"content_dir": photos}

    def _log_dir(self, name: str) -> Path:
        return self._runs_dir / name

    def _written(self, index: int, preview) -> tuple[str, str]:
        path = self._dir / f"preview{index}_{preview.step}.png"
        if not path.exists():
            for older in self._dir.glob(f"preview{index}_*.png"):
                with contextlib.suppress(OSError):
                    older.unlink()
            path.write_bytes(preview.png)
        return str(path), f"{preview.name}, step {preview.step}"


def _plain_suffix(upload: Upload) -> str:
    suffix = Path(upload.name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ""


def _loss_of(values: dict) -> dict:
    return {name: values[name] for name in ("preset", "style_weight")}


def _steps_of(log_dir: Path) -> int:
    """The number of steps of a run, 0 if its configuration cannot be read."""
    from system.json_reader import JsonError, read_json_file

    try:
        return int(read_json_file(log_dir / CONFIG_FILE)["steps"])
    except (JsonError, KeyError, TypeError, ValueError):
        return 0
