"""Where pictures go: their names, and that no output replaces an input."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cli.flags import UsageError


def target_paths(
    given: Sequence[Path],
    photos: Sequence[Path],
    output: Path | None,
    picture_name: str,
    suffix_of: Callable[[Path], str] = lambda photo: ".png",
) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Returns the picture of each photo, and for photos that have no picture of their own the reason.

    given: the inputs of the call, files and folders. photos: those that were found in them.

    One photo: `output` is the picture, or a folder if it is one already or has no suffix. Several photos: `output` is
    a folder, which repeats the tree of each input folder. A picture is called PHOTO_`picture_name` and has the suffix
    that `suffix_of` gives for the photo. Photos that differ in their suffix
    only keep it in the name: 03_jpg_NAME.png and 03_png_NAME.png.
    Raises UsageError where `output` is a file and several pictures are to be written.
    """
    folders = [path for path in given if os.path.isdir(path)]
    is_single = len(given) == len(photos) == 1 and not folders
    names_file = output is not None and output.suffix != "" and not os.path.isdir(output)
    if names_file and is_single:
        return {photos[0]: output}, {}
    if names_file:
        raise UsageError(
            f"-o {output}: is one file, but the input is several photos or videos, or a folder; give a folder"
        )
    folder = output or Path()
    places = {path: _place(path, folders) for path in photos}
    shared_stems = Counter(place.with_suffix("") for place in places.values())
    targets: dict[Path, Path] = {}
    faults: dict[Path, str] = {}
    owners: dict[Path, Path] = {}
    for path, place in places.items():
        own_suffix = f"_{place.suffix[1:]}" if shared_stems[place.with_suffix("")] > 1 else ""
        target = folder / place.with_name(f"{place.stem}{own_suffix}_{picture_name}{suffix_of(path)}")
        owner = owners.setdefault(target, path)
        if owner is path:
            targets[path] = target
        else:
            faults[path] = f"would become {target}, like {owner}; stylize it separately"
    return targets, faults


def _place(path: Path, folders: Iterable[Path]) -> Path:
    """A photo's path below the input folder that it was found in; its name if it was given by itself."""
    for folder in folders:
        if path.is_relative_to(folder):
            return path.relative_to(folder)
    return Path(path.name)


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Raises UsageError if an output is the same file as an input, also by a link or another spelling."""
    known = {_identity(path): path for path in inputs if path is not None}
    for output in outputs:
        if (owner := known.get(_identity(output))) is not None:
            raise UsageError(
                f"{output}: is the input {owner}, which would be replaced; write to another file"
            )


def check_distinct(outputs: Mapping[str, Path]) -> None:
    """Raises UsageError if two outputs, each given by its flag, are the same file."""
    known: dict[tuple, str] = {}
    for flag_name, path in outputs.items():
        other = known.setdefault(_identity(path), flag_name)
        if other != flag_name:
            raise UsageError(f"{flag_name} {path}: is the file of {other} too; write to another file")


def check_folder_outputs(outputs: Iterable[Path], folders: Iterable[Path]) -> None:
    """Raises UsageError if an output goes into an input folder: the next call would read it as a photo."""
    searched = [(Path(os.path.realpath(folder)), folder) for folder in folders]
    for output in outputs:
        parent = Path(os.path.realpath(output.parent))
        for real_folder, folder in searched:
            if parent.is_relative_to(real_folder):
                raise UsageError(
                    f"{output}: lies in the input folder {folder}, so the next call would read it as a photo; write"
                    " to another folder"
                )


def _identity(path: Path) -> tuple:
    """Equal for two names of one file."""
    try:
        status = os.stat(path)
    except OSError:
        return (os.path.realpath(path),)
    return status.st_dev, status.st_ino
