"""The sizes of the slow method's pictures, and its initial image. NumPy only."""

import numpy as np

from loss_net.presets import SlowPreset
from system.arguments import check_count, check_images, check_size

Size = tuple[int, int]  # height, width in pixels


def content_size(preset: SlowPreset, photo_size: Size) -> Size:
    """Returns the size to which a photo is resized before the optimization.

    `preset.size` is used as it is. Otherwise the photo keeps its proportions: `preset.width` sets its width, and
    `preset.max_side` then shrinks it if its longest side is longer.
    """
    check_size("photo_size", photo_size)
    for name in ("width", "max_side"):
        if getattr(preset, name) is not None:
            check_count(name, getattr(preset, name))
    if preset.size is not None:
        check_size("size", preset.size)
        return preset.size
    size = photo_size
    if preset.width is not None:
        size = _scaled(size, preset.width / size[1])
    if preset.max_side is not None:
        size = _scaled(size, min(1.0, preset.max_side / max(size)))
    return size


def style_size(preset: SlowPreset, picture_size: Size, content_size: Size, scale: float = 1.0) -> Size:
    """Returns the size to which a style picture is resized, multiplied by `scale`.

    preset.style_sizing decides. "width": the content's width, in the picture's own proportions. "size": the
    content's height and width. "max_side": the longest side is at most preset.max_side, or at most the content's
    longest side if preset.max_side is None; a smaller picture is not enlarged.
    """
    check_size("picture_size", picture_size)
    check_size("content_size", content_size)
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be a finite number above 0, got {scale}")
    height, width = picture_size
    if preset.style_sizing == "size":
        return _scaled(content_size, scale)
    if preset.style_sizing == "max_side":
        longest = preset.max_side or max(content_size)
        return _scaled(picture_size, scale * min(1.0, longest / max(height, width)))
    return _scaled(picture_size, scale * content_size[1] / width)


def initial_image(preset: SlowPreset, base: np.ndarray, mean_rgb: np.ndarray, seed: int) -> np.ndarray:
    """Returns the initial image [H, W, 3], float32, RGB: a mix of noise and `base`, both around `mean_rgb`.

    `base` [H, W, 3] and `mean_rgb` [3] are RGB 0..255; the result can exceed 0..255. preset.noise_ratio is the
    share of noise: 1 in Gatys et al. 2016 (https://arxiv.org/abs/1508.06576), where only the size of `base`
    matters; 0 returns `base`. The same seed gives the same noise. Raises ValueError for a `base` that is not an image,
    and for a negative seed.
    """
    check_images("base", base)
    check_count("seed", seed, least=0)
    noise = getattr(np.random.default_rng(seed), preset.noise.distribution)(
        preset.noise.first, preset.noise.second, base.shape
    )
    centered = preset.noise_ratio * noise + (1 - preset.noise_ratio) * (base - mean_rgb)
    return (mean_rgb + centered).astype(np.float32)


def _scaled(size: Size, scale: float) -> Size:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
