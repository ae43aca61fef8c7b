"""infer.py --list-styles and --list-presets."""

from cli.flags import report
from system.console import printable

LONGEST_SOURCE = 200  # characters that are printed


def print_styles() -> int:
    """Prints one line per style: its name and the origin of its style picture; returns the exit status.

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
            source = style_folder.style_source(style_folder.style_info(style_dir))
        except style_folder.StyleError as error:
            report("infer.py", error)
            faults += 1
        else:
            print(f"{printable(style_dir.name):20} {printable(source[:LONGEST_SOURCE])}".rstrip())
    return 1 if faults else 0


def print_presets() -> int:
    """Prints one line per preset: its name and the source of its figures; returns the exit status."""
    from loss_net.presets import LOSS_PRESETS

    for name, preset in LOSS_PRESETS.items():
        print(f"{name:12} {preset.source}")
    return 0
