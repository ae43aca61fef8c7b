"""The page as an application: who may enter, which tabs there are, and that the HTTP service is beside it."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the studio needs gradio")

from web.studio import offline
from web.studio.config import StudioConfig
from web.studio.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def opened(style_dirs, tmp_path):
    """A function of fields of StudioConfig: a context that gives a client of the running application."""

    @contextmanager
    def run(**fields):
        from starlette.testclient import TestClient

        config = StudioConfig(styles_dir=style_dirs["waves"].parent, runs_dir=tmp_path / "runs", **fields)
        with pytest.MonkeyPatch.context() as patch, Workspace(tmp_path) as workspace:
            for name in (*offline.QUIET, "GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE"):
                patch.setenv(name, "")  # so that it gets its old value back
            offline.prepare(workspace.cache_dir)
            from web.studio.serving import build_app
            from web.studio.studio import build_studio

            studio = build_studio(config, workspace)
            with TestClient(build_app(studio), base_url="http://127.0.0.1:7860") as client:
                yield client
            studio.close()

    return run


def labels_of(client) -> list[str]:
    parts = client.get("/config").json()["components"]
    return [part["props"].get("label") for part in parts if part["type"] == "tabitem"]


def test_everyone_may_enter_where_no_account_is_set(opened):
    with opened() as client:
        assert labels_of(client) == ["Photo", "Webcam", "Clip", "Train a style", "Slow method"]
        assert client.get("/api/v1/styles").status_code == 200


@pytest.mark.parametrize("fields", [{"host": "0.0.0.0"}, {"no_training": True}], ids=str)
def test_training_is_left_out_for_other_machines_and_where_it_is_switched_off(opened, fields):
    with opened(**fields) as client:
        assert labels_of(client) == ["Photo", "Webcam", "Clip"]


def test_with_accounts_nothing_is_reached_without_the_password(opened):
    with opened(auth=("ann:secret", "bob:other")) as client:
        closed = {
            "/config": client.get("/config"),
            "upload": client.post("/gradio_api/upload", files={"files": ("x.png", b"x")}),
            "join": client.post("/gradio_api/queue/join", json={"data": [], "fn_index": 0}),
            "file": client.get("/gradio_api/file=/x/y"),
            "service": client.get("/api/v1/styles"),
        }
        assert {name: answer.status_code for name, answer in closed.items()} == dict.fromkeys(closed, 401)
        wrong = client.post("/login", data={"username": "ann", "password": "other"})
        assert wrong.status_code == 400
        assert client.post("/login", data={"username": "ann", "password": "secret"}).status_code == 200
        assert "Photo" in labels_of(client)


def test_the_page_names_no_other_machine(opened):
    with opened() as client:
        text = client.get("/").text
        loaded = [part.split('"')[0] for part in text.split('src="')[1:] + text.split("<link")[1:]]
        assert not [address for address in loaded if address.startswith(("http", "//"))]
        assert "googleapis" not in text and "cdn" not in text
        assert "http" not in client.get("/theme.css").text.replace("http://www.w3.org", "")


def test_no_page_of_another_site_shows_a_local_studio_in_a_frame(opened):
    with opened() as client:
        assert "frame-ancestors 'self'" in client.get("/").headers["content-security-policy"]
    with opened(host="0.0.0.0") as client:
        assert "content-security-policy" not in client.get("/").headers


def test_the_footer_with_links_to_other_sites_is_left_out(opened):
    with opened() as client:
        config = client.get("/config").json()
        assert config.get("footer_links") == []
        assert config.get("analytics_enabled") is False


def test_gradio_writes_no_files_beside_the_modules():
    assert list((ROOT / "web").rglob("*.pyi")) == []


def test_gradio_is_told_to_ask_nobody(tmp_path, monkeypatch):
    for name in (*offline.QUIET, "GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE"):
        monkeypatch.setenv(name, "")
    offline.prepare(tmp_path)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False" and os.environ["HF_HUB_OFFLINE"] == "1"
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
