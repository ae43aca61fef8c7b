"""Whether the installed Pillow has the corrections of requirements-infer.txt; gradio 6 brings an older one."""

import sys

LEAST = 13  # mends buffer overflows of the JPEG decoder, CVE-2026-112403; a test compares it with the requirements
OLDEST_PYTHON = (3, 11)  # for which this Pillow exists


def old_pillow_line() -> str:
    """Returns one line for the operator of a service if Pillow is too old for files of strangers, else ""."""
    from PIL import __version__

    if int(__version__.partition(".")[0]) >= LEAST:
        return ""
    remedy = f'run python -m pip install --no-deps "pillow>={LEAST}"'
    if sys.version_info < OLDEST_PYTHON:
        remedy = "use Python {}.{} or later, which has Pillow {}".format(*OLDEST_PYTHON, LEAST)
    return f"Pillow {__version__} lacks corrections of memory faults in its JPEG decoder (CVE-2026-112403); {remedy}"
