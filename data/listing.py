"""Finds the images among files and folders, and reports the files that cannot be used."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data.decoding import ImageError, can_read_avif
from data.encoding import SAVE_SUFFIXES
from data.video import VIDEO_SUFFIXES

_CAMERA_SUFFIXES = (  # raw files
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw", ".orf", ".pef",
    ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srw", ".x3f",
)  # fmt: skip
# Suffixes of images that users expect to be read, but that are not; .avif only counts where Pillow cannot read it.
UNSUPPORTED_SUFFIXES = frozenset(_CAMERA_SUFFIXES) | {
    ".avif", ".exr", ".hdr", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpx", ".jxl", ".pgm",
    ".ppm", ".psb", ".psd", ".svg", ".svgz", ".tga", ".xcf",
}  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """The result of `find_images`.

    images: each file once, in the order in which they were found.
    skipped: the files with images or videos that a folder contains and that are not used, by folder.
    errors: one for each input that is missing, and for each folder without images.
    """

    images: list[Path] = field(default_factory=list)
    skipped: dict[Path, list[Path]] = field(default_factory=dict)
    errors: list[ImageError] = field(default_factory=list)

    def skipped_lines(self) -> list[str]:
        """Returns one line for each folder with skipped files: how many of which kind, and what to do."""
        return [
            f"{folder}: {len(paths)} file{'s' if len(paths) > 1 else ''} skipped: {_counts(paths)}; {_remedy(paths)}"
            for folder, paths in self.skipped.items()
        ]


def find_images(inputs: Iterable[Path]) -> Listing:
    """Lists files as given, whatever their suffix, and the images in folders, recursively and sorted by path.

    In folders, only files with one of `image_suffixes()` count. Hidden files and folders are ignored.
    Nothing is raised for inputs that cannot be used; they are in `errors`.
    """
    listing, seen = Listing(), set()
    for given in map(Path, inputs):
        try:
            found = _find(given, listing)
        except ImageError as error:
            listing.errors.append(error)
            continue
        for path in found:
            absolute = os.path.abspath(path)
            if absolute not in seen:
                seen.add(absolute)
                listing.images.append(path)
    return listing


def list_images(inputs: Iterable[Path]) -> list[Path]:
    """Returns the images that `find_images` finds.

    Raises ImageError for the first input that is missing or is a folder without images.
    """
    listing = find_images(inputs)
    if listing.errors:
        raise listing.errors[0]
    return listing.images


def image_suffixes() -> frozenset[str]:
    """Returns the suffixes of the images that are read from folders, lower case, with the dot."""
    return SAVE_SUFFIXES | {".gif"} | ({".avif"} if can_read_avif() else set())


def _find(path: Path, listing: Listing) -> list[Path]:
    # os.path and not Path: it returns False where Path.is_file raises (a locked folder, an overlong name).
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise ImageError(f"{path}: no such file or folder; check the spelling")
    readable = image_suffixes()
    found = _files_with(path, readable | UNSUPPORTED_SUFFIXES | VIDEO_SUFFIXES)
    images = [file for file in found if file.suffix.lower() in readable]
    skipped = [file for file in found if file.suffix.lower() not in readable]
    if not images and skipped:
        raise ImageError(
            f"{path}: the folder holds no images that can be read, but {_counts(skipped)}; {_remedy(skipped)}"
        )
    if not images:
        raise ImageError(f"{path}: the folder holds no images; supported are {' '.join(sorted(readable))}")
    if skipped:
        listing.skipped[path] = skipped
    return images


def _files_with(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not _is_hidden(path.relative_to(folder)) and path.is_file()
    )


def _is_hidden(relative_path: Path) -> bool:
    return any(part.startswith(".") for part in relative_path.parts)


def _counts(paths: list[Path]) -> str:
    """For example "10 .heic, 2 .mp4"."""
    counts = Counter(path.suffix.lower() for path in paths)
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {suffix}" for suffix, count in most_first)


def _remedy(paths: list[Path]) -> str:
    videos = sum(path.suffix.lower() in VIDEO_SUFFIXES for path in paths)
    remedies = ["convert images to JPEG or PNG first"] if videos < len(paths) else []
    return "; ".join(remedies + ["stylize videos one at a time"] * bool(videos))
