"""Faults in the page: one line for the visitor, the traceback for the log. No line names a path of this machine."""

import html
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from web.faults import EXPECTED, answer_to
from web.studio.uploads import Upload
from web.turns import GaveUp

logger = logging.getLogger(__name__)
OWN_FAULT = "the studio has made a mistake; its operator finds the details in the log"
STOPPED = "stopped"


@contextmanager
def told(*uploads: Upload | None, folders: Mapping[Path, str] | None = None) -> Iterator[None]:
    """Within this context errors become gr.Error with one line.

    uploads: the files of the request, which the line calls by the visitor's names. folders: paths of this machine that
    a line may contain, and what is shown in their place.
    """
    names = {upload.path: upload.name for upload in uploads if upload is not None}
    try:
        yield
    except gr.Error:
        raise
    except EXPECTED as error:
        if isinstance(error, OSError) and not isinstance(error, ValueError):
            logger.exception("a request failed")  # the line does not tell why
        raise shown_error(_line(error, {**names, **(folders or {})})) from error
    except Exception as error:
        logger.exception("a request failed")
        raise shown_error(OWN_FAULT) from error


def _line(error: Exception, names: Mapping[Path, str]) -> str:
    if isinstance(error, GaveUp) and str(error) == "cancelled":
        return STOPPED
    return answer_to(error, dict(names)).line


def shown_error(line: str) -> gr.Error:
    """An error of the page; the line may contain names that visitors gave, and the page would show them as HTML."""
    return gr.Error(html.escape(line, quote=False), duration=15, print_exception=False)


def place_text(place: int) -> str:
    """Where a photo stands in the queue."""
    if not place:
        return "working"
    return f"waiting: {place} {'photo is' if place == 1 else 'photos are'} before yours"
