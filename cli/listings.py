"""infer.py --list-styles and --list-presets."""

from collections.abc import Mapping
from typing import Any

from cli.flags import report
from system.console import printable
from system.program import prog

PROG = prog("infer")
LONGEST_SOURCE = 200  # characters that are printed
LONGEST_DEVICE = 40
WEIGHTS = ("content_weight", "style_weight", "tv_weight")
LARGEST = 1e15  # number that is printed


def print_styles() -> int:
    """Prints one line per style: its name, the origin of its style picture, and its training; returns the exit status.

    A style whose style.json cannot be read is reported and does not hide the others; the status is then 1.
    """
    from transformer.export import style_folder

    styles = style_folder.named_styles()
    if not styles:
        where = " and ".join(map(str, style_folder.style_places()))
        report(PROG, f"no styles in {where}; train one with {prog('train')}")
        return 1
    faults = 0
    for name, style_dir in styles.items():
        try:
            info = style_folder.style_info(style_dir)
        except style_folder.StyleError as error:
            report(PROG, error)
            faults += 1
        else:
            print(f"{printable(name):20} {about_style(info)}".rstrip())
    return 1 if faults else 0


def about_style(info: Mapping[str, Any]) -> str:
    """Returns the origin of a style picture and the training, one line, of what `style_folder.style_info` returned."""
    from transformer.export.style_folder import style_source

    parts = [style_source(info)[:LONGEST_SOURCE], training_of(info)]
    return printable("; ".join(filter(None, parts)))


def training_of(info: Mapping[str, Any]) -> str:
    """Returns the steps and minutes of the training in a style.json and the loss that it reached, as far as it says.

    Losses can be compared only between equal weights, so a style weight that is not the preset's is named.
    """
    from loss_net.presets import LOSS_PRESETS

    steps, minutes = _number(info, "steps", "done"), _number(info, "steps", "minutes")
    parts = [] if steps is None else [f"{steps:.0f} steps" + _duration(minutes, info)]
    loss, config = _number(info, "losses", "validation", "total"), info.get("config") or {}
    preset = LOSS_PRESETS.get(config.get("preset")) if isinstance(config.get("preset"), str) else None
    others = [name for name in WEIGHTS if preset and config.get(name) != getattr(preset, name)]
    if loss is not None and preset:
        weights = {name.replace("_", " "): _number(info, "config", name) for name in others}
        unlike = [
            f"{name} {'unknown' if weight is None else f'{weight:g}'}" for name, weight in weights.items()
        ]
        at_weights = " at " + ", ".join(unlike) if unlike else ""
        parts.append(f"{config['preset']} loss {loss:.3g}{at_weights}")
    return ", ".join(parts)


def _duration(minutes: float | None, info: Mapping[str, Any]) -> str:
    if minutes is None:
        return ""
    device = info["steps"].get("device")
    where = f" on {device[:LONGEST_DEVICE]}" if isinstance(device, str) and device else ""
    return f" in {minutes:.3g} min{where}"


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
