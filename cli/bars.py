"""Progress of long work: a bar on a terminal, one line every half minute elsewhere, for logs."""

import sys
from typing import Any

from system.console import printable

_CURSOR_UP = "\x1b[A"  # tqdm moves between several bars
LINE_SECONDS = 30.0  # between lines where stderr is no terminal
_LINE_FORMAT = (
    "{desc}: {percentage:3.0f}% {n_fmt} of {total_fmt}{unit}, {elapsed} passed, {remaining} left{postfix}"
)
_OPEN_LINE_FORMAT = "{desc}: {n_fmt}{unit}, {elapsed} passed{postfix}"  # where the total is unknown


def progress_bar(
    *,
    total: float | None,
    unit: str,
    desc: str,
    bar_format: str | None = None,
    line_format: str = "",
    **options,
) -> Any:
    """A tqdm bar on stderr. Without a terminal it writes its first line after LINE_SECONDS, if it runs so long.

    bar_format is for a terminal, line_format for elsewhere. Other options are tqdm's.
    """
    from tqdm import tqdm

    desc = printable(desc)
    if sys.stderr.isatty():
        return tqdm(total=total, unit=unit, desc=desc, bar_format=bar_format, **options)
    line_format = line_format or (_LINE_FORMAT if total else _OPEN_LINE_FORMAT)
    pace = {
        "mininterval": LINE_SECONDS,
        "maxinterval": 2 * LINE_SECONDS,
        "miniters": 0,
        "delay": LINE_SECONDS,
    }
    options = {**options, "leave": False, **pace}
    return tqdm(total=total, unit=f" {unit}", desc=desc, bar_format=line_format, file=_Lines(), **options)


def steps_bar(*, total: int, initial: int, desc: str) -> Any:
    """The bar of a training. It shows no time left, because later steps take longer; the training adds its forecast."""
    return progress_bar(
        total=total,
        initial=initial,
        unit="steps",
        desc=desc,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps [{elapsed}{postfix}]",
        line_format="{desc}: {percentage:3.0f}% {n_fmt} of {total_fmt} steps, {elapsed} passed{postfix}",
    )


class _Lines:
    """A text stream that turns tqdm's redrawn bar into lines on stderr."""

    def write(self, text: str) -> None:
        line = text.replace(_CURSOR_UP, "").strip("\r\n ")
        if line:
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()
