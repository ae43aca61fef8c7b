"""The service over HTTP: pictures, parameters, refusals, log and metrics."""

import io
import json
import re

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")
pytest.importorskip("uvicorn", reason="needs requirements-serve.txt")
pytest.importorskip("prometheus_client", reason="needs requirements-serve.txt")
pytest.importorskip("python_multipart", reason="needs requirements-serve.txt")

from PIL import Image
from serving import running_service
from waiting import wait_until

pytestmark = pytest.mark.tensorflow
KEY = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def service(style_dirs, tmp_path_factory):
    with running_service(style_dirs["waves"].parent, tmp_path_factory.mktemp("uploads")) as running:
        yield running


@pytest.fixture(scope="module")
def cat(tmp_path_factory, photo):
    return photo(tmp_path_factory.mktemp("photos") / "cat.png")


def image_of(reply) -> Image.Image:
    return Image.open(io.BytesIO(reply.body))


def test_a_photo_of_a_form_becomes_the_picture_of_infer_py(service, cat, style_dirs, tmp_path):
    import infer

    arguments = [str(cat), "--style", str(style_dirs["waves"]), "-o", str(tmp_path / "art.png")]
    assert infer.main([*arguments, "--runtime", "onnx"]) == 0
    reply = service.stylize(cat)
    assert reply.status == 200 and reply.headers["content-type"] == "image/png"
    assert (reply.headers["x-picture-height"], reply.headers["x-picture-width"]) == ("40", "48")
    expected = np.asarray(Image.open(tmp_path / "art.png"), int)
    assert np.abs(np.asarray(image_of(reply), int) - expected).max() <= 1


def test_a_photo_may_be_the_body_and_parameters_the_query(service, cat):
    path = "/api/v1/stylize?style=waves&max_side=20&format=jpg"
    reply = service.request("POST", path, cat.read_bytes(), {"Content-Type": "image/png"})
    assert reply.status == 200 and reply.headers["content-type"] == "image/jpeg"
    assert image_of(reply).size == (20, 17)


def test_two_styles_are_mixed_and_the_order_does_not_matter(service, cat):
    first = service.stylize(cat, ("style", "waves:3"), ("style", "stars"))
    second = service.stylize(cat, ("style", "stars:1"), ("style", "waves:3"))
    assert first.status == second.status == 200
    assert np.abs(np.asarray(image_of(first), int) - np.asarray(image_of(second), int)).max() <= 1
    assert first.body != service.stylize(cat).body


def test_strength_0_gives_the_photo_back(service, cat):
    reply = service.stylize(cat, ("strength", "0"))
    assert np.array_equal(np.asarray(image_of(reply)), np.asarray(Image.open(cat)))


def test_a_black_mask_keeps_the_photo(service, cat):
    stream = io.BytesIO()
    Image.new("L", (10, 10), 0).save(stream, "PNG")
    parts = [("photo", "cat.png", cat.read_bytes()), ("mask", "m.png", stream.getvalue()), ("style", "waves")]
    reply = service.post("/api/v1/stylize", parts)
    assert np.array_equal(np.asarray(image_of(reply)), np.asarray(Image.open(cat)))


def test_grain_changes_the_picture(service, cat):
    assert service.stylize(cat, ("grain", "0")).body != service.stylize(cat, ("grain", "30")).body


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my cat.png", "my_cat_waves.png"),
        ("../../etc/passwd", "passwd_waves.png"),
        ("a\\b\\Katze \u00e4\u2028.jpeg", "Katze_waves.png"),
        ("", "picture_waves.png"),
    ],
)
def test_the_name_of_the_picture_is_safe(service, cat, name, expected):
    header = service.stylize(cat, name=name).headers["content-disposition"]
    assert header == f'inline; filename="{expected}"'


def test_the_picture_has_the_format_of_the_content_not_of_the_name(service, cat):
    assert service.stylize(cat, name="cat.jpg").headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("texts", "status", "line"),
    [
        ([("strength", "nan")], 422, "strength must be"),
        ([("strength", "-0.1")], 422, "strength must be"),
        ([("strength", "1e999")], 422, "strength must be"),
        ([("strength", "a\x1b[2J")], 422, "invalid float value"),
        ([("max_side", "0")], 422, "max_side must be"),
        ([("max_side", "9" * 400)], 422, "digits"),
        ([("max_side", "1.5")], 422, "invalid int value"),
        ([("stroke_scale", "inf")], 422, "stroke_scale must be"),
        ([("grain", "1e30")], 422, "grain must be"),
        ([("keep_colors", "maybe")], 422, "not true or false"),
        ([("format", "exe")], 422, "format must be one of"),
        ([("format", "../png")], 422, "format must be one of"),
        ([("strength", "1"), ("strength", "0")], 422, "given twice"),
        ([("mask_path", "/etc/passwd")], 422, "unknown parameter"),
        ([("style", "nobody")], 404, "no style has this name; the styles are stars, waves"),
        ([("style", "../waves")], 404, "no style has this name"),
        ([("style", "/etc")], 404, "no style has this name"),
        ([("style", ".")], 404, "no style has this name"),
        ([("style", "")], 404, "no style has this name"),
        ([("style", "waves\0")], 404, "no style has this name"),
        ([("style", "waves:nan")], 422, "weights of styles"),
        ([("style", "waves:-1")], 422, "weights of styles"),
        ([("style", "waves:0")], 422, "weights of styles"),
        ([("style", "waves:x")], 422, "invalid float value"),
        ([("style", "waves")] * 5, 422, "1 to 4 styles"),
        ([("style", "w" * 900)], 422, "at most 300 characters"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_line(service, cat, texts, status, line):
    reply = service.stylize(cat, *texts)
    assert (reply.status, line in reply.error) == (status, True), reply.error


def test_a_photo_without_a_style_is_refused(service, cat):
    reply = service.post("/api/v1/stylize", [("photo", "cat.png", cat.read_bytes())])
    assert reply.status == 422 and "give the parameter style" in reply.error


def test_a_form_without_a_photo_is_refused(service):
    reply = service.post("/api/v1/stylize", [("style", "waves")])
    assert reply.status == 422 and "no file called photo" in reply.error


def test_a_sheet_shows_the_photo_in_all_styles(service, cat):
    reply = service.post("/api/v1/sheet", [("photo", "cat.png", cat.read_bytes())])
    assert reply.status == 200 and reply.headers["content-type"] == "image/jpeg"
    assert image_of(reply).width > 2 * 48


def test_a_sheet_has_no_parameters(service, cat):
    reply = service.post("/api/v1/sheet?style=waves", [("photo", "cat.png", cat.read_bytes())])
    assert reply.status == 422 and "leave out style" in reply.error


def test_the_styles_are_listed_without_paths_of_the_server(service, style_dirs):
    reply = service.get("/api/v1/styles")
    found = json.loads(reply.body)["styles"]
    assert [style["name"] for style in found] == ["stars", "waves"]
    assert found[1]["source"] == "museum of waves"
    assert str(style_dirs["waves"].parent).encode() not in reply.body


def test_a_style_has_a_small_picture_which_is_made_once(service):
    first, second = (service.get("/api/v1/styles/waves/preview") for _ in range(2))
    assert first.status == 200 and first.body == second.body
    assert max(image_of(first).size) == 256


def test_a_missing_example_photo_is_a_fault_of_the_server_without_a_path(
    service, tmp_path, monkeypatch, caplog
):
    previews = service.app.state.service._previews
    monkeypatch.setattr(previews, "_photo_path", tmp_path / "missing.jpg")
    monkeypatch.setattr(previews, "_pictures", {})
    reply = service.get("/api/v1/styles/waves/preview")
    assert reply.status == 500 and reply.error == "the server has failed; its log says why"
    assert "missing.jpg" in caplog.text


def test_a_preview_of_no_style_is_not_found(service):
    assert service.get("/api/v1/styles/..%2fwaves/preview").status == 404
    assert "no style has this name" in service.get("/api/v1/styles/nobody/preview").error


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v1/../../etc/passwd", 404),
        ("GET", "/api/v1/styles/%2e%2e%2f%2e%2e%2fetc/preview", 404),
        ("GET", "/api/v1/stylize", 405),
        ("DELETE", "/api/v1/styles", 405),
        ("BREW", "/api/v1/styles", 405),
        ("GET", "/api/v1/styles/", 404),
        ("GET", "/docs", 404),
    ],
)
def test_other_addresses_and_methods_get_a_line_of_json(service, method, path, status):
    reply = service.request(method, path)
    assert reply.status == status and reply.error
    assert (status == 405) == ("allow" in reply.headers)


def test_health_and_readiness(service):
    assert json.loads(service.get("/api/v1/health").body) == {"status": "ok"}
    assert service.get("/api/v1/ready").status == 200


def test_openapi_names_every_parameter_and_the_page_loads_nothing(service):
    description = json.loads(service.get("/api/v1/openapi.json").body)
    operation = description["paths"]["/api/v1/stylize"]["post"]
    assert {"style", "strength", "keep_colors", "stroke_scale", "grain", "max_side", "format"} == {
        parameter["name"] for parameter in operation["parameters"]
    }
    page = service.get("/api/v1/docs").body.decode()
    assert "stroke_scale" in page and not re.search(r"<script|https?://|src=", page)


@pytest.mark.parametrize("name", ["stylize", "sheet"])
def test_openapi_tells_that_an_empty_body_is_refused(service, name):
    operation = json.loads(service.get("/api/v1/openapi.json").body)["paths"][f"/api/v1/{name}"]["post"]
    assert operation["requestBody"]["required"]
    content = {kind: entry["schema"] for kind, entry in operation["requestBody"]["content"].items()}
    form = content.pop("multipart/form-data")
    assert form["required"] == ["photo"]
    bodies = [form["properties"]["photo"], *content.values()]
    assert all(body["format"] == "binary" and body["minLength"] == 1 for body in bodies)
    empty = service.request("POST", f"/api/v1/{name}", b"", {"Content-Type": "application/octet-stream"})
    assert empty.status == 400 and "empty" in empty.error and "400" in operation["responses"]


def test_every_answer_of_the_service_forbids_sniffing(service, cat):
    for reply in (service.get("/api/v1/styles"), service.get("/nothing"), service.stylize(cat)):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in reply.headers


def test_the_log_tells_what_was_asked_and_no_query(service, cat):
    def told() -> list[dict]:
        """Records of this test: those of others may still arrive."""
        return [record for record in service.records() if record["client"].startswith("1.2.3.4")]

    client = {"X-Forwarded-For": "1.2.3.4\t\x85"}  # of a proxy on this machine
    service.stylize(cat, headers=client)
    service.get("/api/v1/nothing%0a%1b?token=secret", headers=client)
    wait_until(lambda: len(told()) == 2)
    first, second = sorted(told(), key=lambda record: record["status"])  # they may arrive in any order
    assert first["status"] == 200 and first["styles"] == ["waves"] and first["megapixels"] == 0.002
    assert first["bytes_in"] > cat.stat().st_size and first["bytes_out"] > 0 and "waited" in first
    assert second["status"] == 404 and second["path"] == "/api/v1/nothing\\n\\x1b"
    assert "secret" not in "".join(service.lines) and all(line.isprintable() for line in service.lines)


def test_metrics_count_requests_by_status_and_time_by_stage(service, cat):
    service.stylize(cat)
    wait_until(lambda: b'status="200"' in service.get("/metrics").body)
    text = service.get("/metrics").body.decode()
    assert re.search(r'requests_total\{method="POST",route="/api/v1/stylize",status="200"\} \d', text)
    assert all(
        f'stage_seconds_count{{stage="{stage}"}}' in text
        for stage in ("waiting", "decoding", "network", "encoding")
    )
    assert "fast_style_transfer_waiting_photos 0.0" in text and "fast_style_transfer_connections" in text


def test_a_programming_error_is_logged_and_the_visitor_sees_a_neutral_line(service, cat, monkeypatch, caplog):
    def broken(*_, **__):
        raise ZeroDivisionError("secret of the server")

    monkeypatch.setattr(service.maker, "make", broken)
    reply = service.stylize(cat)
    assert reply.status == 500 and reply.error == "the server has failed; its log says why"
    assert "ZeroDivisionError: secret of the server" in caplog.text


def test_a_full_disk_is_answered_without_a_path(service, cat, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device", str(service.folder))

    monkeypatch.setattr(service.maker, "make", full)
    reply = service.stylize(cat)
    assert reply.status == 500 and str(service.folder) not in reply.error
    assert "No space left on device" in caplog.text


def test_no_upload_is_left(service, cat):
    service.stylize(cat)
    service.stylize(b"no photo")
    wait_until(lambda: not list(service.folder.iterdir()))


def test_a_key_is_asked_for_everywhere_but_for_health(style_dirs, cat, tmp_path):
    with running_service(style_dirs["waves"].parent, tmp_path, api_key=KEY) as service:
        for path in ("/api/v1/styles", "/metrics", "/api/v1/docs", "/api/v1/nothing"):
            reply = service.get(path)
            assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer" and reply.error
        assert service.get("/api/v1/health").status == service.get("/api/v1/ready").status == 200
        assert service.stylize(cat, headers={"Authorization": f"Bearer {KEY}x"}).status == 401
        assert service.stylize(cat, headers={"Authorization": f"Bearer {KEY}"}).status == 200
        assert service.get("/api/v1/styles", headers={"X-API-Key": KEY}).status == 200
        assert KEY not in "".join(service.lines)
