"""What hostile visitors send to the page's events and addresses: none of it reaches a file that they did not upload."""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from studio_client import StudioClient, file_data

pytest.importorskip("gradio", reason="the studio needs gradio")

PHOTO_FIELDS = ["great_wave", "", 50, 100, False, "auto", 1, "full size", "as the photo"]


@pytest.fixture(scope="module")
def server(style_dirs, tmp_path_factory):
    """(client, page, studio) of a studio that runs in this process."""
    from starlette.testclient import TestClient

    from web.studio import offline
    from web.studio.config import StudioConfig
    from web.studio.workspace import Workspace

    folder = tmp_path_factory.mktemp("studio")
    (folder / "photos").mkdir()
    config = StudioConfig(
        styles_dir=style_dirs["waves"].parent,
        content_dir=(folder / "photos",),
        runs_dir=folder / "runs",
        max_upload=1.0,
        max_megapixels=1.0,
    )
    with pytest.MonkeyPatch.context() as patch, Workspace(folder) as workspace:
        for name in (*offline.QUIET, "GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE"):
            patch.setenv(name, "")  # so that it gets its old value back
        offline.prepare(workspace.cache_dir)
        from web.studio.page import build_page, mount_page
        from web.studio.serving import build_app
        from web.studio.studio import build_studio

        studio = build_studio(config, workspace)
        built = {}

        def noted(app, page, studio):
            built["page"] = page
            return mount_page(app, page, studio)

        patch.setattr("web.studio.page.mount_page", noted)
        assert build_page is not None
        with TestClient(build_app(studio), base_url="http://127.0.0.1:7860") as client:
            yield client, built["page"], studio
        studio.close()


@pytest.fixture
def visitor(server) -> StudioClient:
    client, page, _ = server
    return StudioClient(client, page, session=f"visitor{os.urandom(4).hex()}")


@pytest.fixture
def secret(tmp_path, photo) -> Path:
    """A photo of the operator, outside of the studio's folder."""
    return photo(tmp_path / "secret.png")


def make(visitor: StudioClient, photo, *, style: str = "waves", **changes) -> dict:
    fields = dict(zip(("style", "second", "share", "strength", "keep", "strokes", "grain", "side", "format"),
                      [style, *PHOTO_FIELDS[1:]], strict=True))  # fmt: skip
    fields |= changes
    return visitor.call("PhotoTab._make", photo, None, *fields.values())


def test_an_uploaded_photo_becomes_a_picture(visitor, photo, tmp_path):
    place = visitor.upload(photo(tmp_path / "cat.png"))
    message = make(visitor, file_data(place, orig_name="cat.png"))
    assert message["success"], message
    download = message["output"]["data"][2]["value"]
    assert Path(download["path"]).name == "cat_waves.png"
    assert visitor.client.get(f"/gradio_api/file={download['path']}").status_code == 200


@pytest.mark.parametrize(
    "spelling", ["{path}", "{folder}/../{folder_name}/{name}", "file://{path}", "//{path}"]
)
def test_a_file_that_was_not_uploaded_is_refused(visitor, secret, spelling):
    path = spelling.format(
        path=secret, folder=secret.parent, folder_name=secret.parent.name, name=secret.name
    )
    error = visitor.error("PhotoTab._make", file_data(path), None, *["waves", *PHOTO_FIELDS[1:]])
    assert error == "this file was not uploaded here; upload it again"


def test_system_files_and_folders_are_refused(visitor, server):
    *_, studio = server
    for path in (
        "/etc/passwd",
        "/proc/self/environ",
        "../../etc/passwd",
        str(studio.workspace.root),
        "\0",
        7,
        "",
    ):
        error = visitor.error("PhotoTab._on_photo", file_data(path))
        assert error == "this file was not uploaded here; upload it again"


def test_a_link_or_a_way_out_of_the_cache_is_refused(visitor, server, secret):
    *_, studio = server
    link = studio.workspace.cache_dir / "link.png"
    link.symlink_to(secret)
    way_out = f"{studio.workspace.cache_dir}/../../{secret.name}"
    for path in (str(link), way_out):
        assert "not uploaded" in visitor.error("PhotoTab._on_photo", file_data(path))
    link.unlink()


def test_private_files_of_the_studio_are_refused(visitor, server):
    *_, studio = server
    path = studio.workspace.private_dir / "training" / "output.log"
    path.write_text("what train.py said")
    assert "not uploaded" in visitor.error("PhotoTab._on_photo", file_data(str(path)))
    assert visitor.client.get(f"/gradio_api/file={path}").status_code == 403


def test_no_address_is_fetched(visitor):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    listener = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{listener.server_port}/photo.png"
        for url in (address, address.replace("127.0.0.1", "localhost"), "http://169.254.169.254/latest"):
            assert "not uploaded" in visitor.error("PhotoTab._on_photo", file_data(url))
            visitor.call("PhotoTab._on_photo", file_data(visitor_file(visitor), url=url))
        assert visitor.client.get(f"/gradio_api/file={address}").status_code == 404
        assert visitor.client.get(f"/gradio_api/proxy={address}").status_code == 404
    finally:
        listener.shutdown()
    assert asked == []


def visitor_file(visitor: StudioClient) -> str:
    from conftest import write_photo

    path = Path(os.environ["GRADIO_TEMP_DIR"]).parent / "private" / "mine.png"
    return visitor.upload(write_photo(path))


def test_a_file_inside_of_a_list_is_checked_too(visitor, secret):
    error = visitor.error("ClipTab._make", [file_data(str(secret))], "waves", 80, 640, False)
    assert error == "this file was not uploaded here; upload it again"


def shown_styles(visitor: StudioClient, studio) -> list[str]:
    """Loads the page; returns the titles of the styles that it shows, in their order."""
    studio.cards.pictures(wait_seconds=120)
    gallery = visitor.call("_build_tabs.<locals>.refresh")["output"]["data"][0]["value"]
    return [picture["caption"] for picture in gallery]


def test_a_click_chooses_the_style_that_the_page_shows_also_when_there_are_others_by_now(
    visitor, server, monkeypatch
):
    *_, studio = server
    assert shown_styles(visitor, studio) == ["Stars", "Waves"]
    monkeypatch.setattr(
        type(studio.maker.shelf), "names", lambda self: ["waves"]
    )  # the first one was removed
    studio.cards.pictures()
    for index, style in ((0, "stars"), (1, "waves")):
        chosen = visitor.call("_chosen_style", None, event_data={"index": index, "value": None})
        assert chosen["output"]["data"][0] == style
    for index in (2, -1, "x", [0, 0], None):
        chosen = visitor.call("_chosen_style", None, event_data={"index": index, "value": None})
        assert chosen["success"] and chosen["output"]["data"][0] not in ("stars", "waves")


@pytest.mark.parametrize("style", ["../waves", "/etc", "nothing", "waves/../stars", "", None])
def test_a_style_that_is_not_offered_is_refused(visitor, style):
    message = make(visitor, file_data(visitor_file(visitor)), style=style)
    assert not message["success"]
    assert "/" not in (message["output"].get("error") or "").replace(str(style), "")


@pytest.mark.parametrize(
    "changes",
    [
        {"strength": 1e9}, {"strength": "much"}, {"share": -1}, {"strokes": "../../x"}, {"grain": 1e30},
        {"side": "0"}, {"side": "-5"}, {"side": "nan"}, {"format": "exe"}, {"format": "../../x"}, {"second": "../x"},
        {"keep": {"a": 1}, "strength": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_no_field_has_is_refused_without_a_traceback(visitor, changes):
    message = make(visitor, file_data(visitor_file(visitor)), **changes)
    assert not message["success"]
    error = message["output"].get("error") or ""
    assert "Traceback" not in error and "\n" not in error and "site-packages" not in error


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/call/_make", "/gradio_api/run/_make",
        "/gradio_api/api/predict", "/gradio_api/runs", "/gradio_api/run-history/records", "/gradio_api/deep_link",
        "/gradio_api/vibe-code", "/gradio_api/process_recording", "/monitoring", "/monitoring/summary", "/llms.txt",
        "/gradio_api/queue/status", "/gradio_api/file/etc/passwd", "/docs", "/openapi.json",
        "/gradio_api/custom_component/a/client/b/c.js",
    ],
)  # fmt: skip
def test_what_the_page_does_not_need_is_closed(visitor, path):
    assert visitor.client.get(path).status_code == 404
    assert visitor.client.post(path, json={}).status_code in (404, 405)


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "//etc/passwd", "/tmp/../etc/passwd"])
def test_files_of_the_system_are_not_served(visitor, path):
    assert visitor.client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_the_cache_is_not_listed(visitor, server):
    *_, studio = server
    for folder in (studio.workspace.cache_dir, studio.workspace.root, f"{studio.workspace.cache_dir}/"):
        assert visitor.client.get(f"/gradio_api/file={folder}").status_code == 403


def test_another_host_name_or_origin_is_refused(visitor):
    assert visitor.client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert visitor.client.get("/", headers={"origin": "http://evil.example"}).status_code == 403
    assert visitor.client.get("/", headers={"origin": "http://127.0.0.1:7860"}).status_code == 200


def test_uploads_that_were_never_completed_do_not_close_the_studio(
    visitor, server, photo, tmp_path, monkeypatch
):
    *_, studio = server
    rest = studio.workspace.cache_dir / "tmpabandoned"
    rest.write_bytes(bytes(1000))
    monkeypatch.setattr("web.studio.page.STORED_UPLOADS", 0)
    monkeypatch.setattr(studio.workspace, "stored_bytes", lambda: rest.exists())
    file = {"files": ("cat.png", photo(tmp_path / "cat.png").read_bytes())}
    assert visitor.client.post("/gradio_api/upload", files=file).status_code == 503
    later = time.time() + 100
    monkeypatch.setattr("web.studio.workspace.time", SimpleNamespace(time=lambda: later))
    assert visitor.client.post("/gradio_api/upload", files=file).status_code == 200
    assert not rest.exists()
    assert "sweep" in {thread.name for thread in threading.enumerate()}  # also where nobody uploads


def test_a_larger_file_than_allowed_is_refused(visitor, tmp_path):
    (tmp_path / "large.png").write_bytes(bytes(1_200_000))
    answer = visitor.client.post(
        "/gradio_api/upload", files={"files": ("large.png", (tmp_path / "large.png").read_bytes())}
    )
    assert answer.status_code == 413


def test_a_larger_photo_than_allowed_is_refused_by_its_name(visitor, photo, tmp_path):
    place = visitor.upload(photo(tmp_path / "huge.png", height=1100, width=1100))
    error = visitor.error("PhotoTab._on_photo", file_data(place, orig_name="huge.png"))
    assert error.startswith("huge.png: ") and "megapixel" in error


@pytest.fixture
def no_process(monkeypatch, server):
    """The list of processes that were asked for; none is started."""
    *_, studio = server
    started = []
    monkeypatch.setattr(type(studio.trainings), "missing", lambda self: "")
    for module in ("trainings", "slow_runs"):
        monkeypatch.setattr(f"web.studio.{module}.DoorProcess", lambda *call: started.append(call))
    return started


@pytest.mark.parametrize("large", [0, 1])
def test_a_large_picture_starts_no_process_of_the_slow_method(visitor, photo, tmp_path, no_process, large):
    files = [photo(tmp_path / "small.png"), photo(tmp_path / "small2.png", seed=3)]
    files[large] = photo(tmp_path / "huge.png", height=1100, width=1100)
    uploads = [file_data(visitor.upload(path), orig_name=path.name) for path in files]
    error = visitor.error("SlowTab._make", *uploads, "ist", 128, 10, "content")
    assert error.startswith("huge.png: more than 1 megapixels") and no_process == []


@pytest.mark.parametrize("event", ["TrainingTab._start", "TrainingTab._start_grid"])
@pytest.mark.parametrize("large", ["painting", "photo"])
def test_a_large_picture_starts_no_training(visitor, photo, tmp_path, no_process, event, large):
    small = file_data(visitor_file(visitor), orig_name="small.png")
    path = photo(tmp_path / "huge.png", height=1100, width=1100)
    huge = file_data(visitor.upload(path), orig_name="huge.png")
    painting, sent = (huge, [small]) if large == "painting" else (small, [small, huge])
    error = visitor.error(event, painting, "a name", "", sent, "lengstrom", None, 10)
    assert error.startswith("huge.png: more than 1 megapixels") and no_process == []


def test_a_file_that_is_too_large_for_a_frame_is_not_read(visitor, monkeypatch):
    monkeypatch.setattr("web.studio.file_inputs.MOST_FRAME_BYTES", 10)
    error = visitor.error("LiveTab._frame", file_data(visitor_file(visitor)), "waves", 256)
    assert error.startswith("this file is larger than")


def send_mask(visitor: StudioClient, page, key: str, *, kind: str = "layer", content: bytes = b"") -> int:
    """Sends a picture of the mask editor as a browser does after a stroke; returns the status."""
    editor = next(number for number, part in page.blocks.items() if type(part).__name__ == "MaskInput")
    fields = {"id": key, "type": kind, "index": "0", "session_hash": visitor.session, "fn_name": "accept_blobs",
              "component_id": str(editor)}  # fmt: skip
    answer = visitor.client.post(
        "/gradio_api/component_server", data=fields, files={"file": ("layer.png", content)}
    )
    return answer.status_code


def mask_error(visitor: StudioClient, key: str) -> str:
    message = visitor.call(
        "PhotoTab._make", file_data(visitor_file(visitor)), {"id": key}, "waves", *PHOTO_FIELDS[1:]
    )
    return "" if message["success"] else message["output"]["error"]


def test_a_mask_that_others_have_pushed_out_fails_its_event_and_is_not_ignored(visitor, server):
    _, page, _ = server
    layer = Path(visitor_file(visitor)).read_bytes()
    assert send_mask(visitor, page, "mine", content=layer) == 200
    assert mask_error(visitor, "mine") == ""
    assert send_mask(visitor, page, "blank", kind="background", content=layer) == 200
    assert mask_error(visitor, "blank") == ""  # nothing was painted
    assert send_mask(visitor, page, "mine", content=layer) == 200
    for number in range(80):
        assert send_mask(visitor, page, f"other{number}", content=bytes(900_000)) == 200
    assert mask_error(visitor, "mine") == "the mask has got lost on its way; press the button again"


def test_the_name_of_a_file_is_shown_as_text_and_without_its_path(visitor, tmp_path):
    (tmp_path / "words.png").write_text("words")
    place = visitor.upload(tmp_path / "words.png")
    error = visitor.error("PhotoTab._on_photo", file_data(place, orig_name="../../<img src=x>.png"))
    assert error.startswith("&lt;img src=x&gt;.png: ") and str(tmp_path) not in error


def test_svg_files_are_not_shown_as_pages(visitor, tmp_path):
    (tmp_path / "page.svg").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    )
    place = visitor.upload(tmp_path / "page.svg")
    visitor.call("PhotoTab._on_photo", file_data(place, orig_name="page.svg"))
    answer = visitor.client.get(f"/gradio_api/file={place}")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "svg" not in answer.headers["content-type"]


def test_the_end_of_a_visit_removes_its_results(visitor, server, photo, tmp_path):
    *_, studio = server
    place = visitor.upload(photo(tmp_path / "cat.png"))
    message = make(visitor, file_data(place))
    path = Path(message["output"]["data"][2]["value"]["path"])
    assert path.exists()
    studio.visits.end(visitor.session)
    assert not path.exists()


TRAINING = ["a name", "photos", [], "lengstrom", None, 10]


@pytest.mark.parametrize("name", ["../x", "/tmp/x", ".hidden", "a/b", "base", "", "   ", "\n", "x" * 61])
def test_a_training_takes_no_name_that_is_a_path(visitor, server, name, monkeypatch):
    *_, studio = server
    monkeypatch.setattr(type(studio.trainings), "missing", lambda self: "")
    started = []
    monkeypatch.setattr("web.studio.trainings.DoorProcess", lambda *call: started.append(call))
    painting = file_data(visitor_file(visitor))
    message = visitor.call("TrainingTab._start", painting, name, *TRAINING[1:])
    assert not message["success"] and started == []


@pytest.mark.parametrize("folder", ["/etc", "../photos", "other"])
def test_a_training_takes_no_folder_that_is_not_offered(visitor, server, folder, monkeypatch):
    *_, studio = server
    monkeypatch.setattr(type(studio.trainings), "missing", lambda self: "")
    started = []
    monkeypatch.setattr("web.studio.trainings.DoorProcess", lambda *call: started.append(call))
    message = visitor.call("TrainingTab._start", file_data(visitor_file(visitor)), "x", folder, *TRAINING[2:])
    assert not message["success"] and started == []


def test_only_a_stopped_training_can_be_resumed(visitor, server, monkeypatch):
    *_, studio = server
    monkeypatch.setattr(type(studio.trainings), "missing", lambda self: "")
    for name in ("../waves", "waves", "", None):
        assert not visitor.call("TrainingTab._resume", name)["success"]
