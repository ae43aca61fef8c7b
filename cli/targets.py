"""Where pictures and videos go: their names and formats, which exist already, and that none replaces an input."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cli.flags import UsageError
from cli.infer_config import FastConfig
from system.files import ignores_case


def _png(_photo_path: Path) -> str:
    return ".png"


def target_paths(
    given: Sequence[Path],
    photos: Sequence[Path],
    output: Path | None,
    picture_name: str,
    suffix_of: Callable[[Path], str] = _png,
) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Returns the picture of each photo, and for photos that have no picture of their own the reason.

    given: the inputs of the call, files and folders. photos: those that were found in them. suffix_of: the suffix of
    the picture of a photo; not asked where `output` is the picture.

    One photo: `output` is the picture, or a folder if it is one already or has no suffix. Several photos: `output` is
    a folder, which repeats the tree of each input folder. A picture is called PHOTO_`picture_name` and its
    suffix. Photos whose pictures would have one name keep their suffix in it: 03_gif_NAME.png and 03_png_NAME.png.
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
    names = {path: (place.with_suffix(""), suffix_of(path)) for path, place in places.items()}
    sharing = Counter({place: names[path] for path, place in places.items()}.values())
    wanted = {}
    for path, place in places.items():
        kind = f"_{place.suffix[1:]}" if sharing[names[path]] > 1 else ""
        wanted[path] = folder / place.with_name(f"{place.stem}{kind}_{picture_name}{names[path][1]}")
    return _distinct(wanted, folder)


def _distinct(wanted: Mapping[Path, Path], folder: Path) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Returns the first photo of each picture with it, and for the others the reason why they have none."""
    spelling = _spelling_rule(wanted.values(), folder)
    targets: dict[Path, Path] = {}
    faults: dict[Path, str] = {}
    owners: dict[str, Path] = {}
    for path, target in wanted.items():
        owner = owners.setdefault(spelling(target), path)
        if owner is path:
            targets[path] = target
        else:
            faults[path] = f"would become {target}, like {owner}; stylize it separately"
    return targets, faults


def without_clips(targets: dict[Path, Path], faults: dict[Path, str], clips: Mapping[Path, Path]) -> None:
    """Moves the photos whose picture would be the file of a clip from `targets` to `faults`."""
    owners = {_identity(target): clip for clip, target in clips.items()}
    for path, target in list(targets.items()):
        if (owner := owners.get(_identity(target))) is not None:
            faults[path] = f"would become {target}, like {owner}; stylize it separately"
            del targets[path]


def _spelling_rule(targets: Iterable[Path], folder: Path) -> Callable[[Path], str]:
    """The function that gives paths of one file one text. Some file systems ignore the case of names."""
    different = set(map(str, targets))
    may_clash = len({text.casefold() for text in different}) < len(different)
    return (lambda path: str(path).casefold()) if may_clash and ignores_case(folder) else str


def _place(path: Path, folders: Iterable[Path]) -> Path:
    """A photo's path below the input folder that it was found in; its name if it was given by itself."""
    for folder in folders:
        if path.is_relative_to(folder):
            return path.relative_to(folder)
    return Path(path.name)


def suffix_rule(config: FastConfig) -> Callable[[Path], str]:
    """The function that tells the suffix of the picture of a photo, where -o does not name it."""
    from data.picture_format import picture_suffix

    if config.format is not None:
        return lambda photo_path: f".{config.format}"
    max_side = None if config.restore_size else config.max_side
    return lambda photo_path: picture_suffix(photo_path, max_side=max_side)


def check_format(config: FastConfig, targets: Iterable[Path]) -> None:
    """Raises UsageError if -o names a file of another format than --format."""
    from data.picture_format import is_same_format

    for target in targets:
        if config.format is not None and not is_same_format(target.suffix, f".{config.format}"):
            raise UsageError(
                f"-o {target}: its suffix contradicts --format {config.format}; leave out one of them"
            )


def without_pictures(targets: Mapping[Path, Path]) -> list[Path]:
    """The photos whose pictures do not exist. Removes what killed runs left beside the pictures."""
    from system.files import remove_leftovers

    for folder in {target.parent for target in targets.values()}:
        remove_leftovers(folder)
    return [path for path, target in targets.items() if not os.path.isfile(target)]


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
