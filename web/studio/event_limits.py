"""Limits for the events that wait: for each kind, so that no kind closes the page for others, and for each visit.

Gradio itself counts events of all kinds together: clips that wait for hours would close the whole page.
"""

from collections.abc import Mapping
from typing import Any

from web.studio.file_inputs import StudioBlocks

PHOTOS, CLIPS, SLOW = "photos", "clips", "slow"  # kinds; Gradio's concurrency_id of their events
MOST_OF_VISIT = {PHOTOS: 2, CLIPS: 1, SLOW: 1}  # that wait or are in work; photos: the picture and the sheet
MOST_WAITING = {CLIPS: 4, SLOW: 4}
OTHER_OF_VISIT, OTHER_WAITING = 4, 100  # of every other kind: a timer, a new photo, frames of the webcam


def limit_events(page: StudioBlocks, most_waiting: Mapping[str, int]) -> None:
    """Refuses events of the page beyond the limits; their page says that the studio is busy.

    Call it after page.queue(). most_waiting: of a kind, in addition to MOST_WAITING.
    """
    queue, push = page._queue, page._queue.push
    limits = {**MOST_WAITING, **most_waiting}

    async def limited_push(body: Any, *arguments: Any, **options: Any) -> tuple[bool, Any, str]:
        event = page.fns.get(body.fn_index)
        if event is None:
            return False, "there is no such event", "error"
        if line := _refusal(queue, event.concurrency_id, body.session_hash, limits):
            return False, line, "queue_full"
        return await push(body, *arguments, **options)

    queue.push = limited_push


def _refusal(queue: Any, kind: str, session: str | None, limits: Mapping[str, int]) -> str:
    """Why one more event is refused; "" if it is not."""
    events = queue.event_queue_per_concurrency_id.get(kind)
    waiting = [] if events is None else list(events.queue)
    if len(waiting) >= limits.get(kind, OTHER_WAITING):
        return f"{len(waiting)} others wait already; try again later"
    working = [event for job in queue.active_jobs for event in job or () if event.concurrency_id == kind]
    of_visit = sum(event.session_hash == session for event in (*waiting, *working))
    if of_visit >= MOST_OF_VISIT.get(kind, OTHER_OF_VISIT):
        return "this page has asked for it already; wait for it, or stop it"
    return ""
