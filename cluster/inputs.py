"""The photos of a call on a cluster: those of folders, patterns, manifests and object stores, and where pictures go."""

import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cluster.report import REPORT_FOLDER
from cluster.stores import (
    Store,
    fault_text,
    glob_levels,
    glob_root,
    glob_rule,
    has_glob,
    joined,
    opened_store,
)
from data.images import ImageError
from data.listing import find_images, image_suffixes
from system.console import printable

TEXT_MANIFESTS = frozenset({".txt", ".lst"})
PARQUET_COLUMN = "path"
MOST_MANIFEST_BYTES = 2**34  # of text


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
        if store not in self.stores:
            self.stores.append(store)
        return self.stores.index(store)


def find_sources(inputs: Iterable[str]) -> Sources:
    """Lists the photos of all inputs, each once. What cannot be used is in `faults`; nothing is raised for it."""
    sources = Sources()
    for text in inputs:
        try:
            _add(sources, text)
        except ImageError as error:
            sources.faults.append(str(error))
        except Exception as error:  # of many libraries
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
    unread = list(map(str, listing.unread))
    sources.notes += [line for line in listing.skipped_lines() if line not in map(printable, unread)]
    sources.faults += [*map(str, listing.errors), *unread]
    number, is_folder = sources.number_of(store), os.path.isdir(path)
    for image in listing.images:
        place = str(image.relative_to(path)) if is_folder else image.name
        sources.photos.append(
            Source(number, str(image), place, os.path.getsize(image) if image.exists() else -1)
        )
    if is_folder:
        sources.roots.append((number, path))


def _add_folder(sources: Sources, store: Store, folder: str) -> None:
    _add_listed(sources, store, folder, lambda place: True, store.address(folder), None)


def _add_matching(sources: Sources, store: Store, pattern: str) -> None:
    root, rule = glob_root(pattern), glob_rule(pattern)
    _add_listed(
        sources,
        store,
        root,
        lambda place: rule.match(joined(root, place)) is not None,
        store.address(pattern),
        glob_levels(pattern),
    )


def _add_listed(
    sources: Sources,
    store: Store,
    folder: str,
    is_wanted: Callable[[str], bool],
    shown: str,
    most_levels: int | None,
) -> None:
    """Adds the images below a folder. Hidden names and reports are left out; other files are counted."""
    number, readable, others = sources.number_of(store), image_suffixes(), Counter()
    found = []
    for path, size in store.sizes_below(folder, most_levels=most_levels):
        place = posixpath.relpath(path, folder) if folder else path
        names = place.split("/")
        if REPORT_FOLDER in names or any(name.startswith(".") for name in names) or not is_wanted(place):
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
        try:
            entry_store, entry_path = _entry(store, folder, name)
        except ImageError as error:
            sources.faults.append(f"{shown}: {error}")
            continue
        place = ".." if _is_absolute(name) else posixpath.relpath(entry_path, folder)
        if place.split("/")[0] == "..":
            listed.append((sources.number_of(entry_store), entry_path))
        else:
            relative.append(Source(sources.number_of(store), entry_path, place, -1))
    if not listed and not relative:
        raise ImageError(
            f"{shown}: the manifest names no photos; give one path or address per line, or per row"
        )
    sources.photos += [*relative, *_placed(listed)]


def _is_absolute(name: str) -> bool:
    return "://" in name or name.startswith("/")


def _entry(store: Store, folder: str, name: str) -> tuple[Store, str]:
    """The store and path of an entry of a manifest. Raises ImageError."""
    if "://" in name:
        entry_store, path = opened_store(name)
    else:
        entry_store, path = store, posixpath.normpath(posixpath.join(folder, name))
    # In an object store, two dots are an ordinary name, but none that a picture may have.
    is_elsewhere = "://" not in name and not store.is_local and path.split("/")[0] != folder.split("/")[0]
    if is_elsewhere or ".." in path.split("/"):
        raise ImageError(f"{name}: leads out of its bucket or folder; give a path without ..")
    return entry_store, path


def _text_names(store: Store, path: str) -> list[str]:
    content = store.read(path, MOST_MANIFEST_BYTES).removeprefix(b"\xef\xbb\xbf")
    if b"\0" in content:
        raise ImageError(f"{store.address(path)}: the manifest must be text, one path per line")
    lines = (os.fsdecode(line.removesuffix(b"\r")) for line in content.split(b"\n"))
    return [line for line in lines if line.strip()]


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
    """Absolute entries of a manifest: the target repeats the tree below the folder that those of a store share."""
    shared = {}
    for number in {number for number, _ in listed}:
        folders = {posixpath.dirname(path) for store, path in listed if store == number}
        shared[number] = posixpath.commonpath(folders) if "" not in folders else ""
    return [
        Source(store, path, posixpath.relpath(path, shared[store]) if shared[store] else path, -1)
        for store, path in listed
    ]


class Target(NamedTuple):
    """Where a picture goes, below the target.

    spare: the name if the format of the photo cannot hold the picture; "" if another picture has it. fault: why the
    photo has no picture; "" otherwise.
    """

    place: str = ""
    spare: str = ""
    fault: str = ""


def targets_of(photos: Sequence[Source], picture_name: str, suffix_of: Callable[[str], str]) -> list[Target]:
    """Returns the target of each photo.

    The names are those of the command for one machine, see cli/targets.py; but for photos whose format cannot hold the
    picture, which nobody knows before they are read. suffix_of: place of a photo -> suffix of its picture, as far as
    the name tells.
    """
    split = [_split(photo.place) for photo in photos]
    names = [(stem, suffix_of(photo.place)) for (stem, _), photo in zip(split, photos, strict=True)]
    sharing = Counter(dict(zip((photo.place for photo in photos), names, strict=True)).values())
    taken: set[str] = set()
    places = []
    for photo, (stem, kind), name in zip(photos, split, names, strict=True):
        mark = f"_{kind}" if sharing[name] > 1 else ""
        place = f"{stem}{mark}_{picture_name}{name[1]}"
        if photo.place.startswith("/") or ".." in photo.place.split("/"):
            places.append(Target(fault="has no place below the target; give a path without .."))
        elif place in taken:
            places.append(Target(fault=f"would become {place}, like another photo; stylize it separately"))
        else:
            places.append(Target(place))
            taken.add(place)
    return [_with_spare(*both, picture_name, taken) for both in zip(places, split, strict=True)]


def _with_spare(target: Target, split: tuple[str, str], picture_name: str, taken: set[str]) -> Target:
    """Adds the spare name, which becomes one of those `taken`."""
    if target.fault or target.place.endswith(".png"):
        return target._replace(spare=target.place)
    stem, kind = split
    wanted = (f"{stem}{mark}_{picture_name}.png" for mark in ("", f"_{kind}"))
    spare = next((place for place in wanted if place not in taken), "")
    taken.add(spare)
    return target._replace(spare=spare)


def _split(place: str) -> tuple[str, str]:
    """The path without its suffix, and the suffix without its dot, as pathlib splits names."""
    folder, name = posixpath.split(place)
    path = Path(name)
    return joined(folder, path.stem), path.suffix[1:]
