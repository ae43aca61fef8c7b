"""The tab to train a style. The training belongs to the studio: it goes on when the page is closed or loaded again."""

from contextlib import contextmanager
from typing import Any

import gradio as gr

from cli.train_config import TrainConfig
from loss_net.presets import LOSS_PRESETS
from web.studio.answers import shown_error, told
from web.studio.file_inputs import FilesInput, PhotoInput, check_photos
from web.studio.studio import Studio
from web.studio.training_plot import loss_table
from web.studio.training_requests import MOST_NAME_CHARACTERS, MOST_PHOTOS, TrainingRequest
from web.studio.trainings import (
    FAILED,
    FINISHED,
    IDLE,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    UNDER_WAY,
    TrainingStatus,
)

LOOK_SECONDS = 2.0  # between two looks at a training that runs
IDLE_SECONDS = 10.0  # between two looks where none is known, because another visitor may start one
SENT = ""  # in place of a folder: the photos that the visitor sends
PHOTO_TYPES = ["image"]
PRESETS = tuple(name for name, preset in LOSS_PRESETS.items() if preset.architecture == "vgg19")
INTRODUCTION = (
    "A network learns the style of one painting from a few hundred photos or more. This takes minutes to hours. The"
    " finished style appears among the others in every tab."
)


class TrainingTab:
    """Builds the tab inside of a gr.Blocks. refresh_styles: (function, outputs) that show the styles."""

    def __init__(self, studio: Studio, refresh_styles: tuple[Any, list[Any]]):
        self._studio, self._trainings = studio, studio.trainings
        gr.Markdown(INTRODUCTION)
        note = studio.scrubbed(self._trainings.missing()) or self._trainings.note()
        gr.Markdown(f"**{note}**" if note else "", visible=bool(note), elem_id="train-missing")
        with gr.Row():
            with gr.Column(min_width=320):
                self._build_input()
            with gr.Column(min_width=320):
                self._build_result()
        self._connect(refresh_styles)

    @property
    def outputs(self) -> list[Any]:
        """What `shown` updates."""
        return [
            self.line, self.plot, self.previews, self.grid, self.start, self.preview, self.stop, self.resume,
            self.unfinished, self.timer, self.known,
        ]  # fmt: skip

    def shown(self) -> list[Any]:
        """Updates of `outputs`: how the training is doing."""
        trainings = self._trainings
        status = trainings.status()
        runs = status.phase in UNDER_WAY
        unfinished = trainings.unfinished() if not runs else []
        previews, losses = trainings.previews(), trainings.losses()
        return [
            self._line(status),
            gr.update(value=loss_table(losses, "step"), visible=len({step for step, _, _ in losses}) > 1),
            gr.update(value=previews, visible=bool(previews)),
            self._grid(),
            gr.update(interactive=not runs),
            gr.update(interactive=not runs),
            gr.update(interactive=status.phase == RUNNING),
            gr.update(visible=bool(unfinished)),
            gr.update(
                choices=unfinished, value=unfinished[0] if unfinished else None, visible=bool(unfinished)
            ),
            gr.Timer(LOOK_SECONDS if runs else IDLE_SECONDS),
            _key(status, unfinished),
        ]

    def _looked(self, known: list[Any]) -> list[Any]:
        """Updates of `outputs`; none while nothing happens, or they would undo what a visitor has chosen meanwhile."""
        status = self._trainings.status()
        is_known = status.phase not in UNDER_WAY and _key(status, self._trainings.unfinished()) == known
        return [gr.skip()] * len(self.outputs) if is_known else self.shown()

    def _build_input(self) -> None:
        self.painting = PhotoInput(
            label="The painting", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=240,
            elem_id="painting", buttons=[],
        )  # fmt: skip
        folders = self._trainings.folders()
        self.folder = gr.Radio(
            [*((f"the folder {name}", name) for name in folders), ("photos that I send", SENT)],
            value=folders[0] if folders else SENT, label="Photos to learn from", elem_id="train-folder",
        )  # fmt: skip
        self.photos = FilesInput(
            label="Photos to send (several at once)", file_count="multiple", file_types=PHOTO_TYPES, type="filepath",
            height=140, visible=not folders, elem_id="train-photos",
        )  # fmt: skip
        self.name = gr.Textbox(
            label="Name of the style",
            placeholder="my_style",
            max_lines=1,
            max_length=MOST_NAME_CHARACTERS,
            elem_id="train-name",
        )
        most = self._studio.config.max_training_steps
        self.steps = gr.Number(
            min(TrainConfig.steps, most), label="Steps", minimum=1, maximum=most, precision=0, elem_id="train-steps",
            info="1500 are a full training; 200 give a first look",
        )  # fmt: skip
        with gr.Accordion("Loss", open=False):
            self.preset = gr.Dropdown(
                list(PRESETS), value=TrainConfig.preset, label="Preset",
                info="balanced suits every painting; lengstrom keeps more of the photo",
            )  # fmt: skip
            self.style_weight = gr.Number(
                None, label="Style weight", minimum=0, info="empty: that of the preset; more is a stronger style",
                elem_id="style-weight",
            )  # fmt: skip

    def _build_result(self) -> None:
        with gr.Row():
            self.start = gr.Button("Start training", variant="primary", elem_id="train-start", min_width=150)
            self.preview = gr.Button("Preview grid", elem_id="train-grid", min_width=120)
            self.stop = gr.Button("Stop", interactive=False, elem_id="train-stop", min_width=80)
        with gr.Row(equal_height=True):
            self.unfinished = gr.Dropdown(
                [], label="Stopped trainings", visible=False, elem_id="train-unfinished"
            )
            self.resume = gr.Button("Resume", visible=False, elem_id="train-resume", min_width=100)
        self.line = gr.Markdown("No training is under way.", elem_id="train-line")
        self.plot = gr.LinePlot(
            x="step", y="loss", color="term", height=320, label="Losses", visible=False, elem_id="train-plot",
            buttons=[], x_title="step", y_title="loss",
        )  # fmt: skip
        self.previews = gr.Gallery(
            label="Previews: photo and picture", columns=1, height="auto", object_fit="contain", interactive=False,
            allow_preview=False, visible=False, elem_id="train-previews", buttons=[],
        )  # fmt: skip
        self.grid = gr.Image(
            label="Preview grid: a column for each style weight", interactive=False, type="filepath", visible=False,
            elem_id="grid", buttons=["fullscreen"], alt_text="three photos at three style weights",
        )  # fmt: skip
        self.timer = gr.Timer(IDLE_SECONDS)
        self.known = gr.State([])  # what this page shows

    def _connect(self, refresh_styles: tuple[Any, list[Any]]) -> None:
        fields = [
            self.painting, self.name, self.folder, self.photos, self.preset, self.style_weight, self.steps,
        ]  # fmt: skip
        quiet = {"show_progress": "hidden", "concurrency_limit": 4}
        self.folder.change(
            lambda folder: gr.update(visible=folder == SENT), self.folder, self.photos, queue=False, **quiet
        )
        self.start.click(self._start, fields, self.outputs, **quiet)
        self.preview.click(self._start_grid, fields, self.outputs, **quiet)
        self.stop.click(self._stop, None, self.outputs, **quiet)
        self.resume.click(self._resume, self.unfinished, self.outputs, **quiet)
        refresh, outputs = refresh_styles
        self.timer.tick(self._looked, self.known, self.outputs, **quiet)
        self.known.change(
            lambda known: refresh() if known[:1] == [FINISHED] else [gr.skip()] * len(outputs),
            self.known, outputs, **quiet,
        )  # fmt: skip

    def _start(self, *fields):
        with self._checked_uploads(*fields):
            self._trainings.start(_request(*fields))
        return self.shown()

    def _start_grid(self, *fields):
        painting, name, *others = fields
        with self._checked_uploads(*fields):
            self._trainings.start_grid(_request(painting, name or "preview grid", *others))
        return self.shown()

    @contextmanager
    def _checked_uploads(self, painting, _name, folder, photos, *_others):
        """Errors become one line; files that are no photo or too large are such errors."""
        sent = () if folder else (photos or ())[: MOST_PHOTOS + 1]  # Trainings refuses more
        uploads = [upload for upload in (painting, *sent) if upload is not None]
        with told(*uploads, folders=self._studio.folders()):
            check_photos(uploads, self._studio.maker.max_pixels)
            yield

    def _stop(self):
        self._trainings.stop()
        return self.shown()

    def _resume(self, name):
        with told(folders=self._studio.folders()):
            self._trainings.resume(name or "")
        return self.shown()

    def _line(self, status: TrainingStatus) -> str:
        said = self._studio.scrubbed(status.line)
        what = "The preview grid" if status.is_grid else f"The training of {status.name}"
        done = f" after step {status.step} of {status.steps}" if status.steps else ""
        return {
            IDLE: "No training is under way.",
            STARTING: f"{what} is about to start: its photos are stored.",
            RUNNING: f"{what} runs{f': step {status.step} of {status.steps}' if status.steps else ''}. {said}",
            STOPPING: f"{what} saves its state and ends.",
            STOPPED: f"{what} was stopped{self._kept(status)}.",
            FINISHED: f"{what} is finished{done}.",
            FAILED: f"{what} has failed: {said}",
        }[status.phase]

    def _kept(self, status: TrainingStatus) -> str:
        """What is left of a training that was stopped."""
        if status.is_grid:
            return ""
        is_saved = status.name in self._trainings.unfinished()
        return (
            "; its state is saved, so that it can be resumed"
            if is_saved
            else " before its first state was saved"
        )

    def _grid(self) -> Any:
        path = self._trainings.grid_path
        return gr.update(value=str(path), visible=True) if path.exists() else gr.update(visible=False)


def _key(status: TrainingStatus, unfinished: list[str]) -> list[Any]:
    """Changes when another training starts, or one ends."""
    return [status.phase, status.number, status.name, *unfinished]


def _request(painting, name, folder, photos, preset, style_weight, steps) -> TrainingRequest:
    if painting is None:
        raise shown_error("give a painting first")
    return TrainingRequest(
        painting, (name or "").strip(), folder or SENT, tuple(photos or ()) if not folder else (), preset, style_weight,
        int(steps or 0),
    )  # fmt: skip
