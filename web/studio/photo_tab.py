"""The tab for photos: upload, styles, controls, mask, before and after, every style at once, download."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from web.studio.answers import place_text, shown_error, told
from web.studio.event_limits import PHOTOS
from web.studio.file_inputs import MaskInput, PhotoInput
from web.studio.photo_form import (
    AS_PHOTO,
    AUTOMATIC,
    FORMATS,
    FULL_SIZE,
    MASK_SIDE,
    MOST_GRAIN,
    NONE,
    PAINT,
    PAINT_OPACITY,
    SIDES,
    STROKES,
    default_grain,
    request_of,
    saved_mask,
)
from web.studio.photo_work import picture, sheet_pictures, view
from web.studio.studio import Studio
from web.studio.style_cards import choices, first_choice

LOOK_SECONDS = 3.0  # between two looks at whether pictures of the styles are ready


class PhotoTab:
    """Builds the tab inside of a gr.Blocks; `styles` and `second` are read by other parts of the page."""

    def __init__(self, studio: Studio):
        self._studio = studio
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                self._build_input()
            with gr.Column(scale=6, min_width=320):
                self._build_result()
        self._connect()

    def refreshed(self) -> list[Any]:
        """Updates of `outputs`: the styles as they are now."""
        labels = choices(self._studio.cards.cards())
        return [
            *self._refreshed_cards(),
            gr.update(choices=labels),
            gr.update(choices=[("no second style", NONE), *labels]),
        ]

    @property
    def outputs(self) -> list[Any]:
        return [*self._card_outputs, self.style, self.second]

    @property
    def _card_outputs(self) -> list[Any]:
        return [self.gallery, self.gallery_names, self.cards_timer]

    def _refreshed_cards(self) -> list[Any]:
        """Updates of `_card_outputs`. The timer goes on while pictures are being made."""
        cards = self._studio.cards
        pictures = cards.pictures()
        return [
            gr.update(value=[(str(picture.path), picture.title) for picture in pictures]),
            [picture.name for picture in pictures],
            gr.Timer(LOOK_SECONDS, active=cards.is_making),
        ]

    def _build_input(self) -> None:
        self.photo = PhotoInput(
            label="Your photo", type="filepath", image_mode=None, sources=["upload", "webcam", "clipboard"],
            height=300, elem_id="photo", buttons=[], placeholder="Drop a photo here\n- or -\nclick to choose one",
        )  # fmt: skip
        cards = self._studio.cards.cards()
        self.gallery = gr.Gallery(
            label="Styles (choose one)", columns=4, height=400, allow_preview=False, interactive=False,
            object_fit="cover", elem_id="styles", buttons=[],
        )  # fmt: skip
        self.gallery_names = gr.State([])  # of the pictures that this page shows
        self.cards_timer = gr.Timer(LOOK_SECONDS, active=False)
        self.style = gr.Dropdown(choices(cards), value=first_choice(cards), label="Style", elem_id="style")
        self.strength = gr.Slider(0, 100, 100, step=1, label="Strength of the style (%)", elem_id="strength")
        self.keep_colors = gr.Checkbox(False, label="Keep the colors of the photo", elem_id="keep-colors")
        with gr.Accordion("Paint where the style applies", open=False, elem_id="mask-part"):
            gr.Markdown("Paint over the parts of the photo that get the style. Without paint all of it does.")
            self.mask = MaskInput(
                label="Mask", sources=[], transforms=[], layers=False, brush=gr.Brush(
                    default_size=60, colors=[(PAINT, PAINT_OPACITY)], color_mode="fixed"), height=380,
                elem_id="mask", buttons=[], canvas_size=(MASK_SIDE, MASK_SIDE),
            )  # fmt: skip
        with gr.Accordion("More settings", open=False, elem_id="more"):
            self._build_more(choices(cards))

    def _build_more(self, labels: list[tuple[str, str]]) -> None:
        self.second = gr.Dropdown(
            [("no second style", NONE), *labels],
            value=NONE,
            label="Blend with a second style",
            elem_id="second",
        )
        self.share = gr.Slider(0, 100, 50, step=1, label="Share of the second style (%)")
        self.strokes = gr.Dropdown(
            [(label, value) for value, label in STROKES], value=AUTOMATIC, label="Size of the brush strokes",
            info="automatic: large photos get larger strokes, so that they look like small ones",
        )  # fmt: skip
        self.grain = gr.Slider(
            0, MOST_GRAIN, default_grain(), step=0.5, label="Grain",
            info="fine noise that keeps plain areas from getting stripes",
        )  # fmt: skip
        self.side = gr.Dropdown(SIDES, value=FULL_SIZE, label="Longest side of the picture (pixels)")
        self.format = gr.Dropdown(
            [(label, value) for value, label in FORMATS], value=AS_PHOTO, label="Format of the file",
            elem_id="format",
        )  # fmt: skip

    def _build_result(self) -> None:
        with gr.Row():
            self.start = gr.Button("Make the picture", variant="primary", elem_id="start", min_width=150)
            self.all_styles = gr.Button("Try all styles", elem_id="all-styles", min_width=120)
            self.stop = gr.Button("Stop", elem_id="stop", min_width=80)
        self.slider = gr.ImageSlider(
            label="Before and after (move the line)", type="filepath", interactive=False, elem_id="slider",
            buttons=["fullscreen"], max_height=560,
        )  # fmt: skip
        self.line = gr.Markdown("The picture appears here.", elem_id="photo-line", elem_classes="quiet")
        self.download = gr.DownloadButton(
            "Download the picture in full size", elem_id="download", interactive=False
        )
        self.sheet = gr.Gallery(
            label="All styles (choose one)", columns=3, height="auto", allow_preview=False, interactive=False,
            elem_id="sheet", visible=False, buttons=[],
        )  # fmt: skip
        self.sheet_names = gr.State([])

    def _connect(self) -> None:
        self.photo.change(self._on_photo, self.photo, self.mask, show_progress="hidden", concurrency_limit=4)
        for gallery, names in ((self.gallery, self.gallery_names), (self.sheet, self.sheet_names)):
            gallery.select(_chosen_style, names, self.style, queue=False, show_progress="hidden")
        self.cards_timer.tick(self._refreshed_cards, None, self._card_outputs, show_progress="hidden")
        fields = [
            self.style, self.second, self.share, self.strength, self.keep_colors, self.strokes, self.grain, self.side,
            self.format,
        ]  # fmt: skip
        limit = self._studio.config.max_waiting + 1
        shared = {"concurrency_id": PHOTOS, "concurrency_limit": min(30, limit)}
        self.start.click(
            self._make, [self.photo, self.mask, *fields], [self.slider, self.line, self.download],
            show_progress_on=self.slider, **shared,
        )  # fmt: skip
        self.all_styles.click(
            self._make_sheet, self.photo, [self.sheet, self.sheet_names, self.line], show_progress_on=self.line,
            **shared,
        )  # fmt: skip
        self.stop.click(self._stop, None, None, queue=False, show_progress="hidden")

    def _on_photo(self, photo, request: gr.Request):
        """Shows the photo in the mask editor, which also tells at once that a file is no photo."""
        if photo is None:
            return None
        deadline = self._studio.maker.deadline()
        with told(photo, folders=self._studio.folders()):
            visit = self._studio.visit(request)
            with visit.work(deadline.cancel):
                target = visit.new_folder() / "photo.png"
                return str(view(self._studio.maker, photo.path, target, MASK_SIDE, deadline))

    def _make(self, photo, painted, request: gr.Request, progress=gr.Progress(), *fields):  # noqa: B008
        if photo is None:
            raise shown_error("give a photo first")
        deadline = self._studio.maker.deadline()
        with (
            told(photo, folders=self._studio.folders()),
            self._studio.work(request, deadline.cancel) as visit,
            TemporaryDirectory(dir=self._studio.workspace.private_dir) as mask_dir,
        ):
            result = picture(
                self._studio.maker, photo, request_of(*fields, mask=saved_mask(painted, Path(mask_dir))),
                visit.new_folder(), deadline, lambda place: progress(0.0, desc=place_text(place)),
                lambda share: progress(share, desc="working"),
            )  # fmt: skip
            views = (str(result.before), str(result.after))
            return views, result.line, gr.update(value=str(result.path), interactive=True)

    def _make_sheet(self, photo, request: gr.Request, progress=gr.Progress()):  # noqa: B008
        if photo is None:
            raise shown_error("give a photo first")
        deadline = self._studio.maker.deadline()
        with (
            told(photo, folders=self._studio.folders()),
            self._studio.work(request, deadline.cancel) as visit,
        ):
            pictures, names = sheet_pictures(
                self._studio.maker, photo, visit.new_folder(), deadline,
                lambda place: progress(None, desc=place_text(place)),
                lambda share: progress(share, desc="all styles"),
            )  # fmt: skip
        return gr.update(value=pictures, visible=True), names, "Choose a style among the pictures below."

    def _stop(self, request: gr.Request) -> None:
        self._studio.stop(request)


def _chosen_style(names: list[str], event: gr.SelectData):
    """The style of a picture of a gallery. names: of its pictures, as this page shows them."""
    index = event.index
    return names[index] if isinstance(index, int) and 0 <= index < len(names) else gr.skip()
