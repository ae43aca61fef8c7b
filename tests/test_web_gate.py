"""The gate of the service: pages of other sites, names of this server, and what a proxy sends."""

import pytest

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")
pytest.importorskip("uvicorn", reason="needs requirements-serve.txt")
pytest.importorskip("prometheus_client", reason="needs requirements-serve.txt")
pytest.importorskip("python_multipart", reason="needs requirements-serve.txt")

from serving import running_service

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def service(style_dirs, tmp_path_factory):
    with running_service(style_dirs["waves"].parent, tmp_path_factory.mktemp("uploads")) as running:
        yield running


@pytest.mark.parametrize("path", ["/api/v1/styles", "/api/v1/health", "/metrics", "/api/v1/nothing"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Host": "["}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused_on_a_local_address(service, path, headers, status):
    reply = service.get(path, headers=headers)
    assert reply.status == status and reply.error


def test_a_service_behind_a_proxy_answers_to_its_public_name(style_dirs, tmp_path):
    with running_service(style_dirs["waves"].parent, tmp_path, public_host=("Photos.example",)) as service:
        page = {"Origin": "https://photos.example"}
        assert service.get("/api/v1/styles", headers=page | {"Host": "photos.example"}).status == 200
        assert service.get("/api/v1/styles", headers=page).status == 200  # the proxy keeps the name to itself
        assert service.get("/api/v1/styles", headers={"Host": "evil.example"}).status == 421


def test_an_address_of_other_machines_has_any_name(style_dirs, tmp_path):
    with running_service(style_dirs["waves"].parent, tmp_path, host="0.0.0.0") as service:
        headers = {"Host": "photos.example", "Origin": "https://shop.example"}
        assert service.get("/api/v1/styles", headers=headers).status == 200
