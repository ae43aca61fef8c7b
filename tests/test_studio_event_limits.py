"""Events that wait: no kind of them and no visit closes the page for others."""

import threading

import pytest

pytest.importorskip("gradio", reason="the studio needs gradio")

import gradio as gr

from web.studio.event_limits import CLIPS, MOST_WAITING, OTHER_WAITING, SLOW, limit_events
from web.studio.file_inputs import StudioBlocks


class Page:
    """A page with events that wait until `release`, and a client that asks for them as any visitor."""

    def __init__(self, client, page):
        self.client, self._numbers = client, {event.api_name: number for number, event in page.fns.items()}

    def join(self, event: str, session: str) -> int:
        """Asks for an event; returns the status."""
        body = {"data": [], "fn_index": self._numbers[event], "session_hash": session}
        return self.client.post("/gradio_api/queue/join", json=body).status_code


@pytest.fixture
def page():
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    end = threading.Event()
    with StudioBlocks() as blocks:
        for kind in (CLIPS, SLOW, "tick"):
            limits = {"concurrency_limit": 1, "concurrency_id": kind}
            gr.Button().click(lambda: end.wait(60) and None, None, None, api_name=kind, **limits)
    blocks.queue(max_size=None)
    limit_events(blocks, {})
    app = gr.mount_gradio_app(FastAPI(), blocks, path="/")
    with TestClient(app) as client:
        try:
            yield Page(client, blocks)
        finally:
            end.set()


def test_a_visit_has_one_clip_and_one_slow_run_at_a_time(page):
    assert page.join(CLIPS, "ann") == 200
    assert page.join(CLIPS, "ann") == 503
    assert page.join(SLOW, "ann") == 200
    assert page.join(CLIPS, "bob") == 200


def test_many_clips_close_the_clips_and_nothing_else(page):
    statuses = [page.join(CLIPS, f"visitor{number}") for number in range(30)]
    assert set(statuses[: MOST_WAITING[CLIPS]]) == {200} and set(statuses[-10:]) == {503}
    assert page.join(SLOW, "ann") == 200
    assert page.join("tick", "ann") == 200


def test_one_visit_does_not_fill_the_line_of_a_kind(page):
    statuses = [page.join("tick", "ann") for _ in range(OTHER_WAITING + 1)]
    assert statuses.count(503) > OTHER_WAITING / 2
    assert page.join("tick", "bob") == 200


def test_an_unknown_event_is_refused(page):
    for number in (999, None):
        body = {"data": [], "fn_index": number, "session_hash": "ann"}
        assert page.client.post("/gradio_api/queue/join", json=body).status_code == 400
