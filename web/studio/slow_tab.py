"""The tab for the slow method: any painting without training, and the picture as it comes to be."""

from typing import Any

import gradio as gr

from cli.flags import UsageError
from web.studio.answers import shown_error, told
from web.studio.event_limits import SLOW
from web.studio.file_inputs import PhotoInput, check_photos
from web.studio.slow_runs import (
    ITERATIONS,
    STARTS,
    VGG19_PRESETS,
    WIDTHS,
    SlowFailure,
    SlowRequest,
    slow_pictures,
)
from web.studio.studio import Studio
from web.studio.training_plot import loss_table

USUAL_WIDTH, USUAL_ITERATIONS = 320, 200
SLOW_SECONDS = 3600.0  # after which it ends with the best picture so far
INTRODUCTION = (
    "Any painting, without training: the pixels of one picture are changed until it has the content of the photo and"
    " the style of the painting (Gatys et al., 2016). This takes minutes. One picture at a time is made here."
)
_START_LABELS = {"content": "the photo", "noise": "noise"}


class SlowTab:
    """Builds the tab inside of a gr.Blocks. more_flags: added to those of infer.py."""

    def __init__(self, studio: Studio, more_flags: tuple[str, ...] = ()):
        self._studio, self._more_flags = studio, more_flags
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(min_width=320):
                self._build_input()
            with gr.Column(min_width=320):
                self._build_result()
        self.start.click(
            self._make, [self.photo, self.painting, self.preset, self.width, self.iterations, self.initial],
            [self.picture, self.plot, self.line, self.download], concurrency_limit=1, concurrency_id=SLOW,
            show_progress="minimal", show_progress_on=self.line,
        )  # fmt: skip
        self.stop.click(self._stop, None, None, queue=False, show_progress="hidden")

    def _build_input(self) -> None:
        with gr.Row():
            for name, label in (("photo", "Your photo"), ("painting", "The painting")):
                part = PhotoInput(
                    label=label, type="filepath", image_mode=None, sources=["upload", "clipboard"], height=220,
                    elem_id=f"slow-{name}", buttons=[], min_width=150,
                )  # fmt: skip
                setattr(self, name, part)
        self.width = gr.Slider(*WIDTHS, USUAL_WIDTH, step=16, label="Width in pixels", elem_id="slow-width")
        self.iterations = gr.Slider(
            *ITERATIONS, USUAL_ITERATIONS, step=1, label="Iterations", elem_id="slow-iterations"
        )
        self.initial = gr.Radio(
            [(_START_LABELS[start], start) for start in STARTS], value=STARTS[0], label="Start from"
        )
        self.preset = gr.Dropdown(
            list(VGG19_PRESETS), value=VGG19_PRESETS[0], label="Preset",
            info="the loss and optimizer of a published program",
        )  # fmt: skip

    def _build_result(self) -> None:
        with gr.Row():
            self.start = gr.Button("Start", variant="primary", elem_id="slow-start")
            self.stop = gr.Button("Stop and keep the picture", elem_id="slow-stop")
        self.picture = gr.Image(
            label="The picture so far", height=380, interactive=False, type="filepath", elem_id="slow-picture",
            buttons=[], alt_text="the newest picture of the slow method",
        )  # fmt: skip
        self.line = gr.Markdown("The picture appears here.", elem_id="slow-line")
        self.download = gr.DownloadButton("Download the picture", interactive=False, elem_id="slow-download")
        self.plot = gr.LinePlot(
            x="iteration", y="loss", color="term", height=300, label="Losses", visible=False, elem_id="slow-plot",
            buttons=[], x_title="iteration", y_title="loss",
        )  # fmt: skip

    def _make(self, photo, painting, preset, width, iterations, initial, request: gr.Request):
        if photo is None or painting is None:
            raise shown_error("give a photo and a painting first")
        with told(photo, painting, folders=self._studio.folders()):
            counts = _whole("width", width), _whole("iterations", iterations)
            asked, visit = SlowRequest(photo, painting, preset, *counts, initial), self._studio.visit(request)
            check_photos((photo, painting), self._studio.maker.max_pixels)
            if missing := self._missing():
                raise shown_error(missing)
            try:
                for progress in slow_pictures(
                    asked, visit, self._studio.config.vgg, seconds=SLOW_SECONDS, more_flags=self._more_flags
                ):
                    yield self._shown(progress, asked.iterations)
            except SlowFailure as failure:
                raise self._failure(failure, photo, painting) from failure

    def _missing(self) -> str:
        """What is not there, in one line without paths of this machine; "" for nothing."""
        trainings = self._studio.trainings
        return self._studio.scrubbed(trainings.missing()) if trainings is not None else ""

    def _failure(self, failure: SlowFailure, *uploads: Any) -> gr.Error:
        line = str(failure)
        for upload in uploads:
            line = line.replace(str(upload.path), upload.name)
        return shown_error(self._studio.scrubbed(line))

    def _shown(self, progress, iterations: int):
        picture = gr.skip() if progress.picture is None else str(progress.picture)
        table = (
            gr.skip()
            if not progress.losses
            else gr.update(value=loss_table(progress.losses, "iteration"), visible=True)
        )
        if progress.is_running:
            line = f"Iteration {progress.iteration} of {iterations}" if progress.losses else "Starting ..."
            return picture, table, line, gr.update(value=None, interactive=False)
        line = f"Finished after {progress.iteration} of {iterations} iterations."
        return picture, table, line, gr.update(value=str(progress.picture), interactive=True)

    def _stop(self, request: gr.Request) -> None:
        self._studio.stop(request)


def _whole(name: str, value: Any) -> int:
    """A whole number that a browser has sent. Raises UsageError."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name} must be a whole number, got {str(value)[:40]}") from error
