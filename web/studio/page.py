"""The page: its tabs, and how it is mounted on an application. offline.prepare must have been called before."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import Mount

from web.studio import looks
from web.studio.clip_tab import ClipTab
from web.studio.config import accounts
from web.studio.event_limits import PHOTOS, limit_events
from web.studio.file_inputs import StudioBlocks
from web.studio.gate import Gate
from web.studio.live_tab import LiveTab
from web.studio.photo_tab import PhotoTab
from web.studio.slow_tab import SlowTab
from web.studio.studio import Studio
from web.studio.training_tab import TrainingTab

KEEP_SECONDS = 3600  # uploads and results of visitors who do not say good-bye
CLEAN_SECONDS = 300
STORED_UPLOADS = 100  # times the largest file: all uploads and results, which stay for KEEP_SECONDS at most
TRAINING_UPLOADS = 20  # times the largest file: the photos of a training come together


def build_page(studio: Studio) -> StudioBlocks:
    """All tabs of the page."""
    with StudioBlocks(
        title=looks.TITLE, analytics_enabled=False, delete_cache=(CLEAN_SECONDS, KEEP_SECONDS)
    ) as page:
        gr.Markdown("# Fast style transfer\nYour photo in the style of a painting.")
        with gr.Tabs():
            _build_tabs(studio, page)
        page.unload(_ending(studio))
    page.queue(max_size=None, default_concurrency_limit=8, api_open=False)
    limit_events(page, {PHOTOS: studio.config.max_waiting + 1})
    return page


def _build_tabs(studio: Studio, page: StudioBlocks) -> None:
    tabs = []
    for title, build in (("Photo", PhotoTab), ("Webcam", LiveTab), ("Clip", ClipTab)):
        with gr.Tab(title):
            tabs.append(build(studio))
    outputs = [part for tab in tabs for part in tab.outputs]

    def refresh() -> list[Any]:
        return [update for tab in tabs for update in tab.refreshed()]

    page.load(refresh, None, outputs, show_progress="hidden")
    if studio.trainings is None:
        return
    with gr.Tab("Train a style"):
        training = TrainingTab(studio, (refresh, outputs))
    page.load(training.shown, None, training.outputs, show_progress="hidden")
    with gr.Tab("Slow method"):
        SlowTab(studio)


def _ending(studio: Studio) -> Callable[[gr.Request], None]:
    def end_visit(request: gr.Request) -> None:
        studio.visits.end(str(request.session_hash))

    return end_visit


def _is_full(studio: Studio, most_bytes: int) -> bool:
    """Whether visitors' files take more than that, without those that nobody needs."""
    if studio.workspace.stored_bytes() <= most_bytes:
        return False
    studio.workspace.sweep(KEEP_SECONDS, studio.config.upload_limit)
    return studio.workspace.stored_bytes() > most_bytes


def mount_page(app: Any, page: StudioBlocks, studio: Studio) -> Any:
    """Mounts the page on a FastAPI application at "/"; routes that the application has already come first.

    Returns Gradio's part of it.
    """
    config = studio.config
    most_bytes = int(config.max_upload * 1e6)
    together = most_bytes * (TRAINING_UPLOADS if config.offers_training else 1)
    gate = Middleware(
        Gate,
        most_upload_bytes=together,
        most_seconds=config.upload_limit,
        host_names=config.host_names,
        is_full=lambda: _is_full(studio, STORED_UPLOADS * most_bytes),
        may_be_framed=not config.is_local,
    )
    studio.workspace.keep_clean(CLEAN_SECONDS, KEEP_SECONDS, config.upload_limit)
    gr.mount_gradio_app(
        app, page, path="/", server_name=config.host, server_port=config.port, footer_links=[], run_history=False,
        app_kwargs={"middleware": [gate]}, auth=accounts(config) or None, show_error=False, max_file_size=most_bytes,
        ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, theme=looks.theme(), css=looks.CSS,
        head=looks.head(),
    )  # fmt: skip
    # Gradio compares the paths of files with its cache only where it has launched the page itself.
    page.has_launched = True
    return next(route.app for route in reversed(app.routes) if isinstance(route, Mount))
