"""The geometry of tiles: rectangles of a feature map, and how an image is cut into them."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from transformer.architecture import SIDE_MULTIPLE


class Tile(NamedTuple):
    """A rectangle of a feature map: rows from top to bottom, columns from left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def scaled(self, factor: float) -> "Tile":
        """Returns the same place in a map of `factor` times the resolution."""
        return Tile(*(int(edge * factor) for edge in self))

    def grown(self, margin: int) -> "Tile":
        """Returns the tile with `margin` more pixels on each side; edges may become negative."""
        return Tile(self.top - margin, self.bottom + margin, self.left - margin, self.right + margin)

    def within(self, height: int, width: int) -> "Tile":
        """Returns the part that lies inside a map of height x width."""
        return Tile(max(0, self.top), min(height, self.bottom), max(0, self.left), min(width, self.right))

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)

    @property
    def pixels(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def of(self, feature_map: np.ndarray) -> np.ndarray:
        """Returns this part of a map [C, H, W] as a view."""
        return feature_map[:, self.rows, self.columns]


def cut(height: int, width: int, tile: int) -> list[Tile]:
    """Cuts a padded image into about equal tiles of at most `tile` pixels a side.

    Edges are multiples of SIDE_MULTIPLE, so that every tile has a whole place in the map of quarter resolution.
    """

    def edges(side: int) -> list[int]:
        units = side // SIDE_MULTIPLE
        count = -(-units // max(1, tile // SIDE_MULTIPLE))
        return [SIDE_MULTIPLE * (units * index // count) for index in range(count + 1)]

    return [
        Tile(top, bottom, left, right)
        for top, bottom in pairwise(edges(height))
        for left, right in pairwise(edges(width))
    ]


def region_pixels(image, place: Tile) -> np.ndarray:
    """Returns a region of an image [H, W, 3], extended by reflection past its end: [1, rows, columns, 3] float32.

    The image needs only `shape` and slicing by rows and columns.
    """
    height, width = image.shape[:2]
    rows = _reflected(np.arange(place.top, place.bottom), height)
    columns = _reflected(np.arange(place.left, place.right), width)
    pixels = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    if pixels.shape[:2] != (len(rows), len(columns)):
        pixels = pixels[rows - rows.min()][:, columns - columns.min()]
    return np.ascontiguousarray(pixels, np.float32)[np.newaxis]


def _reflected(positions: np.ndarray, side: int) -> np.ndarray:
    """Maps positions past the end of a side back into it, like layers.reflected_indices."""
    period = max(2 * (side - 1), 1)
    positions = positions % period
    return np.minimum(positions, period - positions)
