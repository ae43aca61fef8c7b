"""The tab for clips: videos and animations, frame by frame, with their sound."""

import time
from pathlib import Path
from typing import Any

import gradio as gr

from data.clip_formats import ANIMATION_SUFFIXES
from web.studio.answers import shown_error, told
from web.studio.clips import SUFFIXES, ClipRequest, FinishedClip, stylized_clip
from web.studio.event_limits import CLIPS
from web.studio.file_inputs import FilesInput
from web.studio.studio import Studio
from web.studio.style_cards import choices, first_choice
from web.studio.uploads import file_stem
from web.turns import Deadline

SIDES = (320, 480, 640, 960, 1280, 1920)  # pixels
USUAL_SIDE = 640


class ClipTab:
    """Builds the tab inside of a gr.Blocks."""

    def __init__(self, studio: Studio):
        self._studio = studio
        config = studio.config
        cards = studio.cards.cards()
        with gr.Row():
            with gr.Column(min_width=320):
                gr.Markdown(
                    f"A video, or an animated GIF or WebP file: at most {config.max_upload:g} MB and"
                    f" {config.max_clip_frames} frames."
                )
                self.clip = FilesInput(
                    label="Your clip", file_types=list(SUFFIXES), type="filepath", height=140, elem_id="clip"
                )
                self.style = gr.Dropdown(
                    choices(cards), value=first_choice(cards), label="Style", elem_id="clip-style"
                )
                self.temporal = gr.Slider(
                    0, 95, 80, step=5, label="Temporal smoothing (%)",
                    info="how much of the frame before is kept and moved along; less flicker",
                )  # fmt: skip
                self.side = gr.Dropdown(
                    [(f"{side} pixels", side) for side in SIDES], value=USUAL_SIDE,
                    label="Longest side of the frames", info="smaller is faster", elem_id="clip-side",
                )  # fmt: skip
                self.keep_colors = gr.Checkbox(False, label="Keep the colors of the clip")
            with gr.Column(min_width=320):
                with gr.Row():
                    self.start = gr.Button("Make the clip", variant="primary", elem_id="clip-start")
                    self.stop = gr.Button("Stop", elem_id="clip-stop")
                self.video = gr.Video(
                    label="Your clip in the style", interactive=False, elem_id="clip-video", buttons=[]
                )
                self.animation = gr.Image(
                    label="Your clip in the style", interactive=False, type="filepath", visible=False, buttons=[],
                    elem_id="clip-animation", alt_text="the animation in the style",
                )  # fmt: skip
                self.line = gr.Markdown("The clip appears here.", elem_id="clip-line")
                self.download = gr.DownloadButton(
                    "Download the clip", interactive=False, elem_id="clip-download"
                )
        self._connect()

    @property
    def outputs(self) -> list[Any]:
        return [self.style]

    def refreshed(self) -> list[Any]:
        """Updates of `outputs`: the styles as they are now."""
        return [gr.update(choices=choices(self._studio.cards.cards()))]

    def _connect(self) -> None:
        self.start.click(
            self._make, [self.clip, self.style, self.temporal, self.side, self.keep_colors],
            [self.video, self.animation, self.line, self.download], concurrency_limit=1, concurrency_id=CLIPS,
            show_progress_on=self.video,
        )  # fmt: skip
        self.stop.click(self._stop, None, None, queue=False, show_progress="hidden")

    def _make(
        self, clips, style, temporal, side, keep_colors, request: gr.Request, progress=gr.Progress()  # noqa: B008
    ):  # fmt: skip
        if not clips:
            raise shown_error("give a clip first")
        clip, start = clips[0], time.monotonic()
        deadline = Deadline(self._studio.config.clip_time_limit)
        with told(clip, folders=self._studio.folders()), self._studio.work(request, deadline.cancel) as visit:
            finished = stylized_clip(
                self._studio.maker, clip.path, ClipRequest(style, temporal / 100, side, keep_colors),
                visit.new_folder(), name=f"{file_stem(clip)}_{style}", deadline=deadline,
                most_frames=self._studio.config.max_clip_frames, on_frame=_shown_by(progress),
            )  # fmt: skip
        return _shown(finished, time.monotonic() - start)

    def _stop(self, request: gr.Request) -> None:
        self._studio.stop(request)


def _shown_by(progress: gr.Progress):
    """What tells the page how many frames are done; a file may not tell how many it has."""

    def show(done: int, total: int) -> None:
        progress((done, total or None), desc="frames", unit="frames") if total else progress(
            None, desc=f"{done} frames"
        )

    return show


def _shown(finished: FinishedClip, seconds: float):
    path: Path = finished.path
    is_animation = path.suffix in ANIMATION_SUFFIXES
    line = f"{finished.frames} frames in {seconds:.1f} seconds, {finished.frames / seconds:.1f} a second"
    return (
        gr.update(value=None if is_animation else str(path), visible=not is_animation),
        gr.update(value=str(path) if is_animation else None, visible=is_animation),
        "; ".join([line, *finished.notes]),
        gr.update(value=str(path), interactive=True),
    )
