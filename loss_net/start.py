"""What the slow method starts from: the sizes of its pictures, and the initial image. NumPy only."""

import numpy as np

from loss_net.recipes import Recipe

Size = tuple[int, int]  # height, width in pixels


def content_size(recipe: Recipe, photo_size: Size) -> Size:
    """The size at which a photo is optimised: `size` exactly, else `width` and `max_side` in its proportions."""
    if recipe.size is not None:
        return recipe.size
    size = photo_size
    if recipe.width is not None:
        size = _scaled(size, recipe.width / size[1])
    if recipe.max_side is not None:
        size = _scaled(size, min(1.0, recipe.max_side / max(size)))
    return size


def style_size(recipe: Recipe, picture_size: Size, content_size: Size, scale: float = 1.0) -> Size:
    """The size at which a style picture is shown to the network, times `scale`.

    By recipe.style_sizing: "width" as wide as the content, in the picture's proportions; "size" the content's
    height and width; "max_side" its longest side at most the recipe's max_side, or the content's without one.
    """
    height, width = picture_size
    if recipe.style_sizing == "size":
        return _scaled(content_size, scale)
    if recipe.style_sizing == "max_side":
        longest = recipe.max_side or max(content_size)
        return _scaled(picture_size, scale * min(1.0, longest / max(height, width)))
    return _scaled(picture_size, scale * content_size[1] / width)


def initial_image(recipe: Recipe, base: np.ndarray, mean_rgb: np.ndarray, seed: int) -> np.ndarray:
    """Noise around `mean_rgb` mixed with `base`, both in 0..255 RGB: [H, W, 3] float32, the size of `base`.

    The share of noise is recipe.noise_ratio: Gatys et al. 2016 start from noise alone (1), others from the
    content (0) or in between. Only with noise alone is `base` of no consequence but its size.
    """
    noise = getattr(np.random.default_rng(seed), recipe.noise.distribution)(
        recipe.noise.first, recipe.noise.second, base.shape
    )
    centred = recipe.noise_ratio * noise + (1 - recipe.noise_ratio) * (base - mean_rgb)
    return (mean_rgb + centred).astype(np.float32)


def _scaled(size: Size, scale: float) -> Size:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
