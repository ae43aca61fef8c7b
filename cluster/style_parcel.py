"""The files that a style needs, as bytes that travel to the workers: no folder must exist on their machines."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cli.infer_config import FastConfig


@dataclass(frozen=True)
class StyleParcel:
    """The flags of a call, and the files that they name.

    styles: name of each style folder -> its files by name. mask: name and bytes of the picture of --mask, or None.
    """

    config: FastConfig
    styles: Mapping[str, Mapping[str, bytes]]
    mask: tuple[str, bytes] | None

    def unpacked(self, folder: Path) -> FastConfig:
        """Writes the files below `folder`; returns the flags with their paths there."""
        places = {}
        for name, files in self.styles.items():
            places[name] = Path(tempfile.mkdtemp(dir=folder)) / Path(name).name
            for file, content in files.items():
                path = places[name] / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        config, mask = self.config, None
        if self.mask is not None:
            mask = folder / self.mask[0]
            mask.write_bytes(self.mask[1])
        if config.blend:
            blend = tuple((str(places[style]), weight) for style, weight in config.blend)
            return replace(config, blend=blend, mask=mask)
        return replace(config, style=str(places[config.style]), mask=mask)


def packed_style(config: FastConfig) -> StyleParcel:
    """Reads the styles and the mask of a call. Raises StyleError, ImageError for the mask, and OSError."""
    from data.images import load_mask
    from transformer.export.style_folder import find_style

    names = [style for style, _ in config.blend] or [config.style]
    folders = {name: find_style(name).resolve() for name in names}
    styles = {
        str(folder): {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        for folder in folders.values()
    }
    renamed = replace(
        config,
        style=None if config.style is None else str(folders[config.style]),
        blend=tuple((str(folders[style]), weight) for style, weight in config.blend),
    )
    if config.mask is not None:
        load_mask(config.mask)  # its faults name the path that the user gave
    mask = None if config.mask is None else (f"mask{config.mask.suffix}", config.mask.read_bytes())
    return StyleParcel(renamed, styles, mask)
