"""Calls the events of a studio's page as its script does, with whatever values; for tests."""

import json
from pathlib import Path
from typing import Any

UPLOAD = {"meta": {"_type": "gradio.FileData"}}


def file_data(path: str, **more: Any) -> dict[str, Any]:
    """What a browser sends for a file that it has uploaded before, or claims to have."""
    return {"path": path, **UPLOAD, **more}


class StudioClient:
    """A visitor without a browser. client: of starlette.testclient. page: of web.studio.page."""

    def __init__(self, client: Any, page: Any, session: str = "session1"):
        self.client, self._page, self.session = client, page, session

    def upload(self, path: Path, name: str | None = None) -> str:
        """Sends a file; returns the path that the server gives it."""
        answer = self.client.post(
            "/gradio_api/upload", files={"files": (name or path.name, path.read_bytes())}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()[0]

    def number(self, function: str) -> int:
        """The number of the event whose function has this name, such as PhotoTab._make."""
        return next(
            number
            for number, event in self._page.fns.items()
            if getattr(event.fn, "__qualname__", "") == function
        )

    def call(self, function: str, *values: Any, event_data: Any = None) -> dict[str, Any]:
        """Runs an event; returns its last message: {"success": ..., "output": {"data": [...], "error": ...}}."""
        body = {"data": list(values), "fn_index": self.number(function), "session_hash": self.session,
                "event_data": event_data}  # fmt: skip
        joined = self.client.post("/gradio_api/queue/join", json=body)
        assert joined.status_code == 200, joined.text
        answer = self.client.get("/gradio_api/queue/data", params={"session_hash": self.session})
        messages = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        return next(message for message in messages if message["msg"] == "process_completed")

    def error(self, function: str, *values: Any) -> str:
        """The line that the page shows for an event that fails; "" for one that it does not explain."""
        message = self.call(function, *values)
        assert not message["success"], message
        return message["output"].get("error") or ""
