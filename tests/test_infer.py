"""infer.py as its users meet it: where pictures go, what a mistake says, and which status it ends with."""

import errno
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import infer
from data.images import load_image, save_image
from transformer.export import style_folder
from transformer.inference.limits import DEFAULT_GRAIN
from transformer.inference.loading import load_blend, load_stylizer

LENGSTROM = {"preset": "lengstrom", "content_weight": 7.5, "style_weight": 100.0, "tv_weight": 200.0}


@pytest.fixture
def waves(style_dirs) -> str:
    return str(style_dirs["waves"])


@pytest.fixture(autouse=True)
def working_dir(monkeypatch, tmp_path) -> Path:
    """Every test runs in an empty folder of its own, outside the repository."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def shelf(monkeypatch, style_dirs, tmp_path) -> Path:
    """A checkpoints/ folder that holds "stars" and "waves" in place of the repository's."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(style_dirs["waves"].parent, folder)
    monkeypatch.setattr(style_folder, "CHECKPOINTS_DIR", folder)
    return folder


def usage_error(capsys, *arguments: object) -> str:
    """The one line on stderr of a call that the flags alone forbid."""
    with pytest.raises(SystemExit) as exit:
        infer.main([str(argument) for argument in arguments])
    assert exit.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def refusal(capsys, status: int, *arguments: object) -> str:
    """The one line on stderr of a call that ends with `status`."""
    assert infer.main([str(argument) for argument in arguments]) == status
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("infer.py: ") and captured.out == ""
    return lines[0]


def expected_pixels(photo_path: Path, style_dir: str, tmp_path: Path, **options) -> np.ndarray:
    """What `save_image` makes of the stylized photo."""
    save_image(
        tmp_path / "expected.png",
        load_stylizer(style_dir, grain=DEFAULT_GRAIN)(load_image(photo_path, **options)),
    )
    return np.asarray(Image.open(tmp_path / "expected.png"))


def test_one_photo_becomes_the_file_that_is_named(photo, waves, tmp_path, capsys):
    path = photo(tmp_path / "cat.jpg", height=21, width=30)
    target = tmp_path / "new" / "folder" / "art.png"
    assert infer.main([str(path), "--style", waves, "-o", str(target)]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(target)), expected_pixels(path, waves, tmp_path))
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == f"infer.py: wrote {target} (30x21 pixels)\n"


def test_without_an_output_the_picture_is_named_after_photo_and_style(photo, waves, tmp_path, working_dir):
    path = photo(tmp_path / "cat.jpg")
    assert infer.main([str(path), "--style", waves]) == 0
    assert [found.name for found in working_dir.iterdir()] == ["cat_waves.jpg"]


@pytest.mark.parametrize(
    ("name", "picture", "kind"),
    [
        ("cat.jpg", "cat_waves.jpg", "JPEG"),
        ("cat.JPEG", "cat_waves.jpeg", "JPEG"),
        ("cat.png", "cat_waves.png", "PNG"),
        ("cat.webp", "cat_waves.webp", "WEBP"),
        ("cat.tif", "cat_waves.tif", "TIFF"),
        ("cat.bmp", "cat_waves.bmp", "BMP"),
        ("cat.gif", "cat_waves.png", "PNG"),
        ("cat.apng", "cat_waves.png", "PNG"),
        ("cat.jfif", "cat_waves.jpg", "JPEG"),
        ("cat.mpo", "cat_waves.jpg", "JPEG"),
    ],
)
def test_a_picture_keeps_the_format_of_its_photo(photo, waves, tmp_path, working_dir, name, picture, kind):
    assert infer.main([str(photo(tmp_path / name)), "--style", waves]) == 0
    assert [found.name for found in working_dir.iterdir()] == [picture]
    assert Image.open(picture).format == kind


@pytest.mark.parametrize("choice", ["jpg", "png", "webp", "tiff", "bmp"])
def test_a_format_can_be_chosen_for_all_pictures(photo, waves, tmp_path, choice):
    for name in ("cat.jpg", "dog.png"):
        photo(tmp_path / "photos" / name)
    call = [str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art"), "--format", choice]
    assert infer.main(call) == 0
    names = {path.name for path in (tmp_path / "art").iterdir()}
    assert names == {f"cat_waves.{choice}", f"dog_waves.{choice}"}
    kinds = {Image.open(path).format for path in (tmp_path / "art").iterdir()}
    assert kinds == {{"jpg": "JPEG"}.get(choice, choice.upper())}


def test_a_format_and_an_output_may_agree_but_not_contradict_each_other(photo, waves, tmp_path, capsys):
    path = photo(tmp_path / "cat.png")
    flags = (path, "--style", waves, "--format", "jpg", "-o")
    assert infer.main([*map(str, flags), str(tmp_path / "art.JPEG")]) == 0
    capsys.readouterr()
    line = refusal(capsys, 2, *flags, tmp_path / "art.png")
    assert f"-o {tmp_path / 'art.png'}: its suffix contradicts --format jpg; leave out one of them" in line
    assert not (tmp_path / "art.png").exists()


def test_a_transparent_photo_that_is_called_jpg_becomes_png(waves, tmp_path, working_dir):
    pixels_u8 = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    Image.fromarray(pixels_u8).save(tmp_path / "cat.jpg", format="PNG")
    assert infer.main([str(tmp_path / "cat.jpg"), "--style", waves]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open("cat_waves.png"))[..., 3], pixels_u8[..., 3])


def test_a_format_is_for_photos_only(clip, waves, tmp_path, capsys):
    line = refusal(capsys, 2, clip, "--style", waves, "--format", "jpg")
    assert "--format is for photos; the suffix of -o chooses the format of a video" in line
    assert "leave out --format" in usage_error(capsys, "a.jpg", "--sheet", "--format", "jpg")
    slow = ("a.jpg", "--mode", "optimize", "--style-images", "b.jpg", "--format", "jpg")
    assert "--format belongs to --mode fast" in usage_error(capsys, *slow)


def test_existing_pictures_of_the_same_format_are_skipped(photo, waves, tmp_path, capsys):
    photo(tmp_path / "photos" / "a.jpg"), photo(tmp_path / "photos" / "b.jpg")
    (tmp_path / "art").mkdir()
    (tmp_path / "art" / "a_waves.png").write_bytes(b"made by an earlier version")
    (tmp_path / "art" / "b_waves.jpg").write_bytes(b"made by this one")
    call = [str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art"), "--skip-existing"]
    assert infer.main(call) == 0
    assert "wrote 1 picture to" in capsys.readouterr().err
    assert Image.open(tmp_path / "art" / "a_waves.jpg").format == "JPEG"
    assert (tmp_path / "art" / "b_waves.jpg").read_bytes() == b"made by this one"


def test_a_style_given_as_dot_is_named_after_its_folder(photo, style_dirs, tmp_path, monkeypatch):
    path = photo(tmp_path / "cat.jpg")
    monkeypatch.chdir(style_dirs["waves"])
    assert infer.main([str(path), "--style", ".", "-o", str(tmp_path / "art")]) == 0
    assert [found.name for found in (tmp_path / "art").iterdir()] == ["cat_waves.jpg"]


@pytest.mark.parametrize("exists", [True, False])
def test_one_photo_goes_into_the_folder_that_is_named(photo, waves, tmp_path, exists):
    path = photo(tmp_path / "cat.jpg")
    folder = tmp_path / ("art.v2" if exists else "art")  # one that exists may have a dot
    if exists:
        folder.mkdir()
    assert infer.main([str(path), "--style", waves, "-o", str(folder)]) == 0
    assert [found.name for found in folder.iterdir()] == ["cat_waves.jpg"]


def test_a_folder_of_photos_keeps_its_tree(photo, waves, tmp_path):
    for name in ("cat.jpg", "zoo/lion.png", "zoo/old/dodo.bmp"):
        photo(tmp_path / "photos" / name, height=9, width=12)
    assert infer.main([str(tmp_path / "photos"), "--style", waves, "--output", str(tmp_path / "art")]) == 0
    written = sorted(str(path.relative_to(tmp_path / "art")) for path in (tmp_path / "art").rglob("*.*"))
    assert written == ["cat_waves.jpg", "zoo/lion_waves.png", "zoo/old/dodo_waves.bmp"]


def test_a_folder_of_one_photo_counts_as_a_folder(photo, waves, tmp_path, capsys):
    photo(tmp_path / "photos" / "cat.jpg")
    message = refusal(capsys, 2, tmp_path / "photos", "--style", waves, "-o", tmp_path / "art.png")
    assert "is one file" in message and not (tmp_path / "art.png").exists()


def test_files_and_folders_may_be_mixed(photo, waves, tmp_path):
    photos = [photo(tmp_path / "photos" / "cat.jpg").parent, photo(tmp_path / "dog.png")]
    assert infer.main([*map(str, photos), "--style", waves, "-o", str(tmp_path / "art")]) == 0
    assert sorted(path.name for path in (tmp_path / "art").iterdir()) == ["cat_waves.jpg", "dog_waves.png"]


def test_the_style_is_loaded_once_for_many_photos(photo, waves, tmp_path, monkeypatch):
    loads = []

    def counting_load(*arguments, **options):
        loads.append(arguments)
        return load_blend(*arguments, **options)

    monkeypatch.setattr("transformer.inference.loading.load_blend", counting_load)
    photos = [str(photo(tmp_path / f"{index}.png", seed=index)) for index in range(3)]
    assert infer.main([*photos, "--style", waves, "-o", str(tmp_path / "art")]) == 0
    assert len(loads) == 1


def test_a_bad_photo_among_many_is_named_and_the_others_are_done(photo, waves, tmp_path, capsys):
    photos = [photo(tmp_path / "a.png"), tmp_path / "broken.jpg", photo(tmp_path / "c.png")]
    photos[1].write_bytes(b"no image at all")
    assert infer.main([*map(str, photos), "--style", waves, "-o", str(tmp_path / "art")]) == 1
    assert sorted(path.name for path in (tmp_path / "art").iterdir()) == ["a_waves.png", "c_waves.png"]
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    first, last = [line for line in lines if line.startswith("infer.py: ")]
    assert first.startswith(f"infer.py: {photos[1]}: ")
    assert re.match(
        r"infer.py: wrote 2 pictures to .*art in \d+\.\d s, \d+\.\d\d pictures/s, 1 of 3 photos failed$", last
    )


def test_a_single_bad_photo_is_one_line(waves, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no image at all")
    message = refusal(capsys, 1, tmp_path / "broken.jpg", "--style", waves, "-o", tmp_path / "art.png")
    assert str(tmp_path / "broken.jpg") in message
    assert not (tmp_path / "art.png").exists()


def test_several_photos_into_one_file_are_a_usage_error(photo, waves, tmp_path, capsys):
    photos = [photo(tmp_path / name) for name in ("a.png", "b.png")]
    message = refusal(capsys, 2, *photos, "--style", waves, "-o", tmp_path / "art.png")
    assert "is one file, but the input is several photos" in message and not (tmp_path / "art.png").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {"03_waves.jpg", "03_gif_waves.png", "03_png_waves.png", "04_waves.jpg", "deep/03_waves.png"}),
        (
            ["--format", "png"],
            {
                "03_jpg_waves.png",
                "03_gif_waves.png",
                "03_png_waves.png",
                "04_waves.png",
                "deep/03_waves.png",
            },
        ),
    ],
)
def test_photos_whose_pictures_would_have_one_name_keep_their_suffix_in_it(
    photo, waves, tmp_path, flags, expected
):
    folder = tmp_path / "photos"
    for name in ("03.png", "03.jpg", "03.gif", "04.jpg", "deep/03.png"):
        photo(folder / name)
    assert infer.main([str(folder), "--style", waves, "-o", str(tmp_path / "art"), *flags]) == 0
    made = {str(path.relative_to(tmp_path / "art")) for path in (tmp_path / "art").rglob("*.*")}
    assert made == expected


def test_a_photo_that_would_share_a_picture_is_named_and_the_others_are_done(photo, waves, tmp_path, capsys):
    photos = [photo(tmp_path / name) for name in ("a/cat.png", "b/cat.png", "dog.png")]
    assert infer.main([*map(str, photos), "--style", waves, "-o", str(tmp_path / "art")]) == 1
    assert {path.name for path in (tmp_path / "art").iterdir()} == {"cat_waves.png", "dog_waves.png"}
    line = next(line for line in capsys.readouterr().err.splitlines() if str(photos[1]) in line)
    assert "stylize it separately" in line and str(photos[0]) in line


def test_the_same_photo_twice_is_stylized_once(photo, waves, tmp_path):
    path = str(photo(tmp_path / "a.png"))
    assert infer.main([path, path, "--style", waves, "-o", str(tmp_path / "art")]) == 0
    assert [found.name for found in (tmp_path / "art").iterdir()] == ["a_waves.png"]


def test_an_unknown_suffix_is_refused_by_the_known_ones(photo, waves, tmp_path, capsys):
    message = refusal(capsys, 1, photo(tmp_path / "a.png"), "--style", waves, "-o", tmp_path / "art.xyz")
    assert "unknown suffix '.xyz'" in message and ".png" in message


def test_an_unknown_style_is_refused_by_the_known_ones(shelf, photo, tmp_path, capsys):
    message = refusal(capsys, 1, photo(tmp_path / "a.png"), "--style", "mud")
    assert "mud: no such style" in message and "stars, waves" in message


def test_a_missing_photo_is_named(waves, tmp_path, capsys):
    message = refusal(capsys, 1, tmp_path / "nowhere.png", "--style", waves)
    assert f"{tmp_path / 'nowhere.png'}: no such file" in message


def test_a_damaged_style_is_named(photo, style_dirs, tmp_path, capsys):
    style_dir = Path(shutil.copytree(style_dirs["waves"], tmp_path / "waves"))
    (style_dir / "fast_style_transfer.onnx").write_bytes(b"cut")
    assert str(style_dir) in refusal(capsys, 1, photo(tmp_path / "a.png"), "--style", style_dir)


def test_a_style_is_found_by_its_name(shelf, photo, tmp_path, working_dir):
    assert infer.main([str(photo(tmp_path / "a.png")), "--style", "stars"]) == 0
    assert [found.name for found in working_dir.iterdir()] == ["a_stars.png"]


@pytest.mark.tensorflow
@pytest.mark.parametrize("runtime", ["onnx", "tensorflow"])
def test_the_runtime_can_be_chosen(photo, style_dirs, tmp_path, monkeypatch, runtime):
    style_dir = tmp_path / "waves"  # with the files of one runtime only
    keep = "*.onnx" if runtime == "onnx" else "*.[mid]*"
    style_dir.mkdir()
    for path in style_dirs["waves"].glob(keep):
        shutil.copy(path, style_dir)
    arguments = [str(photo(tmp_path / "a.png")), "--style", str(style_dir), "-o", str(tmp_path / "art.png")]
    other = {"onnx": "tensorflow", "tensorflow": "onnx"}[runtime]
    assert infer.main([*arguments, "--runtime", runtime]) == 0
    assert infer.main([*arguments, "--runtime", other]) == 1


def test_strokes_of_a_large_photo_are_larger_unless_the_user_says_otherwise(photo, waves, tmp_path, capsys):
    path, target = photo(tmp_path / "cat.png", height=1000, width=2430), tmp_path / "art.png"
    call = [str(path), "--style", waves, "-o", str(target)]
    assert infer.main([*call, "--stroke-scale", "1"]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(target)), expected_pixels(path, waves, tmp_path))
    assert capsys.readouterr().err == f"infer.py: wrote {target} (2430x1000 pixels)\n"
    assert infer.main(call) == 0
    assert np.asarray(Image.open(target)).shape == (1000, 2430, 3)
    note = "brush strokes 1.5 times as large: --stroke-scale 1 keeps them small"
    assert capsys.readouterr().err == f"infer.py: wrote {target} (2430x1000 pixels, {note})\n"


def test_a_photo_of_ordinary_size_keeps_the_strokes_of_the_network(photo, waves, tmp_path):
    path, target = photo(tmp_path / "cat.png", height=60, width=1500), tmp_path / "art.png"
    assert infer.main([str(path), "--style", waves, "-o", str(target)]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(target)), expected_pixels(path, waves, tmp_path))


def test_stroke_scale_stylizes_a_smaller_photo_and_keeps_the_size(photo, waves, tmp_path):
    from data.enlarging import Enlargement
    from data.photo import load_photo

    path, target = photo(tmp_path / "cat.png", height=300, width=64), tmp_path / "art.png"
    assert infer.main([str(path), "--style", waves, "-o", str(target), "--stroke-scale", "2"]) == 0
    small = load_photo(path).shrunk((150, 32))[:, :]
    enlarged = Enlargement(load_image(path), small, load_stylizer(waves, grain=DEFAULT_GRAIN)(small)).rows(
        slice(0, 300)
    )
    np.testing.assert_allclose(np.asarray(Image.open(target)), enlarged, atol=0.51)


def test_many_photos_are_told_in_one_line_that_strokes_are_larger(photo, waves, tmp_path, capsys):
    for name, width in (("a.png", 3000), ("b.png", 4800), ("c.png", 20)):
        photo(tmp_path / "photos" / name, height=900, width=width)
    assert infer.main([str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art")]) == 0
    line = capsys.readouterr().err.splitlines()[-1]
    assert "wrote 3 pictures" in line
    assert line.endswith(
        "brush strokes of 2 large photos up to 2.0 times as large: --stroke-scale 1 keeps them small"
    )


def test_larger_strokes_keep_alpha_mask_and_colors(waves, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 4)).astype(np.uint8)
    pixels[..., 3] = np.where(np.arange(60) < 30, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mask = np.zeros((50, 60), np.uint8)
    mask[:25] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    call = [str(tmp_path / "a.png"), "--style", waves, "-o", str(tmp_path / "art.png"), "--stroke-scale", "3"]
    assert infer.main([*call, "--mask", str(tmp_path / "mask.png"), "--keep-colors"]) == 0
    art = np.asarray(Image.open(tmp_path / "art.png"))
    np.testing.assert_array_equal(art[..., 3], pixels[..., 3])
    np.testing.assert_array_equal(art[30:, 30:, :3], pixels[30:, 30:, :3])
    assert not np.array_equal(art[:20, 30:, :3], pixels[:20, 30:, :3])


def test_larger_strokes_keep_16_bits(waves, tmp_path):
    from data.decoding import decode_file

    ramp = np.linspace(0, 65535, 50 * 60).reshape(50, 60).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    call = [str(tmp_path / "a.png"), "--style", waves, "-o", str(tmp_path / "art.png"), "--stroke-scale", "3"]
    assert infer.main(call) == 0
    art = decode_file(tmp_path / "art.png").pixels
    assert art.dtype == np.uint16 and art.shape == (50, 60, 3) and (art % 257 != 0).any()


@pytest.mark.parametrize(
    ("flags", "words"), [([], "GB are free"), (["--max-memory", "9"], "--max-memory allows 9 GB")]
)
def test_larger_strokes_that_memory_cannot_hold_are_refused(
    photo, waves, tmp_path, monkeypatch, capsys, flags, words
):
    monkeypatch.setattr("data.enlarging.SMALL_PIXEL_BYTES", 1e12)
    path, target = photo(tmp_path / "cat.png", height=30, width=40), tmp_path / "art.png"
    message = refusal(capsys, 1, path, "--style", waves, "--stroke-scale", "2", "-o", target, *flags)
    assert (
        re.search(r"cat\.png: larger strokes need about 300,00\d\.\d GB of memory", message)
        and words in message
    )
    assert message.endswith("shrink the photo with --max-side, or give a larger --stroke-scale")
    assert not target.exists()


def test_the_style_is_loaded_while_the_first_photo_is_read(photo, waves, tmp_path, monkeypatch):
    import threading

    from cli import stylize

    path, is_loading = photo(tmp_path / "cat.png"), threading.Event()
    read, load = stylize.PhotoJob._read, stylize.load_styles

    def slow_read(self, photo_path):
        assert is_loading.wait(60), "the style waits for the photo"
        return read(self, photo_path)

    def noted_load(*arguments):
        is_loading.set()
        return load(*arguments)

    monkeypatch.setattr(stylize.PhotoJob, "_read", slow_read)
    monkeypatch.setattr(stylize, "load_styles", noted_load)
    assert infer.main([str(path), "--style", waves, "-o", str(tmp_path / "art.png")]) == 0


def test_stroke_scale_applies_to_the_photo_that_max_side_leaves(photo, waves, tmp_path, capsys):
    path, target = photo(tmp_path / "cat.png", height=1500, width=1600), tmp_path / "art.png"
    flags = ["--max-side", "1000"]
    assert infer.main([str(path), "--style", waves, "-o", str(target), *flags]) == 0
    assert "strokes" not in capsys.readouterr().err
    np.testing.assert_array_equal(
        np.asarray(Image.open(target)), expected_pixels(path, waves, tmp_path, max_side=1000)
    )


def test_max_side_shrinks_the_photo(photo, waves, tmp_path):
    path = photo(tmp_path / "a.png", height=40, width=80)
    assert infer.main([str(path), "--style", waves, "-o", str(tmp_path / "art.png"), "--max-side", "20"]) == 0
    actual = np.asarray(Image.open(tmp_path / "art.png"))
    assert actual.shape == (10, 20, 3)
    np.testing.assert_array_equal(actual, expected_pixels(path, waves, tmp_path, max_side=20))


def test_the_benchmark_prints_loading_first_and_steady_and_writes_nothing(
    photo, waves, tmp_path, working_dir, capsys
):
    path = photo(tmp_path / "a.png", height=20, width=30)
    assert infer.main([str(path), "--style", waves, "--benchmark"]) == 0
    captured = capsys.readouterr()
    load, first, steady = captured.out.splitlines()
    assert re.match(r"load +\d+\.\d+ s  (onnx|openvino)$", load)
    assert re.match(rf"first +\d+\.\d+ s  {re.escape(str(path))}, 30x20$", first)
    assert re.match(r"steady +\d+\.\d+ s  median of \d+, \d+\.\d+ megapixels/s$", steady)
    assert captured.err == "" and list(working_dir.iterdir()) == []


def test_the_styles_are_listed_with_what_they_were_learnt_from(shelf, capsys):
    (shelf / "stars" / "style.json").unlink()  # as in a foreign checkpoint
    assert infer.main(["--list-styles"]) == 0
    assert [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()] == [
        ["stars"],
        ["waves", "museum of waves"],
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "museum of waves; 1500 steps in 6.52 min on CPU, lengstrom loss 3.78e+06"),
        ({"losses": {}}, "museum of waves; 1500 steps in 6.52 min on CPU"),
        (
            {"losses": {}, "steps": {"done": 9, "minutes": 2, "device": 3}},
            "museum of waves; 9 steps in 2 min",
        ),
        (
            {"config": {**LENGSTROM, "style_weight": 35}},
            "museum of waves; 1500 steps in 6.52 min on CPU, lengstrom loss 3.78e+06 at style weight 35",
        ),
        (
            {"config": {**LENGSTROM, "style_weight": "much"}},
            "museum of waves; 1500 steps in 6.52 min on CPU, lengstrom loss 3.78e+06 at style weight unknown",
        ),
        (
            {"config": {**LENGSTROM, "content_weight": 1, "tv_weight": 1000}},
            "museum of waves; 1500 steps in 6.52 min on CPU, lengstrom loss 3.78e+06 at content weight 1, tv weight"
            " 1000",
        ),
        ({"steps": [1], "losses": {"validation": {"total": True}}}, "museum of waves"),
        ({"steps": {"done": 10**25}, "config": {"preset": []}}, "museum of waves"),
        ({"steps": {"done": "many"}, "config": {"preset": "none of ours"}}, "museum of waves"),
    ],
)
def test_the_training_of_a_style_is_listed_as_far_as_it_can_be_compared(shelf, capsys, changes, words):
    path = shelf / "waves" / "style.json"
    training = {
        "steps": {"done": 1500, "minutes": 6.52, "device": "CPU"},
        "losses": {"validation": {"total": 3784000.0}},
        "config": LENGSTROM,
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **training, **changes}))
    assert infer.main(["--list-styles"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split(maxsplit=1) == ["waves", words]


def test_no_styles_to_list_is_said_with_how_to_get_one(shelf, capsys):
    shutil.rmtree(shelf)
    assert "train one with train.py" in refusal(capsys, 1, "--list-styles")


def test_a_style_with_a_damaged_style_json_is_named_when_listed_and_hides_no_other(shelf, capsys):
    (shelf / "stars" / "style.json").write_text("{")
    assert infer.main(["--list-styles"]) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"infer.py: {shelf / 'stars' / 'style.json'}: ")
    assert captured.out.split(maxsplit=1) == ["waves", "museum of waves\n"]


def test_a_listed_source_cannot_command_the_terminal(shelf, capsys):
    source = "red \x1b[31m, title \x1b]0;x\x07, c1 \x9b5m, right to left \u202e, line\nend, separator \u2028"
    info = {"style_picture": {"source": source + "long" * 1000}}
    (shelf / "stars" / "style.json").write_text(json.dumps(info))
    (shelf / "waves").rename(shelf / "wa\x1b[2Jves")
    assert infer.main(["--list-styles"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 3 and all(line.isprintable() and len(line) < 300 for line in lines)
    assert "museum of waves" in lines[1] and lines[0].startswith("stars ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--style", "waves"], "at least one photo"),
        (["a.png"], "give --style, --blend or --sheet; --list-styles"),
        (
            ["a.png", "--style", "waves", "--stroke-scale", "0.5"],
            "--stroke-scale must be at least 1 and at most 1000, got 0.5",
        ),
        (["a.png", "--style", "waves", "--stroke-scale", "nan"], "--stroke-scale"),
        (
            ["a.png", "--style", "waves", "--stroke-scale", "1e9"],
            "--stroke-scale must be at least 1 and at most 1000, got 1e+09",
        ),
        (["a.png", "--style", "waves", "--max-side", "0"], "--max-side must be at least 1, got 0"),
        (["a.png", "--style", "waves", "--max-side", "large"], "invalid int value: 'large'"),
        (["a.png", "--style", "waves", "--runtime", "torch"], "invalid choice: 'torch'"),
        (["a.png", "--style", "waves", "--outptu", "b.png"], "--outptu b.png; did you mean --output?"),
    ],
)
def test_a_usage_error_says_what_is_wrong_and_ends_with_status_2(capsys, arguments, words):
    message = usage_error(capsys, *arguments)
    assert message.startswith("infer.py: ") and message.endswith("; see python infer.py --help")
    assert words in message


def test_ctrl_c_ends_with_the_status_of_an_interrupt(photo, waves, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("transformer.inference.loading.load_blend", interrupt)
    assert infer.main([str(photo(tmp_path / "a.png")), "--style", waves]) == 130
    assert capsys.readouterr().err == "infer.py: interrupted by SIGINT\n"


def test_a_programming_error_keeps_its_traceback(photo, waves, tmp_path, monkeypatch):
    monkeypatch.setattr("transformer.inference.loading.load_blend", lambda *_, **__: 7)
    with pytest.raises(AttributeError, match="'int' object has no attribute"):
        infer.main([str(photo(tmp_path / "a.png")), "--style", waves])


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def stylized_by(tmp_path: Path, photo_path: Path, *flags: object) -> np.ndarray:
    target = tmp_path / f"art{len(list(tmp_path.iterdir()))}.png"
    assert infer.main([str(photo_path), *map(str, flags), "-o", str(target)]) == 0
    return pixels_of(target)


def test_tiles_give_the_picture_of_the_whole_and_show_how_far_they_are(
    photo, waves, tmp_path, capsys, monkeypatch
):
    path = photo(tmp_path / "a.png", height=70, width=90)
    whole = stylized_by(tmp_path, path, "--style", waves, "--tile", "off").astype(int)
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    in_tiles = stylized_by(tmp_path, path, "--style", waves, "--tile", 32).astype(int)
    assert np.abs(in_tiles - whole).max() <= 2
    assert "in tiles: 100%" in capsys.readouterr().err


@pytest.mark.tensorflow
def test_too_little_memory_is_said_with_the_size_that_would_do(photo, waves, tmp_path, capsys):
    path = photo(tmp_path / "a.png", height=500, width=700)
    arguments = (path, "--style", waves, "-o", tmp_path / "b.png", "--max-memory", 0.2)
    message = refusal(capsys, 1, *arguments)
    assert re.search(r"a\.png: 500x700 pixels .* the program alone needs 0\.25 GB", message)
    arguments = (*arguments[:-1], 0.26)
    assert re.search(r"a\.png: 500x700 pixels .* \(--max-side \d+\)", refusal(capsys, 1, *arguments))


def test_a_blend_is_the_weighted_mean_of_its_styles(photo, shelf, tmp_path):
    path = photo(tmp_path / "a.png")
    waves, stars = (stylized_by(tmp_path, path, "--style", name).astype(float) for name in ("waves", "stars"))
    blend = stylized_by(tmp_path, path, "--blend", "waves:1", "stars:3")
    np.testing.assert_allclose(blend, 0.25 * waves + 0.75 * stars, atol=1)


def test_a_blend_is_named_after_its_styles(photo, shelf, tmp_path, working_dir):
    assert infer.main([str(photo(tmp_path / "a.png")), "--blend", "waves", "stars:0.5"]) == 0
    assert [found.name for found in working_dir.iterdir()] == ["a_waves_stars.png"]


def test_strength_mask_and_colours_combine(photo, waves, tmp_path):
    path = photo(tmp_path / "a.png", height=20, width=30)
    Image.new("L", (30, 20)).save(tmp_path / "black.png")
    Image.new("L", (60, 40), 255).save(tmp_path / "white.png")
    content = pixels_of(path)
    plain = stylized_by(tmp_path, path, "--style", waves).astype(float)
    np.testing.assert_array_equal(stylized_by(tmp_path, path, "--style", waves, "--strength", 0), content)
    np.testing.assert_array_equal(
        stylized_by(tmp_path, path, "--style", waves, "--mask", tmp_path / "black.png"), content
    )
    np.testing.assert_array_equal(
        stylized_by(tmp_path, path, "--style", waves, "--mask", tmp_path / "white.png"), plain
    )
    half = stylized_by(
        tmp_path, path, "--style", waves, "--mask", tmp_path / "white.png", "--strength", 0.5, "--keep-colors"
    ).astype(float)
    luminance = [picture @ [0.299, 0.587, 0.114] for picture in (half, content, plain)]
    inside = (half > 1).all(-1) & (half < 254).all(-1)  # where nothing was clipped
    expected = (luminance[1] + luminance[2]) / 2
    assert np.median(np.abs(luminance[0] - expected)[inside]) < 8 and inside.any()


def test_a_missing_mask_is_named(photo, waves, tmp_path, capsys):
    path = photo(tmp_path / "a.png")
    assert "nowhere.png" in refusal(capsys, 1, path, "--style", waves, "--mask", tmp_path / "nowhere.png")


def test_the_size_is_restored(photo, waves, tmp_path):
    path = photo(tmp_path / "a.png", height=40, width=80)
    flags = ("--style", waves, "--max-side", 20)
    small = stylized_by(tmp_path, path, *flags)
    large = stylized_by(tmp_path, path, *flags, "--restore-size")
    assert small.shape == (10, 20, 3) and large.shape == (40, 80, 3)
    expected = Image.fromarray(small).resize((80, 40), Image.Resampling.LANCZOS)
    np.testing.assert_allclose(large, np.asarray(expected), atol=1)


def test_existing_pictures_are_skipped_and_the_others_made(photo, waves, tmp_path, capsys):
    for name in ("a.png", "b.png", "c.png"):
        photo(tmp_path / "photos" / name)
    arguments = [str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art")]
    (tmp_path / "art").mkdir()
    (tmp_path / "art" / "b_waves.png").write_bytes(b"mine")
    assert infer.main([*arguments, "--skip-existing"]) == 0
    assert (tmp_path / "art" / "b_waves.png").read_bytes() == b"mine"
    assert len(list((tmp_path / "art").iterdir())) == 3
    assert "wrote 2 pictures" in capsys.readouterr().err
    assert infer.main(arguments) == 0
    assert (tmp_path / "art" / "b_waves.png").read_bytes() != b"mine"


def test_many_photos_give_the_pictures_of_one_at_a_time(photo, waves, tmp_path):
    sizes = [(20 + 7 * index, 50 - 3 * index) for index in range(9)]
    paths = [
        photo(tmp_path / "photos" / f"{index}.png", height=height, width=width, seed=index)
        for index, (height, width) in enumerate(sizes)
    ]
    assert infer.main([str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art")]) == 0
    for path in paths:
        expected = expected_pixels(path, waves, tmp_path).astype(int)
        assert np.abs(pixels_of(tmp_path / "art" / f"{path.stem}_waves.png") - expected).max() <= 1


def test_hostile_files_are_named_and_the_others_done(photo, waves, tmp_path, capsys):
    folder = tmp_path / "photos"
    photo(folder / "good.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:300])
    (folder / "text.jpg").write_text("no picture")
    (folder / "folder.png").mkdir()
    picture = Image.open(folder / "good.jpg")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    picture.resize((300, 1)).save(folder / "thin.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("P").save(folder / "palette.png", transparency=3)
    picture.save(folder / "moving.gif", save_all=True, append_images=[picture.rotate(90)])
    assert infer.main([str(folder), "--style", waves, "-o", str(tmp_path / "art")]) == 1
    made = {path.stem.removesuffix("_waves") for path in (tmp_path / "art").iterdir()}
    assert made == {"good", "dot", "thin", "cmyk", "palette", "moving"}
    lines = [
        line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "infer.py: " in line
    ]
    assert [Path(line.split(": ")[1]).name for line in lines[:-1]] == ["cut.jpg", "empty.jpg", "text.jpg"]
    assert "6 pictures" in lines[-1] and "3 of 9 photos failed" in lines[-1]


@pytest.fixture
def clip(tmp_path) -> Path:
    """Six frames of noise."""
    return write_clip(tmp_path / "clip.mp4", frames=6)


def write_clip(path: Path, frames: int) -> Path:
    """Writes frames of noise, 64x48."""
    import av

    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for seed in range(frames):
            pixels_u8 = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(pixels_u8, format="rgb24")))
        target.mux(stream.encode())
    return path


def test_a_clip_becomes_a_clip(clip, waves, tmp_path, working_dir):
    from data.video import video_frames

    assert infer.main([str(clip), "--style", waves, "--temporal", "0.5"]) == 0
    assert [found.name for found in working_dir.iterdir()] == ["clip_waves.mp4"]
    frames = list(video_frames(working_dir / "clip_waves.mp4"))
    assert len(frames) == 6 and frames[0].shape == (48, 64, 3)
    target = tmp_path / "art.mkv"
    assert (
        infer.main([str(clip), "--style", waves, "--max-side", "32", "--strength", "0", "-o", str(target)])
        == 0
    )
    assert next(video_frames(target)).shape == (24, 32, 3)


def test_a_clip_of_one_frame_becomes_a_clip(waves, working_dir, capsys):
    assert infer.main([str(write_clip(working_dir / "one.mp4", frames=1)), "--style", waves]) == 0
    assert "wrote one_waves.mp4 (1 frame)" in capsys.readouterr().err


def test_without_opencv_one_line_says_that_motion_is_not_followed(
    clip, waves, working_dir, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "cv2", None)
    other = shutil.copy(clip, tmp_path / "other.mkv")
    assert infer.main([str(clip), str(other), "--style", waves, "--temporal", "0.5", "-o", "art"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "OpenCV" in line]
    assert lines == [
        "infer.py: only what stands still is smoothed: OpenCV is not installed; to follow motion,"
        " run pip install opencv-python-headless"
    ]
    assert infer.main([str(clip), "--style", waves, "-o", "plain.mp4"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "OpenCV" in line]
    assert lines == [
        "infer.py: the video may flicker: OpenCV is not installed; to follow motion, run pip install"
        " opencv-python-headless"
    ]
    assert infer.main([str(clip), "--style", waves, "--temporal", "0", "-o", "asked.mp4"]) == 0
    assert "OpenCV" not in capsys.readouterr().err


def test_several_clips_go_into_one_folder_with_one_style_loaded(clip, waves, tmp_path, capsys, monkeypatch):
    from cli import frames

    loaded, load = [], frames.load_styles
    monkeypatch.setattr(
        frames, "load_styles", lambda *args, **options: loaded.append(1) or load(*args, **options)
    )
    other = shutil.copy(clip, tmp_path / "other.mkv")
    assert infer.main([str(clip), str(other), "--style", waves, "-o", str(tmp_path / "art")]) == 0
    assert {path.name for path in (tmp_path / "art").iterdir()} == {"clip_waves.mp4", "other_waves.mp4"}
    assert re.search(r"wrote 2 videos to .*art in .* s, .* frames/s$", capsys.readouterr().err.strip())
    assert len(loaded) == 1


def test_a_folder_of_clips_keeps_its_tree(clip, waves, tmp_path):
    for name in ("clips/a.mp4", "clips/b/a.mp4", "clips/b/a.mov"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / name)
    assert infer.main([str(tmp_path / "clips"), "--style", waves, "-o", str(tmp_path / "art")]) == 0
    written = sorted(str(path.relative_to(tmp_path / "art")) for path in (tmp_path / "art").rglob("*.mp4"))
    assert written == ["a_waves.mp4", "b/a_mov_waves.mp4", "b/a_mp4_waves.mp4"]


def test_photos_are_done_before_clips(clip, photo, waves, tmp_path, capsys):
    path = photo(tmp_path / "cat.jpg")
    assert (
        infer.main([str(clip), str(path), "--style", waves, "-o", str(tmp_path / "art"), "--temporal", "0.5"])
        == 0
    )
    assert {path.name for path in (tmp_path / "art").iterdir()} == {"clip_waves.mp4", "cat_waves.jpg"}
    wrote = [line for line in capsys.readouterr().err.splitlines() if line.startswith("infer.py: wrote ")]
    assert len(wrote) == 2
    assert "cat_waves.jpg" in wrote[0] and "clip_waves.mp4 (6 frames)" in wrote[1]


def test_clips_in_a_folder_of_photos_are_named_and_left_out(clip, photo, waves, tmp_path, capsys):
    photo(tmp_path / "mixed" / "cat.jpg")
    shutil.copy(clip, tmp_path / "mixed")
    assert infer.main([str(tmp_path / "mixed"), "--style", waves, "-o", str(tmp_path / "art")]) == 0
    assert [path.name for path in (tmp_path / "art").iterdir()] == ["cat_waves.jpg"]
    assert "1 file skipped: 1 .mp4; to stylize videos, give them" in capsys.readouterr().err


def test_broken_and_misspelt_clips_are_reported_and_the_others_done(clip, waves, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"no clip at all" * 100)
    inputs = [tmp_path / "bad.mp4", tmp_path / "nowhere.mp4", clip]
    assert (
        infer.main([*map(str, inputs), "--style", waves, "--temporal", "0", "-o", str(tmp_path / "art")]) == 1
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "nowhere.mp4: no such file" in lines[0] and "bad.mp4: is damaged or not a video" in lines[1]
    assert "wrote 1 video to" in lines[2] and lines[2].endswith("2 of 3 videos failed")
    assert [path.name for path in (tmp_path / "art").iterdir()] == ["clip_waves.mp4"]


def test_clips_after_a_failed_copy_are_still_stylized(clip, waves, tmp_path, capsys):
    """A copy that fails on the way may not stop the network for the next clip."""
    other = shutil.copy(clip, tmp_path / "other.mkv")
    (tmp_path / "art" / "clip_waves.mp4").mkdir(parents=True)  # in the way
    assert infer.main([str(clip), str(other), "--style", waves, "-o", str(tmp_path / "art")]) == 1
    assert (tmp_path / "art" / "other_waves.mp4").is_file()
    assert "1 of 2 videos failed" in capsys.readouterr().err


def test_existing_videos_are_skipped(clip, waves, tmp_path, capsys):
    other = shutil.copy(clip, tmp_path / "other.mkv")
    arguments = [str(clip), str(other), "--style", waves, "-o", str(tmp_path / "art"), "--skip-existing"]
    (tmp_path / "art").mkdir()
    (tmp_path / "art" / "clip_waves.mp4").write_bytes(b"mine")
    assert infer.main(arguments) == 0
    assert (tmp_path / "art" / "clip_waves.mp4").read_bytes() == b"mine"
    assert capsys.readouterr().err.strip().endswith("frames/s, 1 existed already")


def test_no_clip_is_written_into_an_input_folder(clip, waves, tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    shutil.copy(clip, tmp_path / "clips")
    line = refusal(capsys, 2, tmp_path / "clips", "--style", waves, "-o", tmp_path / "clips" / "art")
    assert "lies in the input folder" in line


def test_ctrl_c_tells_how_many_videos_were_written(clip, waves, tmp_path, capsys, monkeypatch):
    from data import video

    copies, save = [], video._Copy.save

    def interrupted(self):
        copies.append(1)
        if len(copies) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        save(self)

    monkeypatch.setattr(video._Copy, "save", interrupted)
    clips = [str(shutil.copy(clip, tmp_path / f"{name}.mp4")) for name in "abc"]
    assert infer.main([*clips, "--style", waves, "-o", str(tmp_path / "art")]) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(
        "1 of 3 videos were written; give the same command again with --skip-existing to make the others"
    )
    assert [path.name for path in (tmp_path / "art").iterdir()] == ["a_waves.mp4"]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_stays_one_unless_a_still_picture_is_asked_for(waves, tmp_path, working_dir, suffix):
    generator = np.random.default_rng(0)
    frames = [Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in range(3)]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80)
    assert infer.main([str(path), "--style", waves, "--grain", "0"]) == 0
    with Image.open(working_dir / f"a_waves{suffix}") as written:
        assert written.n_frames == 3 and written.size == (32, 24)
    assert infer.main([str(path), "--style", waves, "-o", str(tmp_path / "first.png")]) == 0
    with Image.open(tmp_path / "first.png") as written:
        assert getattr(written, "n_frames", 1) == 1
    assert infer.main([str(path), "--style", waves, "-o", str(tmp_path / "a.mp4")]) == 0
    assert (tmp_path / "a.mp4").is_file()


@pytest.mark.parametrize("temporal", ["0", "0.6"])
def test_large_frames_are_stylized_by_fewer_workers(clip, waves, tmp_path, monkeypatch, temporal):
    """A frame of 48x64 pixels takes 0.8 to 1.4 MB in ONNX Runtime, beside the 250 MB of the program."""
    from cli.frames import FrameStylizers
    from cli.infer_config import FastConfig
    from system import machine

    monkeypatch.setattr(machine, "available_cores", lambda: 4)
    workers = []
    for max_memory in (0.2513, 0.253, 0.2545, 0.26, 1):
        config = FastConfig(style=waves, runtime="onnx", max_memory=max_memory, temporal=float(temporal))
        frames_of = FrameStylizers(config).for_size(48, 64)
        workers.append(frames_of.workers)
        assert (frames_of.finish is None) == (temporal == "0")
    assert workers == sorted(workers) and workers[0] <= 2 and workers[-1] == 4


def test_a_clip_keeps_its_size_with_larger_strokes(clip, waves, tmp_path):
    from data.video import video_frames

    targets = [tmp_path / "plain.mkv", tmp_path / "large.mkv"]
    for target, flags in zip(targets, ([], ["--stroke-scale", "2"]), strict=True):
        assert infer.main([str(clip), "--style", waves, "-o", str(target), *flags]) == 0
    plain, large = (next(video_frames(target)) for target in targets)
    assert plain.shape == large.shape == (48, 64, 3) and not np.array_equal(plain, large)


def test_a_cut_clip_is_written_and_reported_in_one_line_with_status_1(clip, waves, tmp_path, capsys):
    import av

    whole, target = tmp_path / "whole.mkv", tmp_path / "art.mkv"
    with av.open(str(clip)) as source, av.open(str(whole), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    cut = tmp_path / "12:30.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    message = refusal(capsys, 1, cut, "--style", waves, "--temporal", "0", "-o", target)
    assert "is damaged or cut off: it has" in message and f"wrote {target} with the" in message
    with av.open(str(target)) as written:
        assert 0 < sum(1 for _ in written.decode(video=0)) < 6


def test_what_cannot_be_done_with_a_clip_is_said(clip, photo, waves, tmp_path, capsys):
    path = photo(tmp_path / "a.png")
    assert "is one file" in refusal(capsys, 2, clip, path, "--style", waves, "-o", tmp_path / "b.mp4")
    assert "is one file" in refusal(capsys, 2, clip, clip.parent, "--style", waves, "-o", tmp_path / "b.mp4")
    assert "is the input" in refusal(capsys, 2, clip, "--style", waves, "-o", clip)
    assert "end the name in one of" in refusal(capsys, 1, clip, "--style", waves, "-o", tmp_path / "a.avi")
    assert "for videos" in refusal(capsys, 2, path, "--style", waves, "--temporal", 0.5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--style", "a", "--blend", "a:1", "b:1"], "--style and --blend cannot be used together"),
        (["--blend", "a:1", "b:-1"], "weights of at least 0"),
        (["--blend", "a:0", "b:0"], "weights must have a finite sum above 0"),
        (["--style", "a", "--strength", "1.5"], "--strength must be at least 0 and at most 1, got 1.5"),
        (["--style", "a", "--temporal", "1"], "--temporal must be at least 0 and below 1, got 1"),
        (["--style", "a", "--restore-size"], "give --max-side too"),
        (["--style", "a", "--benchmark", "--stroke-scale", "2"], "leave out --stroke-scale"),
        (["--style", "a", "--max-memory", "0"], "--max-memory must be above 0"),
        (["--style", "a", "--tile", "7"], "'7' is not auto, off, or at least 16 pixels"),
        (["--style", "a", "--tile", "large"], "'large' is not auto"),
    ],
)
def test_flags_that_make_no_sense_are_refused(capsys, arguments, words):
    assert words in usage_error(capsys, "photo.png", *arguments)


# No output replaces an input


@pytest.mark.parametrize("spelling", ["same", "relative", "symlink", "hardlink", "dotted"])
def test_a_picture_never_replaces_its_photo(photo, waves, tmp_path, monkeypatch, capsys, spelling):
    path = photo(tmp_path / "cat.png")
    before, target = path.read_bytes(), tmp_path / "other.png"
    if spelling == "symlink":
        target.symlink_to(path)
    elif spelling == "hardlink":
        target.hardlink_to(path)
    else:
        monkeypatch.chdir(tmp_path)
        target = {"same": path, "relative": Path("cat.png"), "dotted": tmp_path / "x" / ".." / "cat.png"}[
            spelling
        ]
        (tmp_path / "x").mkdir()
    message = refusal(capsys, 2, path, "--style", waves, "-o", target)
    assert f"is the input {path}, which would be replaced" in message and path.read_bytes() == before


def test_a_picture_never_replaces_another_photo_or_the_mask(photo, waves, tmp_path, capsys):
    paths = [photo(tmp_path / name) for name in ("a.png", "b.png")]
    photo(tmp_path / "art" / "a_waves.png")
    inputs = (*paths, tmp_path / "art" / "a_waves.png")
    assert "is the input" in refusal(capsys, 2, *inputs, "--style", waves, "-o", tmp_path / "art")
    assert "is the input" in refusal(
        capsys, 2, paths[0], "--style", waves, "-o", paths[1], "--mask", paths[1]
    )


@pytest.mark.parametrize("output", ["photos", "photos/art", "link", "link/art", None])
def test_pictures_never_go_into_an_input_folder(photo, waves, tmp_path, monkeypatch, capsys, output):
    path = photo(tmp_path / "photos" / "cat.png")
    (tmp_path / "link").symlink_to(path.parent)
    monkeypatch.chdir(path.parent)
    flags = () if output is None else ("-o", tmp_path / output)
    message = refusal(capsys, 2, path.parent, "--style", waves, *flags)
    assert "lies in the input folder" in message and "-o" in message
    assert [found.name for found in path.parent.rglob("*")] == ["cat.png"]


def test_an_output_folder_beside_the_input_folder_is_fine(photo, waves, tmp_path):
    photo(tmp_path / "photos" / "cat.png")
    for _ in range(2):
        assert infer.main([str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "photos2")]) == 0
    assert [path.name for path in (tmp_path / "photos2").iterdir()] == ["cat_waves.png"]


# What users are told


def test_photos_may_stand_between_flags(photo, waves, tmp_path):
    first, second = (str(photo(tmp_path / name)) for name in ("a.png", "b.png"))
    assert infer.main([first, "--style", waves, second, "-o", str(tmp_path / "art")]) == 0
    assert {path.name for path in (tmp_path / "art").iterdir()} == {"a_waves.png", "b_waves.png"}


def test_a_retired_flag_names_the_new_one(capsys):
    assert "--recipe is now --preset" in usage_error(capsys, "a.png", "--mode", "optimize", "--recipe", "ist")
    assert "--list-recipes is now --list-presets" in usage_error(capsys, "--list-recipes")


def test_ctrl_c_on_a_folder_says_how_far_it_came(photo, waves, tmp_path, monkeypatch, capsys):
    from data import photo as photo_module

    for index in range(9):
        photo(tmp_path / "photos" / f"{index}.png")
    save_photo, saved = photo_module.save_photo, []

    def interrupted_save(path, *arguments, **options):
        save_photo(path, *arguments, **options)
        saved.append(path)
        if len(saved) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(photo_module, "save_photo", interrupted_save)
    assert infer.main([str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art")]) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    count = re.match(
        r"infer.py: interrupted by SIGINT: (\d) of 9 pictures were written;"
        r" give the same command again with --skip-existing to make the others$",
        line,
    )
    assert count and 3 <= int(count[1]) <= len(saved) == len(list((tmp_path / "art").iterdir()))


def test_an_existing_picture_that_is_skipped_is_named(photo, waves, tmp_path, capsys):
    path = photo(tmp_path / "a.png")
    flags = ("--style", waves, "-o", str(tmp_path / "b.png"), "--skip-existing")
    assert infer.main([str(path), *flags]) == 0
    capsys.readouterr()
    assert infer.main([str(path), *flags]) == 0
    assert capsys.readouterr().err == f"infer.py: {tmp_path / 'b.png'} exists already; nothing was written\n"


def test_a_log_is_not_filled_by_the_bars(photo, waves, tmp_path, capsys):
    for index in range(40):
        photo(tmp_path / "photos" / f"{index}.png", height=20, width=20)
    assert (
        infer.main([str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art"), "--tile", "16"])
        == 0
    )
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_files_that_a_folder_skips_are_counted_in_one_line(photo, waves, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("data.listing.can_read_heif", lambda: False)
    photo(tmp_path / "photos" / "a.png")
    for name in ("1.heic", "2.HEIC", "3.mp4", "note.txt", ".hidden.heic"):
        (tmp_path / "photos" / name).write_bytes(b"x")
    assert infer.main([str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art")]) == 0
    line = capsys.readouterr().err.splitlines()[0]
    assert f"infer.py: {tmp_path / 'photos'}: 3 files skipped: 2 .heic, 1 .mp4; " in line
    assert "pip install pillow-heif to read HEIC" in line and "a folder of videos only" in line


def test_a_misspelt_path_is_named_and_the_others_are_done(photo, waves, tmp_path, capsys):
    path = photo(tmp_path / "a.png")
    inputs = [str(tmp_path / "mispelt.png"), str(path), str(tmp_path / "nowhere")]
    assert infer.main([*inputs, "--style", waves, "-o", str(tmp_path / "art")]) == 1
    assert [found.name for found in (tmp_path / "art").iterdir()] == ["a_waves.png"]
    *named, last = capsys.readouterr().err.splitlines()
    assert [Path(line.split(": ")[1]).name for line in named] == ["mispelt.png", "nowhere"]
    assert "wrote 1 picture to" in last and "2 of 3 photos failed" in last


def test_folders_with_the_same_names_in_them_are_named_and_the_rest_is_done(photo, waves, tmp_path, capsys):
    for name in ("a/cat.jpg", "b/cat.jpg", "b/dog.jpg"):
        photo(tmp_path / name)
    inputs = [str(tmp_path / name) for name in ("a", "b", "a")]
    assert infer.main([*inputs, "--style", waves, "-o", str(tmp_path / "art")]) == 1
    assert {path.name for path in (tmp_path / "art").iterdir()} == {"cat_waves.jpg", "dog_waves.jpg"}
    named, last = capsys.readouterr().err.splitlines()
    target = tmp_path / "art" / "cat_waves.jpg"
    clash = f"would become {target}, like {tmp_path / 'a' / 'cat.jpg'}; stylize it separately"
    assert named == f"infer.py: {tmp_path / 'b' / 'cat.jpg'}: {clash}"
    assert f"wrote 2 pictures to {tmp_path / 'art'} in " in last and last.endswith("1 of 3 photos failed")


@pytest.mark.parametrize("ignores", [True, False])
def test_names_that_differ_in_case_clash_where_the_file_system_ignores_it(
    photo, waves, tmp_path, monkeypatch, capsys, ignores
):
    asked = []
    monkeypatch.setattr("cli.targets.ignores_case", lambda folder: asked.append(folder) or ignores)
    paths = [photo(tmp_path / "photos" / name) for name in ("Cat.jpg", "cat.jpg", "dog.jpg")]
    call = ["--style", waves, "-o", str(tmp_path / "art")]
    assert infer.main([str(tmp_path / "photos"), *call]) == (1 if ignores else 0)
    made = {path.name for path in (tmp_path / "art").iterdir()}
    assert made == {"Cat_waves.jpg", "dog_waves.jpg"} | ({"cat_waves.jpg"} if not ignores else set())
    line = capsys.readouterr().err.splitlines()[0]
    assert (f"{paths[1]}: would become " in line) == ignores and asked == [tmp_path / "art"]
    assert infer.main([str(paths[0]), str(paths[2]), *call]) == 0 and len(asked) == 1


def test_a_picture_in_whose_place_a_folder_is_is_named_and_the_others_are_done(
    photo, waves, tmp_path, capsys
):
    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / "photos" / name)
    (tmp_path / "art" / "a_waves.jpg").mkdir(parents=True)
    assert infer.main([str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art")]) == 1
    named, last = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'art' / 'a_waves.jpg'}: cannot be written: Is a directory; " in named
    assert "wrote 1 picture to" in last and (tmp_path / "art" / "b_waves.jpg").is_file()


@pytest.mark.parametrize("arguments", [["--blend", "a:1e308", "b:1e308"], ["--blend", "a:0", "b:0"]])
def test_blend_weights_without_a_usable_sum_are_refused(capsys, arguments):
    assert "--blend weights must have a finite sum above 0" in usage_error(capsys, "photo.png", *arguments)


def test_the_benchmark_takes_no_video(waves, tmp_path, capsys):
    assert "give photos only" in refusal(capsys, 2, tmp_path / "a.mp4", "--style", waves, "--benchmark")


def test_a_missing_video_is_called_missing(waves, tmp_path, capsys):
    assert "a.mp4: no such file" in refusal(capsys, 1, tmp_path / "a.mp4", "--style", waves)


def test_a_memory_error_without_a_text_gets_one(photo, waves, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("transformer.inference.loading.load_blend", fail)
    assert refusal(capsys, 1, photo(tmp_path / "a.png"), "--style", waves) == (
        "infer.py: not enough memory; close other programs"
    )


def test_a_painting_given_as_a_style_is_called_that(photo, tmp_path, capsys):
    path = photo(tmp_path / "painting.png")
    message = refusal(capsys, 1, path, "--style", path)
    assert "is a file, not a trained style; train a style with train.py --style" in message
    assert f"--mode optimize --style-images {path}" in message


# One photo's fault is that photo's


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory (MemoryError); shrink the photo with --max-side"),
        (
            MemoryError("Unable to allocate 9 GiB"),
            "not enough memory (Unable to allocate 9 GiB); shrink the photo",
        ),
        (
            RuntimeError("can't start new thread"),
            "not enough memory (can't start new thread); shrink the photo",
        ),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_any_fault_of_one_photo_is_that_photos(photo, waves, tmp_path, monkeypatch, capsys, error, words):
    from data import photo as photo_module

    load_photo = photo_module.load_photo

    def failing_load(path, **options):
        if path.name == "b.png":
            raise error
        return load_photo(path, **options)

    monkeypatch.setattr(photo_module, "load_photo", failing_load)
    for name in ("a.png", "b.png", "c.png"):
        photo(tmp_path / "photos" / name)
    assert infer.main([str(tmp_path / "photos"), "--style", waves, "-o", str(tmp_path / "art")]) == 1
    assert {path.name for path in (tmp_path / "art").iterdir()} == {"a_waves.png", "c_waves.png"}
    line, summary = capsys.readouterr().err.splitlines()
    assert line.startswith(f"infer.py: {tmp_path / 'photos' / 'b.png'}: ") and words in line
    assert "wrote 2 pictures" in summary and "1 of 3 photos failed" in summary


def test_places_that_cannot_be_read_end_with_status_1_and_the_others_are_done(photo, waves, tmp_path, capsys):
    folder = tmp_path / "photos"
    photo(folder / "a.png")
    (folder / "broken.jpg").symlink_to("missing.jpg")
    os.mkfifo(folder / "pipe.jpg")
    assert infer.main([str(folder), "--style", waves, "-o", str(tmp_path / "art")]) == 1
    assert [path.name for path in (tmp_path / "art").iterdir()] == ["a_waves.png"]
    *lines, summary = capsys.readouterr().err.splitlines()
    assert lines == [
        f"infer.py: {folder / 'broken.jpg'}: a broken link; remove it or mend it",
        f"infer.py: {folder / 'pipe.jpg'}: is not a file but a pipe, socket or device; give an image file",
    ]
    assert "wrote 1 picture" in summary and "2 of 3 photos failed" in summary


def test_metadata_that_does_not_fit_is_reported_and_the_picture_written(waves, tmp_path, capsys):
    exif = Image.Exif()
    exif[0x010E] = "x" * 66_000
    Image.new("RGB", (30, 20), (9, 99, 200)).save(tmp_path / "a.png", exif=exif)
    target = tmp_path / "art.jpg"
    assert infer.main([str(tmp_path / "a.png"), "--style", waves, "-o", str(target)]) == 0
    note, written = capsys.readouterr().err.splitlines()
    assert re.match(
        rf"infer.py: {target}: EXIF \(\d+ bytes\) was left out: it cannot be stored in a .jpg file$", note
    )
    assert written == f"infer.py: wrote {target} (30x20 pixels)" and Image.open(target).size == (30, 20)


def test_a_name_with_control_characters_is_reported_on_one_line(waves, tmp_path, capsys):
    path = tmp_path / "a\x1b[31m\nb.jpg"
    path.write_bytes(b"no image at all")
    message = refusal(capsys, 1, path, "--style", waves, "-o", tmp_path / "art.png")
    assert (
        message.isprintable()
        and r"a\x1b[31m\nb.jpg: not an image" in message
        and message.count("a\\x1b") == 1
    )


def test_a_picture_that_a_full_disk_cut_is_not_taken_as_done(photo, waves, tmp_path, monkeypatch, capsys):
    from system import files

    def full(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, target = photo(tmp_path / "a.png"), tmp_path / "art.jpg"
    with monkeypatch.context() as patched:
        patched.setattr(files._Stream, "write", full)
        assert "No space left" in refusal(capsys, 1, path, "--style", waves, "-o", target)
    assert not target.exists()
    assert infer.main([str(path), "--style", waves, "-o", str(target), "--skip-existing"]) == 0
    assert "wrote" in capsys.readouterr().err and Image.open(target).size == (48, 40)


def test_skip_existing_removes_what_a_killed_run_left_even_if_nothing_is_missing(photo, waves, tmp_path):
    photos, art = tmp_path / "photos", tmp_path / "art"
    photo(photos / "a.png"), photo(photos / "b.png", seed=1)
    arguments = [str(photos), "--style", waves, "-o", str(art)]
    assert infer.main(arguments) == 0
    (art / ".0123456789abcdef.999999999.01234567.tmp").write_bytes(b"half a picture")
    assert infer.main([*arguments, "--skip-existing"]) == 0
    assert {path.name for path in art.iterdir()} == {"a_waves.png", "b_waves.png"}


def test_a_photo_whose_name_starts_with_a_dash_follows_two_dashes(photo, waves, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "-lead.png")
    assert infer.main(["--style", waves, "-o", "s.png", "--", "-lead.png"]) == 0
    assert (tmp_path / "s.png").is_file()


@pytest.mark.parametrize("name", ["wide.jpg", "wide.webp"])
def test_a_picture_too_wide_for_its_format_is_refused_in_one_line(photo, waves, tmp_path, capsys, name):
    source = photo(tmp_path / "wide.png", height=2, width=66000)
    line = refusal(capsys, 1, source, "--style", waves, "-o", str(tmp_path / name))
    assert f"{name}: 2x66000 pixels (height x width) are too many for this format" in line


def test_an_output_below_a_file_says_so(photo, waves, tmp_path, capsys):
    source = photo(tmp_path / "a.png")
    line = refusal(capsys, 1, source, "--style", waves, "-o", str(source / "x.png"))
    assert "a part of its path is a file and not a folder" in line or "Not a directory" in line


def animation(path: Path, durations=(80, 80)) -> Path:
    """Writes an animation of random frames."""
    generator = np.random.default_rng(1)
    frames = [Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in durations]
    path.parent.mkdir(exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(durations))
    return path


def test_a_photo_never_replaces_an_animation_that_is_an_input(waves, tmp_path, working_dir, capsys):
    clip = animation(working_dir / "dog_waves.webp")
    content = clip.read_bytes()
    Image.new("RGB", (32, 24)).save(working_dir / "dog.webp")
    assert infer.main(["dog.webp", "dog_waves.webp", "--style", waves]) == 2
    assert "would be replaced" in capsys.readouterr().err
    assert clip.read_bytes() == content


def test_a_photo_and_an_animation_with_one_name_do_not_replace_each_other(waves, tmp_path, capsys):
    clip = animation(tmp_path / "b" / "cat.webp")
    (tmp_path / "a").mkdir()
    Image.new("RGB", (32, 24)).save(tmp_path / "a" / "cat.webp")
    target = tmp_path / "art" / "cat_waves.webp"
    assert (
        infer.main(
            [str(tmp_path / "a" / "cat.webp"), str(clip), "--style", waves, "-o", str(tmp_path / "art")]
        )
        == 1
    )
    assert f"would become {target}, like {clip}" in capsys.readouterr().err
    assert Image.open(target).n_frames == 2


def test_a_missing_video_with_an_output_file_is_one_line_and_status_1(waves, tmp_path, capsys):
    assert infer.main([str(tmp_path / "no.mp4"), "--style", waves, "-o", str(tmp_path / "out.mp4")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no.mp4: no such file" in line


def test_a_damaged_video_that_was_written_counts_as_written_and_failed(clip, waves, tmp_path, capsys):
    whole = tmp_path / "whole.mkv"
    assert infer.main([str(clip), "--style", waves, "-o", str(whole)]) == 0
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: int(0.8 * whole.stat().st_size)])
    capsys.readouterr()
    assert infer.main([str(cut), str(clip), "--style", waves, "-o", str(tmp_path / "art")]) == 1
    written = len(list((tmp_path / "art").iterdir()))
    assert f"wrote {written} videos" in capsys.readouterr().err and written == 2


def test_a_missing_gpu_is_reported_once_for_all_styles_of_a_sheet(photo, shelf, tmp_path, capsys):
    path = photo(tmp_path / "cat.png")
    assert infer.main([str(path), "--sheet", "--device", "gpu", "-o", str(tmp_path / "sheet.png")]) == 0
    assert capsys.readouterr().err.count("the CPU is used instead") == 1
