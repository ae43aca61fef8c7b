"""Files in folders and object stores, by one address each: photos/, s3://bucket/photos, gs://..., az://...

pyarrow.fs reads and writes them. It is imported on first use.
"""

import functools
import glob
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from data.images import ImageError

GLOB_CHARACTERS = "*?["
MOST_BYTES = 2**30  # of one photo
RETRY_SECONDS = 60.0  # Google's library would try for 15 minutes where nobody answers
_SCHEMES = "s3://, gs://, az://, or another that fsspec knows"


@dataclass(frozen=True)
class Store:
    """A file system: that of this machine, or an object store. Travels to the workers.

    prefix: what stands before a path in an address, such as s3://; "" for files.
    """

    prefix: str
    files: Any  # pyarrow.fs.FileSystem

    @property
    def is_local(self) -> bool:
        return not self.prefix

    def address(self, path: str) -> str:
        """Returns the address of a path, as messages and reports show it."""
        return f"{self.prefix}{path}"

    def read(self, path: str) -> bytes:
        """Returns the bytes of a file. Raises ImageError."""
        try:
            with _opened(self, path) as stream:
                content = stream.read(MOST_BYTES + 1)
        except (OSError, ValueError) as error:
            raise ImageError(f"{self.address(path)}: cannot be read: {fault_text(error)}") from error
        if len(content) > MOST_BYTES:
            raise ImageError(f"{self.address(path)}: has more than {MOST_BYTES} bytes; it is no photo")
        return content

    def write(self, path: str, content: bytes) -> None:
        """Writes a file, whole or not at all; creates parent folders. Raises OSError."""
        if self.is_local:
            from system.files import write_whole

            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_whole(Path(path), lambda stream: stream.write(content))
            return
        with self.files.open_output_stream(path) as stream:
            stream.write(content)

    def sizes_below(self, folder: str) -> Iterator[tuple[str, int]]:
        """Yields path and bytes of every file below a folder, in one listing; none if it is missing.

        Raises OSError.
        """
        from pyarrow import fs

        selector = fs.FileSelector(folder, recursive=True, allow_not_found=True)
        for info in self.files.get_file_info(selector):
            if info.type == fs.FileType.File:
                yield info.path, info.size

    def is_folder(self, path: str) -> bool:
        """Returns whether a path is a folder. Raises OSError if the store does not answer."""
        from pyarrow import fs

        return self.files.get_file_info(path).type == fs.FileType.Directory

    def is_file(self, path: str) -> bool:
        """Returns whether a path is a file. Raises OSError if the store does not answer."""
        from pyarrow import fs

        return self.files.get_file_info(path).type == fs.FileType.File


def opened_store(address: str) -> tuple[Store, str]:
    """Returns the store of an address, and the path in it. Raises ImageError."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme == "file":
        from pyarrow import fs

        path = urlsplit(address).path if separator else os.path.abspath(address)
        return Store("", fs.LocalFileSystem()), path
    try:
        files = _files(scheme, rest.partition("/")[0])
    except (OSError, ValueError, ImportError) as error:
        raise ImageError(
            f"{address}: cannot be opened ({fault_text(error)}); addresses start with {_SCHEMES}"
        ) from error
    path = rest.rstrip("/")
    if not path:
        raise ImageError(f"{address}: names no bucket; give {scheme}://BUCKET/FOLDER")
    return Store(f"{scheme}://", files), path


@functools.lru_cache(maxsize=64)  # a manifest may name millions of addresses
def _files(scheme: str, bucket: str) -> Any:
    return _OPENERS.get(scheme, _other)(scheme, bucket)


def _s3(_scheme: str, bucket: str) -> Any:
    from pyarrow import fs

    # pyarrow itself does not read the variables that the other tools of AWS read.
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options = {"allow_delayed_open": True, "background_writes": False}  # one request for each picture
    if endpoint:
        url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}", scheme="https")
        options |= {"endpoint_override": url.netloc, "scheme": url.scheme}
    elif not region:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(region=region, **options)


def _gs(_scheme: str, _bucket: str) -> Any:
    from pyarrow import fs

    options: dict[str, Any] = {"retry_time_limit": timedelta(seconds=RETRY_SECONDS)}
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):  # as Google's own libraries read it
        url = urlsplit(emulator if "//" in emulator else f"//{emulator}", scheme="http")
        options |= {
            "anonymous": True,
            "scheme": url.scheme,
            "endpoint_override": url.netloc,
            "project_id": "emulator",
        }
    return fs.GcsFileSystem(**options)


def _az(_scheme: str, _bucket: str) -> Any:
    from pyarrow import fs

    account = os.environ.get("AZURE_STORAGE_ACCOUNT")
    if not account:
        raise ValueError("the environment variable AZURE_STORAGE_ACCOUNT must name the storage account")
    options = {}
    if key := os.environ.get("AZURE_STORAGE_KEY"):  # without it: a managed identity, or az login
        options["account_key"] = key
    if endpoint := os.environ.get(
        "AZURE_STORAGE_BLOB_ENDPOINT"
    ):  # of an emulator, such as http://127.0.0.1:10000
        url = urlsplit(endpoint)
        for kind in ("blob", "dfs"):
            options |= {f"{kind}_storage_authority": url.netloc, f"{kind}_storage_scheme": url.scheme}
    return fs.AzureFileSystem(account, **options)


def _other(scheme: str, _bucket: str) -> Any:
    import fsspec
    from pyarrow import fs

    return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))


_OPENERS = {"s3": _s3, "gs": _gs, "gcs": _gs, "az": _az, "abfs": _az}


def _opened(store: Store, path: str) -> Any:
    if store.is_local:
        from system.files import open_regular

        return open_regular(Path(path))
    return store.files.open_input_stream(path)


def fault_text(error: Exception) -> str:
    """Returns what went wrong in a store, in one line without the address, which messages name already."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = " ".join(str(reason).split())
    if found := re.search(r"AWS Error (\w+).*?(?:: ([^:]+))?$", reason):
        return f"{found[1].lower().replace('_', ' ')}{f', {found[2]}' if found[2] else ''}"
    return reason[:300]


def glob_root(pattern: str) -> str:
    """Returns the folder above the first name of a pattern that holds one of * ? [."""
    names = pattern.split("/")
    first = next(index for index, name in enumerate(names) if any(c in name for c in GLOB_CHARACTERS))
    return "/".join(names[:first])


def glob_rule(pattern: str) -> re.Pattern:
    """Returns the regular expression of a pattern: * and ? stay within a name, ** goes through folders."""
    parts = []
    for name in pattern.split("/"):
        parts.append(".*" if name == "**" else _name_rule(name))
    text = "/".join(parts).replace(".*/", "(?:.*/)?")
    return re.compile(f"(?s:{text})\\Z")


def _name_rule(name: str) -> str:
    text, index = "", 0
    while index < len(name):
        character = name[index]
        closing = name.find("]", index + 2) if character == "[" else -1
        if closing > 0:
            inside = name[index + 1 : closing].replace("\\", r"\\")
            text += f"[{'^' + inside[1:] if inside[0] == '!' else inside}]"
            index = closing
        else:
            text += {"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character))
        index += 1
    return text


def has_glob(text: str) -> bool:
    """Returns whether a text is a pattern."""
    return glob.has_magic(text)


def joined(folder: str, name: str) -> str:
    """Returns the path of a file below a folder."""
    return posixpath.join(folder, name) if folder else name
