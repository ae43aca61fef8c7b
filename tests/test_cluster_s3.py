"""Object stores, with moto's server in place of S3. These tests need pyarrow and moto."""

import pytest

from cluster.inputs import find_sources
from cluster.stores import opened_store
from data.images import ImageError

pytestmark = pytest.mark.cluster
pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def endpoint():
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch):
    """The store and path of an empty bucket."""
    from pyarrow import fs

    for name, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    store, path = opened_store("s3://bucket")
    place = endpoint.removeprefix("http://")
    maker = fs.S3FileSystem(
        endpoint_override=place, scheme="http", region="us-east-1", allow_bucket_creation=True
    )
    maker.create_dir(path)
    maker.delete_dir_contents(path)
    return store, path


def test_what_is_written_is_listed_and_read(bucket):
    store, path = bucket
    names = [
        "in/a b#1%20.jpg",
        "in/deep/ü.jpg",
        "in/.hidden.jpg",
        "in/_report/x.jpg",
        "in/notes.txt",
        "in/_c.png",
    ]
    for size, name in enumerate(names, 1):
        store.write(f"{path}/{name}", bytes(size))
    assert store.read("bucket/in/deep/ü.jpg") == bytes(2)
    sources = find_sources(["s3://bucket/in"])
    assert [photo.place for photo in sources.photos] == ["_c.png", "a b#1%20.jpg", "deep/ü.jpg"]
    assert [photo.bytes for photo in sources.photos] == [6, 1, 2] and sources.faults == []
    assert sources.address(sources.photos[1]) == "s3://bucket/in/a b#1%20.jpg"
    assert sources.notes == ["s3://bucket/in: 1 files skipped, which are no images by name: 1 .txt"]
    assert [photo.place for photo in find_sources(["s3://bucket/in/*.jpg"]).photos] == ["a b#1%20.jpg"]
    assert [photo.place for photo in find_sources(["s3://bucket/in/deep/ü.jpg"]).photos] == ["ü.jpg"]


def test_a_manifest_in_a_bucket_starts_from_its_folder(bucket):
    store, path = bucket
    store.write(f"{path}/lists/list.txt", b"a.jpg\n../in/b.jpg\ns3://bucket/in/deep/c.jpg\n../../out.jpg\n")
    sources = find_sources(["s3://bucket/lists/list.txt"])
    assert [(photo.path, photo.place) for photo in sources.photos] == [
        ("bucket/lists/a.jpg", "a.jpg"), ("bucket/in/b.jpg", "b.jpg"), ("bucket/in/deep/c.jpg", "deep/c.jpg")
    ]  # fmt: skip
    (fault,) = sources.faults
    assert "../../out.jpg: leads out of its bucket" in fault


def test_a_write_that_fails_leaves_nothing(bucket, monkeypatch):
    """Closing the stream completes an upload with the parts that were sent."""
    store, path = bucket
    opened = store.files.open_output_stream

    class Files:
        delete_file = staticmethod(store.files.delete_file)

        @staticmethod
        def open_output_stream(place):
            stream = opened(place)

            class Failing:
                def __enter__(self):
                    return self

                def write(self, content):
                    stream.write(content[:100])
                    raise OSError("the line is cut")

                def __exit__(self, *error):
                    stream.close()

            return Failing()

    monkeypatch.setattr(type(store), "files", Files)
    with pytest.raises(OSError, match="the line is cut"):
        store.write(f"{path}/out/x.png", bytes(1000))
    monkeypatch.undo()
    assert list(store.sizes_below(f"{path}/out")) == []


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("s3://bucket/none", "holds no images"),
        ("s3://missing-bucket/in", "s3://missing-bucket/in"),
        ("s3://bucket/none.txt", "there is no such file"),
    ],
)
def test_what_is_missing_is_one_line(bucket, address, fault):
    (line,) = find_sources([address]).faults
    assert fault in line and "\n" not in line
    with pytest.raises(ImageError, match="there is no such file|cannot be read"):
        bucket[0].read("bucket/none.jpg")
