"""The photos of a training: from their folder, or from the cache."""

from typing import Any

from cli.bars import progress_bar
from cli.flags import report
from cli.train_config import TrainConfig
from system.program import prog

CACHE_DETAIL = 2  # short side of cached photos in crops: the smallest crop shows half of the photo


def load_photos(config: TrainConfig) -> Any:
    """Returns a PhotoFolder, or a PhotoCache after packing what it lacks. Raises ImageError and OSError."""
    from data.photo_cache import SKIPPED_FILE, PhotoCache
    from data.pipeline import PhotoFolder
    from system.machine import available_cores

    folder = PhotoFolder(config.content_dir)
    if config.cache is None:
        return folder
    cache = PhotoCache(config.cache, folder.paths, CACHE_DETAIL * config.image_size)
    if missing := len(cache.missing):
        with progress_bar(total=missing, unit="photos", desc="packing photos") as bar:
            for done in cache.pack(threads=available_cores()):
                bar.update(done - bar.n)
    if skipped := len(cache.unreadable):
        report(prog("train"), f"{skipped} files skipped, see {config.cache / SKIPPED_FILE}")
    return cache
