"""What visitors ask of a training, checked by the rules of train.py before anything is written."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.flags import UsageError
from cli.train_config import TrainConfig, settled
from system.program import ROOT
from transformer.export.style_folder import hiding_style, named_styles
from web.pictures import without_flags
from web.studio.config import StudioConfig
from web.studio.uploads import Upload

PREVIEWS = tuple(ROOT / "examples" / name for name in ("chelsea.jpg", "coffee.jpg"))
MOST_NAME_CHARACTERS = 60
MOST_PHOTOS = 2000  # that a visitor may send
GRID_WEIGHTS = 3  # columns of the preview grid; each takes a minute or two


@dataclass(frozen=True)
class TrainingRequest:
    """What a visitor asks for. folder: a name among those of --content-dir; "" means the photos that were sent."""

    painting: Upload
    name: str
    folder: str = ""
    photos: tuple[Upload, ...] = ()
    preset: str = TrainConfig.preset
    style_weight: float | None = None
    steps: int = TrainConfig.steps


def checked_values(
    request: TrainingRequest, config: StudioConfig, folders: Collection[str], styles_dir: Path
) -> dict[str, Any]:
    """The flags of a training without its inputs, by the rules of train.py. Raises UsageError.

    folders: the names of the operator's folders of photos. styles_dir: where the style is to be written.
    """
    if request.folder and request.folder not in folders:
        raise UsageError("there is no folder of this name; choose one of the list")
    if not request.folder and not 1 <= len(request.photos) <= MOST_PHOTOS:
        raise UsageError(f"give 1 to {MOST_PHOTOS} photos to train on, got {len(request.photos)}")
    if not 1 <= request.steps <= config.max_training_steps:
        raise UsageError(
            f"steps must be 1 to {config.max_training_steps}, got {request.steps}; fewer are faster"
        )
    if not re.search(r"\w", request.name) or len(request.name) > MOST_NAME_CHARACTERS:
        raise UsageError(f"give the style a name of 1 to {MOST_NAME_CHARACTERS} characters, such as my_style")
    values = {
        "name": request.name,
        "preset": request.preset,
        "style_weight": request.style_weight,
        "steps": request.steps,
        "summary_every": max(1, min(50, request.steps // 50)),
        "save_every": max(1, min(500, request.steps // 4)),
        "vgg": config.vgg,
        "output_dir": styles_dir,
        "preview": tuple(path for path in PREVIEWS if path.is_file()),
    }
    try:
        settled({**values, "style": request.painting.path, "content_dir": Path("photos")})
    except UsageError as error:
        raise UsageError(without_flags(str(error))) from error
    return values


def check_new(name: str, config: StudioConfig, styles_dir: Path) -> None:
    """Raises UsageError for the name of a style that exists: no visitor replaces or hides one.

    A style may be offered from another folder than `styles_dir`, and the new one could come before it.
    """
    style_dir = styles_dir / name
    offered = {path.name.casefold() for path in named_styles(config.styles_dir).values()}
    if style_dir.exists() or hiding_style(style_dir) or name.casefold() in offered:
        raise UsageError(f"a style called {name} exists already; choose another name")


def grid_weights(values: dict) -> list[float]:
    """The style weights of a preview grid, around that of the training."""
    from cli.preview_grid import weights_around

    loss = {name: values[name] for name in ("preset", "style_weight")}
    weights = weights_around(settled({"style": Path("x"), "content_dir": Path("x"), **loss}).style_weight)
    middle = len(weights) // 2
    return weights[middle - 1 : middle - 1 + GRID_WEIGHTS]
