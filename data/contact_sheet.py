"""Draws images with labels on one sheet, so that they can be compared."""

from collections.abc import Mapping, Sequence

import numpy as np

from data.images import quantized, resize_image, shrunk_size

GAP = 6  # pixels around images
LABEL_HEIGHT = 22  # pixels
FONT_SIZE = 15  # pixels
GRID_SHAPE = 4 / 3  # width over height that a grid is near to
PAPER, INK = (255, 255, 255), (20, 20, 20)


def contact_sheet(
    rows: Mapping[str, Sequence[np.ndarray]], labels: Sequence[str], *, title: str, corner: np.ndarray
) -> np.ndarray:
    """Draws a table of images.

    Args:
        rows: the images of each row, [H, W, 3], RGB, 0..255, by the name of the row. All images of a row have one
            size.
        labels: one for each column.
        title: text at the top.
        corner: an image [H, W, 3] that is shown small, beside the title.

    Returns:
        An image [H, W, 3], RGB, float32, 0..255.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    columns = [max(row[column].shape[1] for row in rows.values()) + GAP for column in range(len(labels))]
    heights = {name: row[0].shape[0] + LABEL_HEIGHT + GAP for name, row in rows.items()}
    height, width = shrunk_size(corner.shape[:2], columns[0] - GAP)
    corner = resize_image(corner, height=height, width=width)
    top = corner.shape[0] + 2 * GAP
    sheet = Image.new("RGB", (sum(columns) + GAP, top + LABEL_HEIGHT + sum(heights.values())), PAPER)
    draw = ImageDraw.Draw(sheet)

    def paste(image: np.ndarray, left: int, upper: int) -> None:
        sheet.paste(Image.fromarray(quantized(image, np.uint8)), (left, upper))

    paste(corner, GAP, GAP)
    draw.text((columns[0] + GAP, GAP), title, INK, font)
    for column, label in enumerate(labels):
        draw.text((GAP + sum(columns[:column]), top), label, INK, font)
    upper = top + LABEL_HEIGHT
    for name, row in rows.items():
        for column, image in enumerate(row):
            paste(image, GAP + sum(columns[:column]), upper)
        draw.text((GAP, upper + row[0].shape[0]), name, INK, font)
        upper += heights[name]
    return np.asarray(sheet, np.float32)


def picture_grid(pictures: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Draws images of one size with their names below, in as many columns as make the grid about GRID_SHAPE.

    pictures: names and images [H, W, 3], RGB, 0..255. Returns an image [H, W, 3], RGB, float32, 0..255.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    height, width = pictures[0][1].shape[:2]
    cell_height, cell_width = height + LABEL_HEIGHT + GAP, width + GAP
    columns = round((len(pictures) * GRID_SHAPE * cell_height / cell_width) ** 0.5)
    columns = min(max(1, columns), len(pictures))
    rows = -(-len(pictures) // columns)
    grid = Image.new("RGB", (columns * cell_width + GAP, rows * cell_height + GAP), PAPER)
    draw = ImageDraw.Draw(grid)
    for index, (name, picture) in enumerate(pictures):
        left, upper = GAP + index % columns * cell_width, GAP + index // columns * cell_height
        grid.paste(Image.fromarray(quantized(picture, np.uint8)), (left, upper))
        draw.text((left, upper + height), _fitted(name, font, width), INK, font)
    return np.asarray(grid, np.float32)


def _fitted(text: str, font, width: int) -> str:
    """Shortens a text to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..." if text else ""
