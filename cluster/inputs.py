"""The photos of a call on a cluster: those of folders, patterns, manifests and object stores, and where pictures go."""

import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cluster.stores import Store, fault_text, glob_root, glob_rule, has_glob, joined, opened_store
from data.images import ImageError
from data.listing import find_images, image_suffixes

TEXT_MANIFESTS = frozenset({".txt", ".lst"})
PARQUET_COLUMN = "path"


class Source(NamedTuple):
    """A photo: the number of its store in Sources.stores, its path there, its place below its input, and its bytes.

    bytes: -1 where the listing does not tell.
    """

    store: int
    path: str
    place: str
    bytes: int


@dataclass
class Sources:
    """What the inputs of a call hold. faults: one line for each input or place that cannot be used."""

    stores: list[Store] = field(default_factory=list)
    photos: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    roots: list[tuple[int, str]] = field(default_factory=list)  # folders that were searched: store, path

    def address(self, photo: Source) -> str:
        """Returns the address of a photo, as messages and reports show it."""
        return self.stores[photo.store].address(photo.path)

    def number_of(self, store: Store) -> int:
        """Returns the number of a store, which is added if it is new."""
        for number, known in enumerate(self.stores):
            if known.prefix == store.prefix and known.files.equals(store.files):
                return number
        self.stores.append(store)
        return len(self.stores) - 1


def find_sources(inputs: Iterable[str]) -> Sources:
    """Lists the photos of all inputs, each once. What cannot be used is in `faults`; nothing is raised for it."""
    sources = Sources()
    for text in inputs:
        try:
            _add(sources, text)
        except ImageError as error:
            sources.faults.append(str(error))
        except OSError as error:
            sources.faults.append(
                f"{text}: cannot be listed: {fault_text(error)}; check its name and your rights"
            )
    once = {(photo.store, photo.path): photo for photo in reversed(sources.photos)}
    sources.photos = list(once.values())[::-1]
    return sources


def _add(sources: Sources, text: str) -> None:
    store, path = opened_store(text)
    is_known = store.is_local and os.path.exists(path)  # a file may be called photo[1].jpg
    if has_glob(path) and not is_known:
        _add_matching(sources, store, path)
    elif posixpath.splitext(path)[1].lower() in {*TEXT_MANIFESTS, ".parquet"}:
        _add_manifest(sources, store, path)
    elif store.is_local:
        _add_local(sources, store, path)
    elif store.is_file(path):
        sources.photos.append(Source(sources.number_of(store), path, posixpath.basename(path), -1))
    else:
        _add_folder(sources, store, path)


def _add_local(sources: Sources, store: Store, path: str) -> None:
    """Adds a file or folder of this machine, with the rules and messages of the command for one machine."""
    listing = find_images([Path(path)])
    sources.notes += listing.skipped_lines()
    sources.faults += [str(error) for error in listing.errors]
    number, is_folder = sources.number_of(store), os.path.isdir(path)
    for image in listing.images:
        place = str(image.relative_to(path)) if is_folder else image.name
        sources.photos.append(
            Source(number, str(image), place, os.path.getsize(image) if image.exists() else -1)
        )
    if is_folder:
        sources.roots.append((number, path))


def _add_folder(sources: Sources, store: Store, folder: str) -> None:
    _add_listed(sources, store, folder, lambda place: True, store.address(folder))


def _add_matching(sources: Sources, store: Store, pattern: str) -> None:
    root, rule = glob_root(pattern), glob_rule(pattern)
    _add_listed(
        sources,
        store,
        root,
        lambda place: rule.match(joined(root, place)) is not None,
        store.address(pattern),
    )


def _add_listed(
    sources: Sources, store: Store, folder: str, is_wanted: Callable[[str], bool], shown: str
) -> None:
    """Adds the images below a folder. Hidden files and folders are left out; other files are counted."""
    number, readable, others = sources.number_of(store), image_suffixes(), Counter()
    found = []
    for path, size in store.sizes_below(folder):
        place = posixpath.relpath(path, folder) if folder else path
        if any(name.startswith((".", "_")) for name in place.split("/")) or not is_wanted(place):
            continue
        suffix = posixpath.splitext(place)[1].lower()
        if suffix in readable:
            found.append(Source(number, path, place, size))
        else:
            others[suffix or "without a suffix"] += 1
    if others:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(8))
        sources.notes.append(
            f"{shown}: {sum(others.values())} files skipped, which are no images by name: {counts}"
        )
    if not found:
        raise ImageError(f"{shown}: holds no images; supported are {' '.join(sorted(readable))}")
    sources.photos += sorted(found, key=lambda photo: photo.path)
    sources.roots.append((number, folder))


def _add_manifest(sources: Sources, store: Store, path: str) -> None:
    """Adds the photos that a manifest names. Relative names start from the folder of the manifest."""
    shown, folder = store.address(path), posixpath.dirname(path)
    is_text = posixpath.splitext(path)[1].lower() in TEXT_MANIFESTS
    names = _text_names(store, path) if is_text else _parquet_names(store, path)
    listed, relative = [], []
    for name in names:
        if "://" in name or name.startswith("/"):
            entry_store, entry_path = opened_store(name) if "://" in name else (store, name)
            listed.append((sources.number_of(entry_store), entry_path))
        else:
            place = posixpath.normpath(name)
            is_below = not place.startswith("..")
            relative.append((joined(folder, place), place if is_below else posixpath.basename(place)))
    if not listed and not relative:
        raise ImageError(
            f"{shown}: the manifest names no photos; give one path or address per line, or per row"
        )
    number = sources.number_of(store)
    sources.photos += [Source(number, posixpath.normpath(file), place, -1) for file, place in relative]
    sources.photos += _placed(listed)


def _text_names(store: Store, path: str) -> list[str]:
    content = store.read(path)
    try:
        return [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ImageError(
            f"{store.address(path)}: the manifest must be UTF-8 text, one path per line"
        ) from error


def _parquet_names(store: Store, path: str) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    shown = store.address(path)
    try:
        table = parquet.read_table(path, filesystem=store.files, columns=[PARQUET_COLUMN])
        column = table.column(PARQUET_COLUMN).cast(pyarrow.string())
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise ImageError(
            f"{shown}: cannot be read as a Parquet manifest with a text column {PARQUET_COLUMN!r}"
            f" ({fault_text(error)})"
        ) from error
    return (value for value in column.to_pylist() if value)


def _placed(listed: Sequence[tuple[int, str]]) -> list[Source]:
    """Absolute entries of a manifest: the tree below the folder that all of them share is repeated in the target."""
    folders = {posixpath.dirname(path) for _, path in listed}
    shared = posixpath.commonpath(folders) if folders and "" not in folders else ""
    return [
        Source(store, path, posixpath.relpath(path, shared) if shared else path.lstrip("/"), -1)
        for store, path in listed
    ]


class Target(NamedTuple):
    """Where a picture goes, below the target. spare: the name if the format of the photo cannot hold the picture."""

    place: str
    spare: str


def targets_of(
    photos: Sequence[Source], picture_name: str, suffix_of: Callable[[str], str]
) -> list[Target | None]:
    """Returns the target of each photo; None for a photo whose picture would replace that of an earlier one.

    The names are those of the command for one machine, see cli/targets.py. suffix_of: place of a photo -> suffix of
    its picture, as far as the name tells.
    """
    split = [_split(photo.place) for photo in photos]
    names = [(stem, suffix_of(photo.place)) for (stem, _), photo in zip(split, photos, strict=True)]
    sharing = Counter(dict(zip((photo.place for photo in photos), names, strict=True)).values())
    taken: set[str] = set()
    targets: list[Target | None] = []
    for (stem, kind), name in zip(split, names, strict=True):
        mark = f"_{kind}" if sharing[name] > 1 else ""
        place = f"{stem}{mark}_{picture_name}{name[1]}"
        spare = (
            place
            if name[1] == ".png"
            else f"{stem}{f'_{kind}' if (stem, '.png') in sharing else mark}_{picture_name}.png"
        )
        targets.append(None if place in taken else Target(place, spare))
        taken.add(place)
    return targets


def _split(place: str) -> tuple[str, str]:
    """The path without its suffix, and the suffix without its dot, as pathlib splits names."""
    folder, name = posixpath.split(place)
    path = Path(name)
    return joined(folder, path.stem), path.suffix[1:]
