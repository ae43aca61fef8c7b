"""cluster/painter.py: a worker makes the files that infer.py on one machine writes, and survives every photo."""

from dataclasses import replace
from pathlib import Path

import pytest

import infer
from cli.infer_config import FastConfig
from cluster.call_folder import remove_call
from cluster.painter import Painter
from cluster.style_parcel import packed_style
from data.images import ImageError


@pytest.fixture(scope="module")
def painter_of(style_dirs):
    """A function that loads a style with the flags that are its options."""

    def painter(**options) -> Painter:
        config = FastConfig(style=str(style_dirs["waves"]), **options)
        return Painter(packed_style(config), threads=1, expected_pixels=float("inf"), call="test")

    yield painter
    remove_call("test")


def single(photo_path: Path, folder: Path, style: Path, *flags: str) -> bytes:
    """What the command for one machine writes."""
    assert infer.main([str(photo_path), "-o", f"{folder}/", "--style", str(style), *flags]) == 0
    (written,) = folder.iterdir()
    return written.read_bytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_the_bytes_are_those_of_one_machine(photo, tmp_path, style_dirs, painter_of, suffix):
    photo_path, folder = photo(tmp_path / f"cat{suffix}"), tmp_path / "single"
    folder.mkdir()
    expected = single(photo_path, folder, style_dirs["waves"], "--runtime", "onnx")
    picture = painter_of(runtime="onnx").painted(
        f"s3://b/cat{suffix}", photo_path.read_bytes(), f"cat{suffix}"
    )
    assert picture.content == expected and picture.reason == "" and not picture.is_spare
    assert picture.size_in == picture.size_out == (40, 48) and picture.seconds > 0


def test_flags_reach_the_workers(photo, tmp_path, style_dirs, painter_of):
    photo_path, mask, folder = (
        photo(tmp_path / "cat.jpg"),
        photo(tmp_path / "mask.png", seed=1),
        tmp_path / "one",
    )
    folder.mkdir()
    flags = ["--max-side", "30", "--restore-size", "--mask", str(mask), "--strength", "0.5", "--keep-colors"]
    expected = single(photo_path, folder, style_dirs["waves"], "--runtime", "onnx", *flags)
    painter = painter_of(
        runtime="onnx", max_side=30, restore_size=True, mask=mask, strength=0.5, keep_colors=True
    )
    assert painter.painted("cat.jpg", photo_path.read_bytes(), "cat_waves.jpg").content == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "s3://b/odd name.jpg: "),
        (b"no image", "s3://b/odd name.jpg: not an image in a supported format"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "s3://b/odd name.jpg: "),
    ],
)
def test_what_is_wrong_with_a_photo_is_its_reason(painter_of, content, reason):
    picture = painter_of().painted("s3://b/odd name.jpg", content, "x.jpg")
    assert picture.reason.startswith(reason) and picture.content == b"" and "/tmp" not in picture.reason


def test_an_unexpected_error_does_not_end_the_worker(photo, tmp_path, painter_of, monkeypatch):
    painter = painter_of()
    monkeypatch.setattr(painter, "_painter", None)
    content = photo(tmp_path / "cat.jpg").read_bytes()
    assert painter.painted("cat.jpg", content, "x.jpg").reason.startswith("unexpected AttributeError: ")


def test_an_error_without_a_text_is_a_reason(photo, tmp_path, painter_of, monkeypatch):
    def fail(*_arguments, **_options):
        raise OSError

    painter = painter_of()
    monkeypatch.setattr(painter, "_painter", type("Failing", (), {"painted": fail})())
    assert painter.painted("cat.jpg", photo(tmp_path / "cat.jpg").read_bytes(), "x.jpg").reason == "OSError"


def test_a_photo_that_its_format_cannot_hold_becomes_a_png(tmp_path, painter_of):
    from PIL import Image

    path = tmp_path / "cat.png"
    Image.new("RGBA", (40, 40), (10, 20, 30, 0)).save(path)
    picture = painter_of().painted("cat.jpg", path.read_bytes(), "cat_waves.jpg")
    assert picture.is_spare and picture.content.startswith(b"\x89PNG")


def test_a_blend_travels_with_all_its_styles(style_dirs, tmp_path):
    blend = tuple((str(folder), weight) for weight, folder in enumerate(style_dirs.values(), 1))
    parcel = packed_style(FastConfig(blend=blend))
    unpacked = parcel.unpacked(tmp_path)
    assert [weight for _, weight in unpacked.blend] == [1, 2] and unpacked.style is None
    for (place, _), folder in zip(unpacked.blend, style_dirs.values(), strict=True):
        assert Path(place).name == folder.name and Path(place).is_relative_to(tmp_path)
        for path in folder.iterdir():
            assert (Path(place) / path.name).read_bytes() == path.read_bytes()
    assert replace(unpacked, blend=(), mask=None) == replace(parcel.config, blend=(), mask=None)


def test_a_mask_that_cannot_be_read_is_found_before_any_worker_starts(style_dirs, tmp_path):
    mask = tmp_path / "mask.png"
    for content in (None, b"no image"):
        if content is not None:
            mask.write_bytes(content)
        with pytest.raises(ImageError, match=f"^{mask}: "):
            packed_style(FastConfig(style=str(style_dirs["waves"]), mask=mask))
