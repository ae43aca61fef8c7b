"""What became of the photos or videos of a call, in words that all commands share."""

from pathlib import Path

from system.console import printable


def fault_line(path: Path, fault: object, target: Path | None = None) -> str:
    """Returns one line for an input that failed. It names `path`, unless the fault names it or its `target`."""
    line = printable(fault) or "not enough memory; close other programs"  # a bare MemoryError has no text
    named = any(printable(name) in line for name in (path, target or path))
    return line if named else f"{printable(path)}: {line}"


def interrupted_text(written: int, wanted: int, what: str, *, skips_existing: bool) -> str:
    """Returns what an interrupted call has done, and how to go on. what: "picture" or "video"."""
    if not written:
        return f"no {what} was written"
    how = "" if skips_existing else " with --skip-existing"
    return f"{written} of {wanted} {what}s were written; give the same command again{how} to make the others"
