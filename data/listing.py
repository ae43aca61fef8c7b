"""Finds the images among files and folders, and reports the files that cannot be used."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data.clip_formats import VIDEO_SUFFIXES
from data.containers import (
    HEADER_BYTES,
    HEIF_SUFFIXES,
    JPEG_SUFFIXES,
    can_read_avif,
    can_read_heif,
    format_of,
)
from data.encoding import SAVE_SUFFIXES
from data.picture import ImageError
from system.console import printable
from system.files import open_regular

_CAMERA_SUFFIXES = (  # raw files
    ".3fr", ".ari", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc",
    ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw",
    ".x3f",
)  # fmt: skip
# Suffixes of images that users expect to be read, but that are not. .avif and those of HEIC count only where the
# installed packages cannot read them.
UNSUPPORTED_SUFFIXES = frozenset(_CAMERA_SUFFIXES) | HEIF_SUFFIXES | {
    ".ai", ".avif", ".bpg", ".cur", ".dds", ".dib", ".djvu", ".emf", ".eps", ".exr", ".hdr", ".icns", ".ico", ".j2k",
    ".jp2", ".jpf", ".jpx", ".jxl", ".jxr", ".livp", ".pam", ".pbm", ".pcx", ".pdf", ".pgm", ".pnm", ".ppm", ".psb",
    ".psd", ".qoi", ".sgi", ".svg", ".svgz", ".tga", ".wdp", ".wmf", ".xcf",
}  # fmt: skip
# Suffixes of videos that are not read either.
UNSUPPORTED_VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".divx", ".f4v", ".flv", ".insv", ".lrv", ".m2t", ".m2ts", ".mjpeg", ".mts", ".mxf", ".ogm",
    ".ogv", ".rm", ".rmvb", ".vob",
}) - VIDEO_SUFFIXES  # fmt: skip


_NOT_REGULAR = "is not a file but a pipe, socket or device; give an image file"


@dataclass(frozen=True)
class Listing:
    """The result of `find_images`.

    images: each file once, in the order in which they were found.
    skipped: the files with images or videos that a folder contains and that are not used, by folder.
    errors: one for each input that is missing, and for each folder without images.
    unread: one for each place below a folder with images that cannot be read and may hold more of them: a folder
    without permission, a broken link, a pipe with the name of an image.
    """

    images: list[Path] = field(default_factory=list)
    skipped: dict[Path, list[Path]] = field(default_factory=dict)
    errors: list[ImageError] = field(default_factory=list)
    unread: list[ImageError] = field(default_factory=list)

    def skipped_lines(self) -> list[str]:
        """Returns one line for each place that cannot be read, and one for each folder with skipped files.

        The latter says how many files of which kind, and what to do.
        """
        skipped = [
            f"{folder}: {len(paths)} file{'s' if len(paths) > 1 else ''} skipped: {_counts(paths)}; {_remedy(paths)}"
            for folder, paths in self.skipped.items()
        ]
        return [printable(line) for line in [*map(str, self.unread), *skipped]]


def find_images(inputs: Iterable[Path]) -> Listing:
    """Lists files as given, whatever their suffix, and the images in folders, recursively and sorted by path.

    In folders, only files with one of `image_suffixes()` count; files of other kinds that users may expect to be read
    are in `skipped`. What several inputs have in common is listed once. Hidden files and folders are ignored. Links to
    files are followed; links to folders are not, and are reported if they lead out of the folder.
    Nothing is raised for inputs that cannot be used; they are in `errors`, and what is below a folder in `unread`.
    """
    return _listing(inputs, image_suffixes())


def find_videos(inputs: Iterable[Path]) -> Listing:
    """Lists files as given and the videos in folders, like `find_images`; `images` of the result are the videos."""
    return _listing(inputs, VIDEO_SUFFIXES)


def holds_only_videos(folder: Path) -> bool:
    """Returns whether a folder holds videos, but no images that are read from folders. Stops at the first image."""
    has_video, images = False, image_suffixes()
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        suffixes = {Path(name).suffix.lower() for name in names if not name.startswith(".")}
        if suffixes & images:
            return False
        has_video |= bool(suffixes & VIDEO_SUFFIXES)
    return has_video


def _listing(inputs: Iterable[Path], readable: frozenset[str]) -> Listing:
    listing, seen = Listing(), set()
    for given in _once(map(Path, inputs), set()):
        try:
            listing.images.extend(_once(_find(given, listing, readable, seen), seen))
        except ImageError as error:
            listing.errors.append(error)
    return listing


def _once(paths: Iterable[Path], seen: set[str]) -> Iterator[Path]:
    """Yields the paths that are not in `seen` yet, and adds them to it."""
    for path in paths:
        absolute = os.path.abspath(path)
        if absolute not in seen:
            seen.add(absolute)
            yield path


def list_images(inputs: Iterable[Path]) -> list[Path]:
    """Returns the images that `find_images` finds.

    Raises ImageError for the first input that is missing or is a folder without images that can be read.
    """
    listing = find_images(inputs)
    if listing.errors:
        raise listing.errors[0]
    return listing.images


def image_suffixes() -> frozenset[str]:
    """Returns the suffixes of the images that are read from folders, lower case, with the dot."""
    optional = ({".avif"} if can_read_avif() else set()) | (HEIF_SUFFIXES if can_read_heif() else set())
    return SAVE_SUFFIXES | JPEG_SUFFIXES | {".apng", ".gif"} | optional


def _find(path: Path, listing: Listing, readable: frozenset[str], seen: set[str]) -> list[Path]:
    """Returns the readable files of one input. What else a folder holds goes into `listing`, unless it is in `seen`."""
    if not _is_folder(path):
        return [path]
    known = readable | UNSUPPORTED_SUFFIXES | VIDEO_SUFFIXES | UNSUPPORTED_VIDEO_SUFFIXES
    found, unread = _files_with(path, known)
    images = [file for file in found if file.suffix.lower() in readable]
    skipped = [file for file in found if file.suffix.lower() not in readable]
    if images:
        known_faults = set(map(str, listing.unread))
        listing.unread.extend(error for error in unread if str(error) not in known_faults)
        if skipped := list(_once(skipped, seen)):
            listing.skipped[path] = skipped
    elif unread:
        listing.errors.extend(unread)
    elif skipped:
        raise ImageError(
            f"{path}: the folder holds no images that can be read, but {_counts(skipped)}; {_remedy(skipped)}"
        )
    else:
        raise ImageError(f"{path}: the folder holds no images; supported are {' '.join(sorted(readable))}")
    return images


def _is_folder(path: Path) -> bool:
    """Returns whether an input is a folder and not a file; raises ImageError if it is neither."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "a broken link" if os.path.islink(path) else "no such file or folder"
        raise ImageError(f"{path}: {what}; check the spelling") from error
    except (OSError, ValueError) as error:
        raise _unread(path, error) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ImageError(f"{path}: {_NOT_REGULAR}")
    return stat.S_ISDIR(mode)


def _files_with(folder: Path, suffixes: frozenset[str]) -> tuple[list[Path], list[ImageError]]:
    """Returns the files below a folder that have one of the suffixes, or none but an image, and what cannot be read.

    Both are sorted.
    """
    found: list[Path] = []
    unread: list[ImageError] = []
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as scan:
                entries = [entry for entry in scan if not entry.name.startswith(".")]
        except OSError as error:
            unread.append(_unread(current, error))
            continue
        for entry in entries:
            path = current / entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif path.suffix.lower() in suffixes or entry.is_symlink():
                    _add_file(folder, path, suffixes, found)
                elif not path.suffix and _holds_image(path):
                    found.append(path)
            except ImageError as error:
                unread.append(error)
            except OSError as error:
                unread.append(_unread(path, error))
    return sorted(found), sorted(unread, key=str)


def _holds_image(path: Path) -> bool:
    """Returns whether a file starts like an image; nobody misses one that cannot be opened."""
    try:
        with open_regular(path) as stream:
            return format_of(stream.read(HEADER_BYTES)) is not None
    except OSError:
        return False


def _add_file(folder: Path, path: Path, suffixes: frozenset[str], found: list[Path]) -> None:
    """Adds a file with one of the suffixes. Raises ImageError for what cannot be read and may hold images."""
    is_wanted = path.suffix.lower() in suffixes
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if not is_wanted:  # a broken link to something else
            return
        if os.path.islink(path) and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise ImageError(f"{path}: a broken link; remove it or mend it") from error
        raise
    if stat.S_ISDIR(mode):
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise ImageError(
                f"{path}: a link to another folder is not followed; give that folder as an input too"
            )
    elif is_wanted and not stat.S_ISREG(mode):
        raise ImageError(f"{path}: {_NOT_REGULAR}")
    elif is_wanted:
        found.append(path)


def _unread(path: Path, error: Exception) -> ImageError:
    reason = getattr(error, "strerror", None) or error
    return ImageError(f"{path}: cannot be read: {reason}; check the path and its permissions")


def _counts(paths: list[Path]) -> str:
    """For example "10 .heic, 2 .mp4, 1 image without a suffix"."""
    counts = Counter(path.suffix.lower() for path in paths)
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    nameless = "image without a suffix" if counts[""] == 1 else "images without a suffix"
    return ", ".join(f"{count} {suffix or nameless}" for suffix, count in most_first)


def _remedy(paths: list[Path]) -> str:
    suffixes = {path.suffix.lower() for path in paths}
    them = "them" if suffixes <= HEIF_SUFFIXES else "HEIC"
    images = "other images" if suffixes & HEIF_SUFFIXES else "images"
    remedies = {
        f"pip install pillow-heif to read {them}": HEIF_SUFFIXES,
        f"convert {images} to JPEG or PNG first": UNSUPPORTED_SUFFIXES - HEIF_SUFFIXES,
        "give images a suffix, such as .jpg": {""},
        "convert videos to MP4 first": UNSUPPORTED_VIDEO_SUFFIXES,
        "to stylize videos, give them, or a folder of videos only": VIDEO_SUFFIXES,
    }
    return "; ".join(remedy for remedy, kinds in remedies.items() if suffixes & kinds)
