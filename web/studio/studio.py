"""What the tabs share: the limits, the styles, the turns at the network, the visits and the folder of this process."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from web.pictures import PictureMaker
from web.studio.config import StudioConfig
from web.studio.style_cards import StyleCards
from web.studio.trainings import Trainings
from web.studio.visits import Visit, Visits
from web.studio.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Studio:
    """One running studio. trainings: None where training is not offered."""

    config: StudioConfig
    maker: PictureMaker
    workspace: Workspace
    visits: Visits
    cards: StyleCards
    trainings: Trainings | None

    def visit(self, request: gr.Request) -> Visit:
        """The visit that a request belongs to. Raises Busy."""
        return self.visits.visit(str(request.session_hash))

    @contextmanager
    def work(self, request: gr.Request, stop: Callable[[], object]) -> Iterator[Visit]:
        """Gives the visit that a request belongs to; within this context `stop` ends its work. Raises Busy."""
        visit = self.visit(request)
        with visit.work(stop):
            yield visit

    def stop(self, request: gr.Request) -> None:
        """Ends the work of the visit that a request belongs to, or tells the visitor that there is none."""
        visit = self.visits.find(str(request.session_hash))
        if visit is None or not visit.stop_all():
            gr.Info("nothing is under way", duration=3)

    def folders(self) -> dict[Path, str]:
        """Paths of this machine that messages may contain, and what is shown in their place. Long ones first."""
        from loss_net.weights import keras_cache_path
        from transformer.export.style_folder import new_styles_dir, style_places

        shown = {
            keras_cache_path("vgg19").parent: "the downloaded weights",
            self.workspace.root: "the studio's folder",
            **dict.fromkeys((*style_places(), new_styles_dir()), "the styles"),
            self.config.runs_dir: "the runs",
            Path(__file__).resolve().parents[2]: "the program",
        }
        shown |= {folder: folder.name for folder in self.config.content_dir}
        if self.config.styles_dir is not None:
            shown[self.config.styles_dir] = "the styles"
        if self.config.vgg is not None:
            shown[self.config.vgg] = "the VGG weights"
        spelled = {path: text for key, text in shown.items() for path in (key, key.absolute(), key.resolve())}
        # "runs" is a word, and every message may contain it; it tells nothing of this machine either.
        paths = {path: text for path, text in spelled.items() if len(path.parts) > 1}
        return dict(sorted(paths.items(), key=lambda item: -len(str(item[0]))))

    def close(self) -> None:
        """Ends all work: a training saves its state, and the files of visitors are removed."""
        try:
            self.visits.end_all()
        finally:
            if self.trainings is not None:
                self.trainings.close()

    def scrubbed(self, line: str) -> str:
        """A line of a child process without paths of this machine."""
        for path, text in self.folders().items():
            line = line.replace(str(path), text)
        return line


def build_studio(config: StudioConfig, workspace: Workspace, maker: Any = None) -> Studio:
    """maker: a PictureMaker that an HTTP service uses too; by default one for this page."""
    from web.shelf import StyleShelf

    maker = maker or PictureMaker(config, StyleShelf(config.styles_dir, report=logger.warning))
    cards = StyleCards(maker, workspace.private_dir / "cards")
    trainings = Trainings(config, workspace.private_dir) if config.offers_training else None
    return Studio(config, maker, workspace, Visits(workspace.cache_dir), cards, trainings)
