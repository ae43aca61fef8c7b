"""The styles that a service offers. Some stay loaded, because loading takes longer than a small photo."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cli.infer_config import FastConfig
from transformer.export import style_folder
from transformer.export.style_folder import StyleError

MOST_LOADED = 4  # styles, or blends of the same styles
# Networks keep the memory of the largest photo that they have computed, up to 1 GB at 4 megapixels. One that has
# computed more than this is let go when another one is needed; 350,000 pixels keep about 0.1 GB. Loading takes 0.1 to
# 0.3 seconds, a larger photo takes longer.
MOST_KEPT_PIXELS = 350_000


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

    def stylizer(self, styles: Sequence[tuple[str, float]], *, grain: float = FastConfig.grain) -> Any:
        """Returns the Stylizer of a style or blend: [(name, weight), ...]. Raises StyleError.

        grain: see transformer.inference.loading.load_blend. Use the stylizer before the next call.
        """
        folders = [self.folder(name) for name, _ in styles]
        key = tuple((str(folder), version_of(folder)) for folder in folders)
        self._let_go(key)
        if key not in self._loaded:
            self._loaded[key] = self._loaded_now(folders)
        self._loaded.move_to_end(key)
        return self._loaded[key].variant([weight for _, weight in styles], grain)

    def _let_go(self, wanted: tuple) -> None:
        """Forgets styles that keep much memory, and the oldest ones if there are too many; not the wanted one."""
        for key in [key for key in self._loaded if key != wanted]:
            if self._loaded[key].usage.most_pixels > MOST_KEPT_PIXELS:
                del self._loaded[key]
        while len(self._loaded) >= MOST_LOADED and wanted not in self._loaded:
            self._loaded.popitem(last=False)

    def _loaded_now(self, folders: Sequence[Path]) -> Any:
        load = self._load
        if load is None:
            from transformer.inference.loading import load_blend as load
        return load(
            [(str(folder), 1.0) for folder in folders],
            expected_pixels=math.inf,  # the runtime that is best for many photos
            **self._options,
        )


def version_of(folder: Path) -> int:
    """Changes when a style is trained again. Raises OSError if the folder is not there."""
    return max((path.stat().st_mtime_ns for path in folder.iterdir()), default=0)
