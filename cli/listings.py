"""infer.py --list-styles and --list-presets."""

from collections.abc import Mapping
from typing import Any

from cli.flags import report
from system.console import printable

LONGEST_SOURCE, LONGEST_PRESET = 200, 20  # characters that are printed
LARGEST = 1e15  # number that is printed


def print_styles() -> int:
    """Prints one line per style: its name, the origin of its style picture, and its training; returns the exit status.

    A style whose style.json cannot be read is reported and does not hide the others; the status is then 1.
    """
    from transformer.export import style_folder

    style_dirs = style_folder.list_styles()
    if not style_dirs:
        report("infer.py", f"no styles in {style_folder.CHECKPOINTS_DIR}; train one with train.py")
        return 1
    faults = 0
    for style_dir in style_dirs:
        try:
            info = style_folder.style_info(style_dir)
        except style_folder.StyleError as error:
            report("infer.py", error)
            faults += 1
        else:
            about = [style_folder.style_source(info)[:LONGEST_SOURCE], training_of(info)]
            print(f"{printable(style_dir.name):20} {printable('; '.join(filter(None, about)))}".rstrip())
    return 1 if faults else 0


def training_of(info: Mapping[str, Any]) -> str:
    """Returns how long the training in a style.json took and what loss it reached; "" where the file does not say."""
    steps, minutes = _number(info, "steps", "done"), _number(info, "steps", "minutes")
    loss, preset = _number(info, "losses", "validation", "total"), (info.get("config") or {}).get("preset")
    parts = [] if steps is None else [f"{steps:.0f} steps" + (f" in {minutes:.1f} min" if minutes else "")]
    if loss is not None and isinstance(preset, str):
        parts.append(f"{preset[:LONGEST_PRESET]} loss {loss:.3g}")
    return ", ".join(parts)


def _number(info: Any, *keys: str) -> float | None:
    """Returns the number at a path of keys; None where there is none, or one that would fill the line."""
    for key in keys:
        info = info.get(key) if isinstance(info, Mapping) else None
    is_number = isinstance(info, int | float) and not isinstance(info, bool)
    return float(info) if is_number and abs(info) < LARGEST else None


def print_presets() -> int:
    """Prints one line per preset: its name and the source of its figures; returns the exit status."""
    from loss_net.presets import LOSS_PRESETS

    for name, preset in LOSS_PRESETS.items():
        print(f"{name:12} {preset.source}")
    return 0
