"""Inputs and outputs on the command line: paths of this machine, and addresses of object stores such as s3://bucket/photos."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from cli.flags import path_of
from system.arguments import shown

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class Address:
    """An address of an object store. A Path would lose one of its slashes."""

    text: str

    def __str__(self) -> str:
        return self.text


def place_of(text: str) -> Path | Address:
    """The path or address that a text names. Raises ArgumentTypeError."""
    if not _SCHEME.match(text):
        return path_of(text)
    if any(ord(character) < 32 for character in text) or not text.partition("://")[2].strip("/"):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no address such as s3://BUCKET/FOLDER")
    return Address(text)
