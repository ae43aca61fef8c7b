"""The styles that a service offers. Some stay loaded, because loading takes longer than a small photo."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformer.export import style_folder
from transformer.export.style_folder import StyleError

MOST_LOADED = 4  # styles or blends; each keeps the memory of the largest photo it has seen


class UnknownStyle(StyleError):
    """No style of this name is offered."""


class StyleShelf:
    """The styles in one folder, by name. Only one thread may call `stylizer` at a time.

    checkpoints_dir: None means the styles of this project. options: of transformer.inference.loading.load_blend.
    """

    def __init__(self, checkpoints_dir: Path | None = None, *, load: Callable | None = None, **options: Any):
        self._checkpoints_dir, self._options = checkpoints_dir, options
        self._load = load
        self._loaded: OrderedDict[tuple, Any] = OrderedDict()

    def names(self) -> list[str]:
        """The names of all styles, sorted; a style that was trained a moment ago is among them."""
        return [path.name for path in style_folder.list_styles(self._checkpoints_dir)]

    def folder(self, name: str) -> Path:
        """Returns the folder of a style. A name that `names` does not list is refused, whatever it looks like."""
        for path in style_folder.list_styles(self._checkpoints_dir):
            if path.name == name:
                return path
        raise UnknownStyle(f"no style has this name; the styles are {', '.join(self.names())}")

    def stylizer(self, styles: Sequence[tuple[str, float]]) -> Any:
        """Returns the Stylizer of a style or blend: [(name, weight), ...]. Raises StyleError."""
        folders = [(self.folder(name), weight) for name, weight in styles]
        key = tuple((str(folder), weight, _version(folder)) for folder, weight in folders)
        if key not in self._loaded:
            load = self._load
            if load is None:
                from transformer.inference.loading import load_blend as load
            while len(self._loaded) >= MOST_LOADED:
                self._loaded.popitem(last=False)
            self._loaded[key] = load(
                [(str(folder), weight) for folder, weight in folders],
                expected_pixels=math.inf,  # the runtime that is best for many photos
                **self._options,
            )
        self._loaded.move_to_end(key)
        return self._loaded[key]


def _version(folder: Path) -> int:
    """Changes when a style is trained again."""
    return max((path.stat().st_mtime_ns for path in folder.iterdir()), default=0)
