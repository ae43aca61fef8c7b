"""Fast neural style transfer: stylizes photos with trained networks.

from fast_style_transfer import load_image, load_stylizer, save_image

stylize = load_stylizer("starry_night", grain=1.0)  # a name that list_styles() gives, or a folder
image = load_image("photo.jpg")  # [H, W, 3], RGB, float32, 0..255
save_image("picture.png", stylize(image))

The names below are imported on first use, so that this import costs nothing. The command is fast-style-transfer.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from system.version import VERSION as __version__

if TYPE_CHECKING:
    from data.images import ImageError, load_image, save_image
    from transformer.export.style_folder import StyleError, list_styles
    from transformer.inference.loading import load_blend, load_stylizer

_HOMES = {  # public name -> its module
    "ImageError": ".data.images",
    "StyleError": ".transformer.export.style_folder",
    "list_styles": ".transformer.export.style_folder",
    "load_blend": ".transformer.inference.loading",
    "load_image": ".data.images",
    "load_stylizer": ".transformer.inference.loading",
    "save_image": ".data.images",
}
__all__ = [
    "ImageError",
    "StyleError",
    "__version__",
    "list_styles",
    "load_blend",
    "load_image",
    "load_stylizer",
    "save_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__
