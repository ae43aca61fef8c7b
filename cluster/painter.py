"""What a worker does with one photo: the bytes of its file in, those of its picture out, the same as on one machine."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.call_folder import MEMORY_FOLDER, own_folder
from cluster.style_parcel import StyleParcel
from system.console import printable

# The files of one photo are in memory for a moment, if there is room. On a disk each picture would wait for the disk,
# because pictures are written as safely as those that users keep.
_LEAST_ROOM = 2**30  # bytes
_MOST_BYTES_IN_MEMORY = 2**23  # of a photo's file
_NAME_BYTES = 200  # of a photo's name there; file systems allow 255 for a name and its suffix


@dataclass(frozen=True)
class Picture:
    """The picture of a photo, or the reason why there is none.

    content: the bytes of the file. is_spare: the format of the photo could not hold it, so that it is a PNG file.
    Sizes are (height, width), (0, 0) where unknown. notes: metadata that the format cannot store.
    """

    content: bytes = b""
    reason: str = ""
    is_spare: bool = False
    size_in: tuple[int, int] = (0, 0)
    size_out: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    notes: str = ""


class Painter:
    """One loaded style in one worker.

    threads: that a photo may use. expected_pixels: of all photos together, which decides about the runtime.
    notes: lines about the runtime, such as why a GPU is not used. call: its name, see call_folder.py.
    """

    def __init__(self, parcel: StyleParcel, threads: int, expected_pixels: float, call: str):
        from cli.painting import PhotoPainter
        from cli.styles import load_controls, load_styles

        self._disk = own_folder(call)
        self._memory = own_folder(call, MEMORY_FOLDER) if MEMORY_FOLDER.is_dir() else self._disk
        self._config = parcel.unpacked(self._disk)
        reported: list[str] = []
        stylizer = load_styles(self._config, threads, expected_pixels, report=reported.append)
        self.notes = tuple(reported)
        self._painter = PhotoPainter(
            stylizer,
            load_controls(self._config),
            threads,
            stroke_scale=self._config.stroke_scale,
            max_memory=self._config.max_memory,
        )

    def painted(self, name: str, content: bytes, place: str) -> Picture:
        """Returns the picture of a photo. Whatever is wrong with one photo is its `reason`.

        name: the address of the photo, which messages name. content: its file. place: where its picture will be.
        """
        start = time.perf_counter()
        with (
            self._faults(name) as faults,
            tempfile.TemporaryDirectory(dir=self._folder_for(content)) as folder,
        ):
            photo_path = Path(folder) / _short(name)
            faults.local = str(photo_path)
            photo_path.write_bytes(content)
            picture = self._picture(photo_path, Path(folder), place)
            return _timed(picture, start)
        return _timed(Picture(reason=faults.reason), start)

    def _folder_for(self, content: bytes) -> Path:
        has_room = shutil.disk_usage(self._memory).free >= _LEAST_ROOM
        return self._memory if has_room and len(content) <= _MOST_BYTES_IN_MEMORY else self._disk

    def _picture(self, photo_path: Path, folder: Path, place: str) -> Picture:
        from data.photo import load_photo, save_photo
        from data.picture_format import picture_suffix

        config = self._config
        photo = load_photo(photo_path, max_side=config.max_side)
        suffix = Path(place).suffix
        is_spare = False
        if config.format is None:
            max_side = None if config.restore_size else config.max_side
            is_spare = picture_suffix(photo_path, max_side=max_side) != suffix
        target = folder / f"picture{'.png' if is_spare else suffix}"
        painted = self._painter.painted(photo, target, lambda is_tiled: nullcontext(lambda share: None))
        notes = save_photo(target, painted.canvas, photo, restore_size=config.restore_size)
        size = photo.full_size if config.restore_size else photo.shape[:2]
        content = target.read_bytes()
        return Picture(content, "", is_spare, photo.full_size, tuple(size), notes="; ".join(notes))

    @contextmanager
    def _faults(self, name: str) -> Iterator["_Faults"]:
        """Within this context, what is wrong with a photo becomes its reason: it must not end the work on others."""
        faults = _Faults()
        try:
            yield faults
        except Exception as error:
            from data.images import ImageError
            from transformer.export.style_folder import StyleError

            known = isinstance(error, ImageError | StyleError | MemoryError | OSError)
            text = printable(error) or ("not enough memory" if isinstance(error, MemoryError) else "")
            text = (text or type(error).__name__) if known else f"unexpected {type(error).__name__}: {text}"
            faults.reason = text.replace(printable(faults.local), printable(name)) if faults.local else text


class _Faults:
    reason = ""
    local = ""  # the path of the photo in the folder of the worker


def _short(name: str) -> str:
    """The last name of an address, cut to what a file system allows; the suffix stays."""
    path = Path(name.rpartition("/")[2] or "photo")
    stem = path.stem.encode("utf-8", "surrogateescape")[:_NAME_BYTES].decode("utf-8", "ignore")
    return f"{stem or 'photo'}{path.suffix[:40]}"


def _timed(picture: Picture, start: float) -> Picture:
    return replace(picture, seconds=time.perf_counter() - start)
