"""The photo tab without its page: fields become requests, paint becomes a mask, results are described."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.flags import UsageError
from web.studio.photo_form import MASK_SIDE, PAINT_OPACITY, request_of, saved_mask
from web.studio.uploads import MOST_NAME_BYTES, Upload, file_stem, shown_name
from web.turns import Turns

FIELDS = {"style": "waves", "second": "", "share": 50, "strength": 100, "keep_colors": False, "strokes": "auto",
          "grain": 1.0, "side": "full size", "format": "as the photo"}  # fmt: skip


def asked(**changes):
    return request_of(**{**FIELDS, **changes})


def test_the_first_fields_are_those_of_infer():
    from web.pictures import PictureRequest

    assert asked() == PictureRequest(styles=(("waves", 1.0),))


def test_every_field_reaches_the_request():
    request = asked(
        second="stars",
        share=25,
        strength=50,
        keep_colors=True,
        strokes="1.5",
        grain=3,
        side="512",
        format="png",
    )
    assert request.styles == (("waves", 75), ("stars", 25))
    assert (request.strength, request.keep_colors, request.stroke_scale) == (0.5, True, 1.5)
    assert (request.grain, request.max_side, request.format) == (3, 512, "png")
    request.check()


def test_a_style_without_a_share_is_left_out():
    assert asked(second="stars", share=0).styles == (("waves", 100),)
    assert asked(second="stars", share=100).styles == (("stars", 100),)
    assert asked(second="waves").styles == (("waves", 1.0),)


@pytest.mark.parametrize(
    "changes", [{"style": ""}, {"style": None}, {"strokes": "x"}, {"side": None}], ids=str
)
def test_a_value_that_no_field_has_is_a_usage_error(changes):
    with pytest.raises(UsageError):
        asked(**changes)


def paint(opacity: float, size: tuple[int, int] = (4, 6)) -> bytes:
    """A PNG file whose left half is painted."""
    pixels_u8 = np.zeros((*size, 4), np.uint8)
    pixels_u8[:, : size[1] // 2] = (255, 255, 255, round(255 * opacity))
    stream = io.BytesIO()
    Image.fromarray(pixels_u8).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("opacity", [PAINT_OPACITY - 0.01, PAINT_OPACITY, 0.84, 1.0])
def test_paint_becomes_white_in_the_mask_and_the_rest_black(tmp_path, opacity):
    mask = np.asarray(Image.open(saved_mask(paint(opacity), tmp_path)))
    assert mask.shape == (4, 6)
    assert (mask[:, :3] == 255).all() and (mask[:, 3:] == 0).all()


def test_without_paint_there_is_no_mask(tmp_path):
    assert saved_mask(None, tmp_path) is None
    assert saved_mask(paint(0.0), tmp_path) is None


def test_a_mask_that_is_no_picture_is_a_usage_error_that_names_no_path(tmp_path):
    with pytest.raises(UsageError) as caught:
        saved_mask(b"words", tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_a_mask_that_is_larger_than_the_editor_is_refused_before_it_is_decoded(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        saved_mask(paint(1.0, size=(2 * MASK_SIDE, 2 * MASK_SIDE + 1)), tmp_path)
    assert saved_mask(paint(1.0, size=(MASK_SIDE, MASK_SIDE)), tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat.jpg", "cat.jpg"), ("../../etc/passwd", "passwd"), ("C:\\photos\\cat.jpg", "cat.jpg"),
        ("a\nb.png", "ab.png"),
        ("", "file"), ("x" * 300 + ".jpg", "x" * MOST_NAME_BYTES + ".jpg"), ("a/", "file"),
    ],
)  # fmt: skip
def test_the_name_of_an_upload_is_shown_without_its_path(name, expected):
    assert shown_name(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat.jpg", "cat"),
        ("my cat (2).jpg", "my_cat__2"),
        ("...", "picture"),
        ("été.png", "été"),
        ("%s.png", "s"),
    ],
)
def test_the_name_of_a_result_has_letters_and_digits_only(name, expected):
    assert file_stem(Upload(Path("x"), name)) == expected


@pytest.fixture
def maker(style_dirs):
    from web.pictures import PictureMaker
    from web.shelf import StyleShelf
    from web.studio.config import StudioConfig

    return PictureMaker(StudioConfig(), StyleShelf(style_dirs["waves"].parent))


def test_a_view_reserves_its_memory_and_ends_with_the_time_of_its_request(maker, photo, tmp_path):
    from web.studio.photo_work import view
    from web.turns import Deadline, GaveUp

    path, target = photo(tmp_path / "cat.png"), tmp_path / "view.jpg"
    with maker.stages.memory.turn(Deadline(60), takes=1e15), pytest.raises(GaveUp):
        view(maker, path, target, 100, Deadline(0.01))
    assert not target.exists()
    assert view(maker, path, target, 100, Deadline(60)).exists()
    assert maker.stages.memory.waiting == 0


def test_two_views_need_not_wait_for_each_other_where_memory_suffices(maker, photo, tmp_path):
    from web.studio.photo_work import view
    from web.turns import Deadline

    path = photo(tmp_path / "cat.png")
    maker.stages.finishing = Turns(room=2)
    with maker.reading(path, Deadline(60)):
        assert view(maker, path, tmp_path / "view.jpg", 100, Deadline(60)).exists()


def test_a_picture_is_made_with_views_that_have_no_metadata(maker, photo, tmp_path):
    from web.pictures import PictureRequest
    from web.studio.photo_work import picture

    path = photo(tmp_path / "cat.jpg", height=120, width=160)
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x010E] = "at home"
        image.save(path, exif=exif)
    places, shares = [], []
    (tmp_path / "results").mkdir()
    result = picture(
        maker, Upload(path, "my cat.jpg"), PictureRequest((("waves", 1.0),)), tmp_path / "results", maker.deadline(),
        places.append, shares.append,
    )  # fmt: skip
    assert result.path.name == "my_cat_waves.jpg" and "160 × 120 pixels" in result.line
    assert places[0] == 0 and shares[-1] == 1.0
    with Image.open(result.path) as made, Image.open(result.after) as view:
        assert made.getexif()[0x010E] == "at home" and not view.getexif()
