"""infer.py --list-styles and --list-presets."""

from cli.flags import report


def print_styles() -> int:
    """Prints one line per style: its name and the origin of its style picture; returns the exit status."""
    from transformer.export import style_folder

    style_dirs = style_folder.list_styles()
    if not style_dirs:
        report("infer.py", f"no styles in {style_folder.CHECKPOINTS_DIR}; train one with train.py")
        return 1
    for style_dir in style_dirs:
        picture = style_folder.style_info(style_dir).get("style_picture", {})
        print(f"{style_dir.name:20} {picture.get('source') or picture.get('file', '')}".rstrip())
    return 0


def print_presets() -> int:
    """Prints one line per preset: its name and the source of its figures; returns the exit status."""
    from loss_net.presets import LOSS_PRESETS

    for name, preset in LOSS_PRESETS.items():
        print(f"{name:12} {preset.source}")
    return 0
