"""Writes one of the styles that a base has learned as a finished style.

    python -m tools.base_style mosaic_duck --name roman_mosaic --source "Duck, Roman mosaic" --license "public domain"

The base is a network of many styles (tools/train_base.py). Each of them is a network of its own: the shared kernels
with its scales and offsets. No training is needed.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from cli.doors import run_door
from cli.flags import UsageError, report
from transformer.export.base_folder import BASE_DIR, INFO_FILE
from transformer.export.style_folder import CHECKPOINTS_DIR

PROG = "base_style"


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("painting", help="name of a style of the base; base.json lists them")
    parser.add_argument("--name", help="name of the style (default: that of the painting)")
    parser.add_argument("--source", default="", help="origin of the style picture")
    parser.add_argument("--license", default="", help="license of the style picture")
    parser.add_argument(
        "--base", type=Path, default=BASE_DIR, help="folder of the base (default: checkpoints/base)"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=CHECKPOINTS_DIR, help="folder of the finished styles"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a finished style of this name")
    return parser.parse_args(arguments)


def export(options: argparse.Namespace) -> int:
    """Writes the style; returns the exit status 0. Raises UsageError and StyleError."""
    from system.json_reader import read_json_file
    from transformer.export.base_folder import load_base

    base = load_base(options.base)
    if options.painting not in base.styles:
        raise UsageError(f"the base has no style {options.painting}; it has {', '.join(base.styles)}")
    style_dir = options.output_dir / (options.name or options.painting)
    if style_dir.exists() and not options.overwrite:
        raise UsageError(f"{style_dir} exists; give another --name, or --overwrite to replace it")
    info = read_json_file(options.base / INFO_FILE)
    from system.tensorflow_start import start_tensorflow

    start_tensorflow(joins_cluster=False)
    from transformer.export.finished_style import export_style
    from transformer.network import Transformer

    network = Transformer(base.architecture)
    for name, value in base.parameters_of(base.styles.index(options.painting)).items():
        network.parameters[name].assign(value)
    export_style(style_dir, network, style_info(options, info, len(base.styles)))
    report(PROG, f"{style_dir} is ready")
    return 0


def style_info(options: argparse.Namespace, info: dict[str, Any], styles: int) -> dict[str, Any]:
    """Returns the content of style.json; `info` is that of base.json."""
    trained_with = {"trained_with": info["trained_with"]} if "trained_with" in info else {}
    return {
        "name": options.name or options.painting,
        **trained_with,
        "style_picture": {"file": options.painting, "source": options.source, "license": options.license},
        "steps": {"done": info["steps_done"] // styles, "start": f"a base of {styles} styles"},
        "base": {name: info[name] for name in ("steps_done", "losses", "config")},
    }


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that users can cause: one line on stderr."""
    from transformer.export.style_folder import StyleError

    return (StyleError, OSError)


def main(arguments: list[str] | None = None) -> int:
    return run_door(PROG, lambda: parse_args(arguments), export, lambda options: expected_errors())


if __name__ == "__main__":
    sys.exit(main())
