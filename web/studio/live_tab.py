"""The tab for the webcam: its picture in a style, live."""

from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr

from web.studio.answers import told
from web.studio.file_inputs import LiveInput
from web.studio.live import SIDES, USUAL_SIDE, FrameRate, as_html, stylized_frame
from web.studio.studio import Studio
from web.studio.style_cards import card_of, choices, first_choice
from web.studio.visits import Visit
from web.turns import Busy, GaveUp

FRAMES_APART = 0.05  # seconds, at least
STREAM_SECONDS = 300  # after which a stream ends, so that a forgotten tab does not keep the server busy
MOST_STREAMS = 4  # at a time; further ones wait
EMPTY = '<div class="empty">Start the webcam. The picture in the style appears here.</div>'


class LiveTab:
    """Builds the tab inside of a gr.Blocks."""

    def __init__(self, studio: Studio):
        self._studio = studio
        self._rates: WeakKeyDictionary[Visit, FrameRate] = WeakKeyDictionary()
        cards = studio.cards.cards()
        with gr.Row():
            with gr.Column(min_width=320):
                self.camera = LiveInput(
                    label="Your webcam", type="filepath", image_mode=None, sources=["webcam"], streaming=True,
                    height=340, elem_id="camera", buttons=[],
                )  # fmt: skip
            with gr.Column(min_width=320):
                self.view = gr.HTML(EMPTY, elem_id="live-view", container=False, padding=False)
                self.line = gr.Markdown("", elem_id="live-line")
                self.style = gr.Dropdown(
                    choices(cards), value=first_choice(cards), label="Style", elem_id="live-style"
                )
                self.side = gr.Dropdown(
                    [(f"{side} pixels", side) for side in SIDES], value=USUAL_SIDE, label="Size (longest side)",
                    info="smaller is faster",
                )  # fmt: skip
        self.camera.stream(
            self._frame, [self.camera, self.style, self.side], [self.view, self.line], show_progress="hidden",
            stream_every=FRAMES_APART, time_limit=STREAM_SECONDS, concurrency_limit=MOST_STREAMS,
        )  # fmt: skip

    @property
    def outputs(self) -> list[Any]:
        return [self.style]

    def refreshed(self) -> list[Any]:
        """Updates of `outputs`: the styles as they are now."""
        return [gr.update(choices=choices(self._studio.cards.cards()))]

    def _frame(self, frame: bytes | None, style: str, side: int, request: gr.Request):
        if frame is None:
            return gr.skip(), gr.skip()
        with told(folders=self._studio.folders()):
            visit = self._studio.visit(request)
            try:
                image = stylized_frame(self._studio.maker, frame, style, side, visit.folder)
            except (Busy, GaveUp):
                return gr.skip(), "Many photos are waiting; frames are left out."
        rate = self._rates.setdefault(visit, FrameRate()).count()
        title = card_of(self._studio.maker.shelf, style).title
        text = f"{rate:.1f} frames a second, {image.shape[1]} × {image.shape[0]} pixels"
        return as_html(image, f"your webcam in the style {title}"), text
