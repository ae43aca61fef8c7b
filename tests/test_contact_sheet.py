"""data/contact_sheet.py: every image is on the sheet, in its row and column."""

import numpy as np
import pytest

from data.contact_sheet import contact_sheet, picture_grid


def flat(height: int, width: int, *color: float) -> np.ndarray:
    return np.full((height, width, 3), color, np.float32)


ROWS = {
    "first": [flat(40, 90, 250, 10, 10), flat(40, 90, 10, 250, 10), flat(40, 90, 10, 10, 250)],
    "second": [flat(70, 60, 200, 200, 0), flat(70, 60, 0, 200, 200), flat(70, 60, 200, 0, 200)],
}


@pytest.fixture(scope="module")
def sheet() -> np.ndarray:
    return contact_sheet(ROWS, ["photo", "1", "2"], title="a title", corner=flat(300, 200, 77, 66, 55))


def place(sheet: np.ndarray, color) -> tuple[int, int, int, int]:
    """Top, left, height and width of the patch of one color."""
    rows, columns = np.nonzero((sheet == color).all(axis=-1))
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # a rectangle, whole
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1


def test_every_picture_is_shown_whole_in_its_row_and_column(sheet):
    places = {name: [place(sheet, picture[0, 0]) for picture in row] for name, row in ROWS.items()}
    for name, row in ROWS.items():
        assert [spot[2:] for spot in places[name]] == [picture.shape[:2] for picture in row]
        assert len({spot[0] for spot in places[name]}) == 1  # one height
    for first, second in zip(places["first"], places["second"], strict=True):
        assert first[1] == second[1] and second[0] > first[0] + first[2]
    lefts = [spot[1] for spot in places["first"]]
    assert lefts == sorted(lefts) and lefts[1] - lefts[0] >= 90


def test_the_corner_is_shrunk_to_the_column(sheet):
    _, _, height, width = place(sheet, (77, 66, 55))
    assert max(height, width) <= 90 and height / width == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": ["photo", "1", "8"]},
        {"title": "another title"},
        {"rows": {"first": ROWS["first"], "other": ROWS["second"]}},
    ],
)
def test_labels_title_and_names_of_rows_are_written(sheet, changed):
    content = {"rows": ROWS, "labels": ["photo", "1", "2"], "title": "a title"} | changed
    shown = contact_sheet(**content, corner=flat(300, 200, 77, 66, 55))
    assert shown.shape == sheet.shape and not np.array_equal(shown, sheet)


def test_images_are_clipped_and_rounded():
    images = [flat(20, 30, 99.6, -40, 300)]
    shown = contact_sheet({"row": images}, ["label"], title="", corner=flat(10, 10, 0, 0, 0))
    assert place(shown, (100, 0, 255))[2:] == (20, 30)


def test_it_is_an_image(sheet):
    assert sheet.dtype == np.float32 and sheet.shape[-1] == 3
    assert sheet.min() >= 0 and sheet.max() <= 255


@pytest.mark.parametrize(("height", "width"), [(90, 120), (120, 90), (400, 20)])
def test_a_grid_shows_every_picture_in_order_and_is_nearly_square(height, width):
    pictures = [(str(index), flat(height, width, 10 * index, 3, 7)) for index in range(1, 14)]
    grid = picture_grid(pictures)
    places = [place(grid, picture[0, 0]) for _, picture in pictures]
    assert [spot[2:] for spot in places] == [(height, width)] * 13
    assert [spot[:2] for spot in places] == sorted(spot[:2] for spot in places)
    assert 0.5 < grid.shape[1] / grid.shape[0] < 2.7


def test_a_name_too_long_for_its_picture_is_shortened():
    short, long = (picture_grid([(name, flat(30, 60, 9, 9, 9))]) for name in ("wave", "wave" * 40))
    assert short.shape == long.shape and not np.array_equal(short, long)


def test_names_are_written_below_pictures():
    first, second = (picture_grid([(name, flat(30, 60, 9, 9, 9))]) for name in "ab")
    assert not np.array_equal(first, second)
