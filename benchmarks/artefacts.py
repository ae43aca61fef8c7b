"""Measures artefacts of styles: patterns that repeat on a lattice, dots, stripes at the border, and gray whites.

    python benchmarks/artefacts.py great_wave the_scream --pictures ../shared/styles/great_wave.jpg

Each style stylizes crops in which a network tends to show artefacts, as infer.py does. In levels of 0..255:

pattern  the periodic part of the luminance, root mean square: peaks of the power spectrum at periods of 3 to 24
         pixels, above 4 times the median of the spectrum around them. Brush strokes of varying distances have a
         smooth spectrum and count little; dots or threads on a lattice have peaks.
weave    the part that the strides of the network cause, root mean square: the mean luminance of the pixels at the
         same place of every 4x4 pixels. Mean over the crops.
border   how far the mean color of the outer 12 pixels is from that of the pixels inside, in crops that are the same
         everywhere.
white    how far the mean of the white crop is below 255; the crop itself is 0.4 levels below.

And the number of round, bright dots of 2 to 6 pixels in 10,000 pixels:

dots     the mean over the plain crops
photo    in the sky of a photo taken at night, examples/rocket.jpg, which has 0.2 itself

For `--pictures` (paintings, results of the slow method) only pattern and dots are measured, in squares cut from them.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.images import load_image
from transformer.architecture import SIDE_MULTIPLE
from transformer.inference.limits import DEFAULT_GRAIN
from transformer.inference.loading import load_stylizer

SIDE = 256  # pixels of a crop
WINDOW = 64  # pixels; the spectrum is the median over windows
PERIODS = (3.0, 24.0)  # pixels
PEAK_FACTOR = 4.0  # a peak is above this multiple of the median around it
NEIGHBORS = 4  # bins to each side that the median is taken over
BORDER = 12  # pixels
INSIDE = 32  # pixels from the edge; what is further inside is compared with the border
DOT_BLURS = (1.3, 3.2)  # pixels, standard deviations; their difference responds to spots of 2 to 6 pixels
DOT_LEVELS = 15.0  # least response of a dot
DOT_ASPECT = 2.0  # a dot's largest curvature over its smallest is at most this; strokes have more
NIGHT_PHOTO = Path(__file__).resolve().parents[1] / "examples" / "rocket.jpg"
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
EVEN = ("flat", "dark", "white", "noise")  # crops that are the same everywhere


def crops(side: int = SIDE) -> dict[str, np.ndarray]:
    """Returns the crops [side, side, 3], RGB, 0..255, by name. They are the same in every call."""
    generator = np.random.default_rng(0)
    ramp = np.linspace(0.0, 1.0, side, dtype=np.float32)
    sky = (1 - ramp)[:, None, None] * np.float32([90, 140, 210]) + ramp[:, None, None] * np.float32(
        [200, 215, 235]
    )
    sky = np.broadcast_to(sky, (side, side, 3))
    night = np.broadcast_to(np.float32([14, 16, 30]), (side, side, 3)) + 12 * ramp[:, None, None]
    lights = night.copy()
    for row, column in generator.integers(8, side - 8, (12, 2)):
        lights[row - 3 : row + 3, column - 3 : column + 3] = (255, 230, 170)

    def noisy(image: np.ndarray, deviation: float) -> np.ndarray:
        noise = generator.normal(0.0, deviation, image.shape)
        return np.clip(image + noise, 0, 255).astype(np.float32)

    even = {"flat": (150, 120, 100), "dark": (24, 24, 28), "white": (255, 255, 255), "noise": (128, 128, 128)}
    deviations = {"flat": 2.0, "dark": 2.0, "white": 1.0, "noise": 25.0}  # of sensors; "noise" is far more
    return {
        **{
            name: noisy(np.full((side, side, 3), color, np.float32), deviations[name])
            for name, color in even.items()
        },
        "gradient": np.ascontiguousarray(sky),
        "noisy gradient": noisy(sky, 2.0),
        "night": noisy(lights, 2.0),
    }


def night_sky() -> np.ndarray:
    """Returns the sky of NIGHT_PHOTO, [H, W, 3], RGB, 0..255."""
    photo = load_image(NIGHT_PHOTO, max_side=640)
    return photo[: photo.shape[0] * 3 // 5]


def pattern_levels(image: np.ndarray) -> float:
    """Returns the root mean square of the periodic part of an image [H, W, 3], in levels of 0..255."""
    spectrum, frequencies = power_spectrum(image @ LUMINANCE)
    background = median_around(spectrum)
    is_pattern = (1 / PERIODS[1] <= frequencies) & (frequencies <= 1 / PERIODS[0])
    excess = np.maximum(spectrum - PEAK_FACTOR * background, 0) * is_pattern
    return float(np.sqrt(excess.sum()))


def weave_levels(image: np.ndarray) -> float:
    """Returns the contrast of the mean luminances of the phases of the strides in an image [H, W, 3], in levels."""
    rows, columns = (side // SIDE_MULTIPLE for side in image.shape[:2])
    inside = (image @ LUMINANCE)[: rows * SIDE_MULTIPLE, : columns * SIDE_MULTIPLE]
    return float(inside.reshape(rows, SIDE_MULTIPLE, columns, SIDE_MULTIPLE).mean((0, 2)).std())


def power_spectrum(luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the typical power of windows [WINDOW, WINDOW] and the frequency of each bin in 1/pixel.

    For a pattern that is the same in all windows, the bins add up to its variance.
    """
    taper = np.hanning(WINDOW + 2)[1:-1]
    taper = np.outer(taper, taper)
    powers = []
    for top in range(0, luminance.shape[0] - WINDOW + 1, WINDOW // 2):
        for left in range(0, luminance.shape[1] - WINDOW + 1, WINDOW // 2):
            part = luminance[top : top + WINDOW, left : left + WINDOW]
            part = (part - np.average(part, weights=taper)) * taper
            powers.append(np.abs(np.fft.fft2(part)) ** 2)
    # the median drops what only some windows have, such as the edge of an object
    power = np.median(powers, axis=0) / (WINDOW**2 * (taper**2).sum())
    axis = np.fft.fftfreq(WINDOW)
    return power, np.hypot(axis[:, None], axis)


def median_around(spectrum: np.ndarray) -> np.ndarray:
    """Returns the median over a square of bins around each bin; frequencies wrap around."""
    offsets = range(-NEIGHBORS, NEIGHBORS + 1)
    shifted = [np.roll(spectrum, (row, column), (0, 1)) for row in offsets for column in offsets]
    return np.median(shifted, axis=0)


def dots_per_area(image: np.ndarray) -> float:
    """Returns the number of round, bright dots per 10,000 pixels of an image [H, W, 3], 0..255."""
    luminance = image @ LUMINANCE
    response = _blurred(luminance, DOT_BLURS[0]) - _blurred(luminance, DOT_BLURS[1])
    center = response[1:-1, 1:-1]
    up, down, left, right = response[:-2, 1:-1], response[2:, 1:-1], response[1:-1, :-2], response[1:-1, 2:]
    corners = response[:-2, :-2], response[:-2, 2:], response[2:, :-2], response[2:, 2:]
    is_peak = (center > DOT_LEVELS) & np.all(
        [center >= other for other in (up, down, left, right, *corners)], 0
    )
    # the curvatures along the two main directions are mean + spread and mean - spread
    along, across = 2 * center - up - down, 2 * center - left - right
    mixed = (corners[0] + corners[3] - corners[1] - corners[2]) / 4
    mean, spread = (along + across) / 2, np.hypot((along - across) / 2, mixed)
    is_round = (mean > spread) & (mean + spread <= DOT_ASPECT * (mean - spread))
    return float(1e4 * np.mean(is_peak & is_round))


def _blurred(luminance: np.ndarray, deviation: float) -> np.ndarray:
    """Returns luminance [H, W] after a Gaussian blur; the border is mirrored."""
    reach = round(3 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    padded = np.pad(luminance, reach, mode="reflect")
    height, width = luminance.shape
    rows = sum(weight * padded[offset : offset + height] for offset, weight in enumerate(weights))
    return sum(weight * rows[:, offset : offset + width] for offset, weight in enumerate(weights))


def border_levels(image: np.ndarray) -> float:
    """Returns the largest distance, over the four sides, of the border's mean color from that inside, in levels."""
    inside = image[INSIDE:-INSIDE, INSIDE:-INSIDE].mean((0, 1))
    sides = (image[:BORDER], image[-BORDER:], image[:, :BORDER], image[:, -BORDER:])
    return max(float(np.abs(side.mean((0, 1)) - inside).mean()) for side in sides)


def squares(image: np.ndarray, side: int = SIDE) -> Iterator[np.ndarray]:
    """Yields the squares of a picture [H, W, 3], without overlap."""
    for top in range(0, image.shape[0] - side + 1, side):
        for left in range(0, image.shape[1] - side + 1, side):
            yield image[top : top + side, left : left + side]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="*", metavar="STYLE", help="names or folders of styles")
    parser.add_argument(
        "--pictures", nargs="+", type=Path, default=[], help="pictures to measure as they are"
    )
    options = parser.parse_args(arguments)
    images = crops()
    print(
        f"{'pattern of':24}"
        + "".join(f"{name:>15}" for name in images)
        + f"{'weave':>8}{'border':>9}{'white':>8}{'dots':>7}{'photo':>7}"
    )
    for style in options.styles:
        _print_style(style, images)
    for path in options.pictures:
        parts = list(squares(load_image(path)))
        patterns, dots = [pattern_levels(part) for part in parts], [dots_per_area(part) for part in parts]
        if not patterns:
            sys.exit(f"{path}: a side has less than {SIDE} pixels; give a larger picture")
        print(
            f"{path.name:24} {np.mean(patterns):.2f} mean, {max(patterns):.2f} largest of {len(patterns)};"
            f" dots {np.mean(dots):.1f}"
        )


def _print_style(style: str, images: dict[str, np.ndarray]) -> None:
    stylizer = load_stylizer(style, grain=DEFAULT_GRAIN)
    stylized = {name: stylizer(image) for name, image in images.items()}
    inner: Sequence[np.ndarray] = [image[INSIDE:-INSIDE, INSIDE:-INSIDE] for image in stylized.values()]
    weave = np.mean([weave_levels(image) for image in inner])
    border = max(border_levels(stylized[name]) for name in EVEN)
    white = 255 - stylized["white"][INSIDE:-INSIDE, INSIDE:-INSIDE].mean()
    cells = "".join(f"{pattern_levels(image):15.2f}" for image in inner)
    plain = [dots_per_area(stylized[name][INSIDE:-INSIDE, INSIDE:-INSIDE]) for name in EVEN]
    photo = dots_per_area(stylizer(night_sky()))
    print(
        f"{Path(style).name:24}{cells}{weave:8.1f}{border:9.1f}{white:8.1f}{np.mean(plain):7.1f}{photo:7.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
