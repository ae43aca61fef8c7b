"""Files in folders and object stores, by one address each: photos/, s3://bucket/photos, gs://..., az://...

pyarrow.fs reads and writes them. It is imported on first use.
"""

import contextlib
import functools
import glob
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from data.images import ImageError

GLOB_CHARACTERS = "*?["
MOST_BYTES = 2**30  # of one photo
RETRY_SECONDS = 60.0  # Google's library would try for 15 minutes where nobody answers
_SCHEMES = "s3://, gs://, az://, or another that fsspec knows"


@dataclass(frozen=True)
class Store:
    """A file system: that of this machine, or an object store. Travels to the workers, without any credentials.

    scheme, bucket: of the addresses, such as "s3" and "photos"; both "" for files. settings: what the environment of
    the driver says about the place of the store, see `_SETTINGS`.
    """

    scheme: str = ""
    bucket: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def is_local(self) -> bool:
        return not self.scheme

    @property
    def files(self) -> Any:
        """The pyarrow.fs.FileSystem."""
        return _files(self.scheme, self.bucket, self.settings)

    def address(self, path: str) -> str:
        """Returns the address of a path, as messages and reports show it."""
        return path if self.is_local or "://" in path else f"{self.scheme}://{path}"

    def read(self, path: str, most: int = MOST_BYTES) -> bytes:
        """Returns the bytes of a file. Raises ImageError."""
        try:
            with _opened(self, path) as stream:
                content = stream.read(most + 1)
        except Exception as error:  # of many libraries
            raise ImageError(f"{self.address(path)}: cannot be read: {fault_text(error)}") from error
        if len(content) > most:
            raise ImageError(f"{self.address(path)}: has more than {most} bytes, which is more than is read")
        return content

    def write(self, path: str, content: bytes) -> None:
        """Writes a file; creates parent folders. Raises OSError, and other exceptions of libraries.

        In folders, S3 and Google's store a file is there whole or not at all.
        """
        if self.is_local:
            from system.files import write_whole

            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_whole(Path(path), lambda stream: stream.write(content))
            return
        try:
            with self.files.open_output_stream(path) as stream:
                stream.write(content)
        except BaseException:
            # pyarrow completes an upload when the stream is closed, with the parts that it has.
            with contextlib.suppress(Exception):
                self.files.delete_file(path)
            raise

    def sizes_below(self, folder: str, *, most_levels: int | None = None) -> Iterator[tuple[str, int]]:
        """Yields path and bytes of every file below a folder, in one listing; none if it is missing.

        most_levels: of names below the folder, 1 for its own files. Links to folders are not followed.
        Raises OSError, and other exceptions of libraries.
        """
        if self.is_local:
            yield from _local_sizes(folder, most_levels)
            return
        from pyarrow import fs

        selector = fs.FileSelector(folder, recursive=most_levels != 1, allow_not_found=True)
        for info in self.files.get_file_info(selector):
            if info.type == fs.FileType.File:
                yield info.path, info.size

    def is_file(self, path: str) -> bool:
        """Returns whether a path is a file. Raises OSError, and other exceptions of libraries."""
        from pyarrow import fs

        return self.files.get_file_info(path).type == fs.FileType.File


def opened_store(address: str) -> tuple[Store, str]:
    """Returns the store of an address, and the path in it. Raises ImageError."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return Store(), os.path.abspath(address)
    if scheme == "file":
        if not rest.startswith("/"):
            raise ImageError(f"{address}: names another machine; give file:///PATH")
        return Store(), os.path.abspath(unquote(rest))
    bucket, path = rest.partition("/")[0], rest.rstrip("/")
    if not bucket:
        raise ImageError(f"{address}: names no bucket; give {scheme}://BUCKET/FOLDER")
    if "@" in bucket:
        raise ImageError(
            f"{scheme}://...: an address must not hold a name or password, which reports would show; give them by the"
            " environment"
        )
    settings = tuple((name, os.environ[name]) for name in _SETTINGS if os.environ.get(name))
    store = Store(_SAME.get(scheme, scheme), bucket, settings)
    try:
        files = store.files
        if store.scheme not in _OPENERS:
            path = files.handler.fs._strip_protocol(address)
    except Exception as error:  # of many libraries
        raise ImageError(
            f"{address}: cannot be opened ({fault_text(error)}); addresses start with {_SCHEMES}"
        ) from error
    return store, path


def _local_sizes(folder: str, most_levels: int | None) -> Iterator[tuple[str, int]]:
    depth = folder.rstrip("/").count("/")
    for parent, folders, names in os.walk(folder):
        if most_levels is not None and parent.rstrip("/").count("/") - depth >= most_levels - 1:
            folders.clear()
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(OSError):  # a broken link
                yield path, os.path.getsize(path)


@functools.lru_cache(maxsize=64)  # a manifest may name millions of addresses
def _files(scheme: str, bucket: str, settings: tuple[tuple[str, str], ...]) -> Any:
    from pyarrow import fs

    if not scheme:
        return fs.LocalFileSystem()
    for name, value in settings:  # of the driver; AWS's library reads some of them itself
        os.environ.setdefault(name, value)
    return _OPENERS.get(scheme, _other)(scheme, bucket, dict(settings))


def _s3(_scheme: str, bucket: str, settings: Mapping[str, str]) -> Any:
    from pyarrow import fs

    # pyarrow itself does not read the variables that the other tools of AWS read.
    endpoint = settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL")
    region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION")
    options = {"allow_delayed_open": True, "background_writes": False}  # one request for each picture
    if endpoint:
        url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}", scheme="https")
        options |= {"endpoint_override": url.netloc, "scheme": url.scheme}
    elif not region:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(region=region, **options)


def _gs(_scheme: str, _bucket: str, settings: Mapping[str, str]) -> Any:
    from pyarrow import fs

    options: dict[str, Any] = {"retry_time_limit": timedelta(seconds=RETRY_SECONDS)}
    if emulator := settings.get("STORAGE_EMULATOR_HOST"):  # as Google's own libraries read it
        url = urlsplit(emulator if "//" in emulator else f"//{emulator}", scheme="http")
        options |= {
            "anonymous": True,
            "scheme": url.scheme,
            "endpoint_override": url.netloc,
            "project_id": "emulator",
        }
    return fs.GcsFileSystem(**options)


def _az(_scheme: str, _bucket: str, settings: Mapping[str, str]) -> Any:
    from pyarrow import fs

    if not (account := settings.get("AZURE_STORAGE_ACCOUNT")):
        raise ValueError("the environment variable AZURE_STORAGE_ACCOUNT must name the storage account")
    options = {}
    if key := os.environ.get("AZURE_STORAGE_KEY"):  # without it: a managed identity, or az login
        options["account_key"] = key
    # Of an emulator, such as http://127.0.0.1:10000.
    if endpoint := settings.get("AZURE_STORAGE_BLOB_ENDPOINT"):
        url = urlsplit(endpoint)
        for kind in ("blob", "dfs"):
            options |= {f"{kind}_storage_authority": url.netloc, f"{kind}_storage_scheme": url.scheme}
    return fs.AzureFileSystem(account, **options)


def _other(scheme: str, bucket: str, _settings: Mapping[str, str]) -> Any:
    from fsspec.core import url_to_fs
    from pyarrow import fs

    return fs.PyFileSystem(fs.FSSpecHandler(url_to_fs(f"{scheme}://{bucket}")[0]))


_OPENERS = {"s3": _s3, "gs": _gs, "az": _az}
_SAME = {"gcs": "gs", "abfs": "az", "s3a": "s3"}  # other names of a scheme
# Of the environment: where a store is, and how it is asked. None of them is a secret.
_SETTINGS = (
    "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_REQUEST_CHECKSUM_CALCULATION",
    "STORAGE_EMULATOR_HOST", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_BLOB_ENDPOINT",
)  # fmt: skip


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


def glob_levels(pattern: str) -> int | None:
    """Returns how many levels of names below its root a pattern names; None for any number."""
    names = pattern.split("/")
    return None if "**" in names else len(names) - len(glob_root(pattern).split("/"))


def glob_root(pattern: str) -> str:
    """Returns the folder above the first name of a pattern that holds one of * ? [."""
    names = pattern.split("/")
    first = next(index for index, name in enumerate(names) if any(c in name for c in GLOB_CHARACTERS))
    return "/".join(names[:first])


def glob_rule(pattern: str) -> re.Pattern:
    """Returns the regular expression of a pattern: * and ? stay within a name, ** goes through folders.

    Raises ImageError.
    """
    parts = []
    for name in pattern.split("/"):
        parts.append(".*" if name == "**" else _name_rule(name))
    text = "/".join(parts).replace(".*/", "(?:.*/)?")
    try:
        return re.compile(f"(?s:{text})\\Z")
    except re.error as error:
        raise ImageError(f"{pattern}: is no pattern that can be understood ({error})") from error


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
