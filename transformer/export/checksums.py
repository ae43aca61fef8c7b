"""SHA-256 digests of the files of a style, in style.json: {"sha256": {file name: digest}}.

They show damage, not malice: whoever can replace a file can replace its digest as well.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from system.files import NotAFile, open_regular
from transformer.export.style_folder import STYLE_FILE, StyleError, style_info

CHECKSUMS = "sha256"  # the key in style.json
MAX_FILE_BYTES = 2**30  # the files of our widest network take 160 MB, meta graphs with VGG 250 MB
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REMEDY = "copy the whole folder again or export the style again"


def file_digests(style_dir: Path) -> dict[str, str]:
    """Returns the digest of every file in the folder except style.json, by name."""
    paths = sorted(path for path in style_dir.iterdir() if path.name != STYLE_FILE)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def read_files(style_dir: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Reads files of a style and compares them with the digests in style.json; returns their bytes by name.

    A style without digests, such as one of another project, is not compared.
    Raises StyleError if a file cannot be read, is damaged or belongs to another style.
    """
    digests = _digests(style_dir)
    contents = {name: _read(style_dir / name) for name in names}
    if digests is None:
        return contents
    for name, content in contents.items():
        if name not in digests:
            raise StyleError(f"{style_dir / STYLE_FILE}: damaged: it has no digest of {name}; {_REMEDY}")
        if hashlib.sha256(content).hexdigest() != digests[name]:
            raise StyleError(
                f"{style_dir / name}: damaged or of another style: its SHA-256 digest is not the one in {STYLE_FILE};"
                f" {_REMEDY}, or delete {STYLE_FILE} to use the file unverified"
            )
    return contents


def _digests(style_dir: Path) -> dict[str, str] | None:
    """Returns the digests in style.json; None if there are none."""
    info = style_info(style_dir)
    if not isinstance(info, dict) or CHECKSUMS not in info:
        return None
    digests = info[CHECKSUMS]
    is_table = isinstance(digests, dict) and all(
        isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in digests.values()
    )
    if not is_table:
        raise StyleError(
            f"{style_dir / STYLE_FILE}: damaged: {CHECKSUMS!r} must be an object of file names and digests; {_REMEDY}"
        )
    return digests


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise StyleError(
                    f"{path}: has {size / 1e6:.0f} MB; a file of a style may have at most {MAX_FILE_BYTES / 1e6:.0f} MB"
                )
            return file.read(size)  # a limit that is far larger would be allocated
    except NotAFile as error:
        raise StyleError(f"{path}: is not a file; {_REMEDY}") from error
    except OSError as error:
        raise StyleError(f"{path}: cannot be read: {error.strerror or error}; {_REMEDY}") from error
