"""Writes a trained style for other programs: `python export.py STYLE --format onnx litert saved_model -o DIR`."""

from cli.early_signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # Ctrl-C while the modules below are imported

import sys
from dataclasses import replace

from cli.doors import run_door
from cli.export_config import GROUPS, ExportConfig, check_config
from cli.flags import Parser, UsageError, add_flags, check_ranges, given_flags, help_formatter, path_of
from cli.infer_config import AMONG_STYLES
from system.program import command, examples, prog

PROG = prog("export")
EXAMPLES = examples(
    "export",
    """\
examples:
  $ great_wave --format saved_model -o models/             models/great_wave/1/, for TensorFlow Serving
  $ great_wave --format litert --size 512x512 -o models/   for phones, one size
  $ great_wave --format onnx --size 720x1280 -o models/    for OpenCV 4, one size
  $ great_wave --format onnx onnx-fp16 -o models/          any size: float32 and half precision
""",
)


def parse_args(arguments: list[str] | None = None) -> ExportConfig:
    """The configuration of a call. A mistake in the flags ends the process with status 2."""
    parser = _build_parser()
    options = parser.parse_args(arguments)
    config = replace(ExportConfig(), style=options.style, **given_flags(options, ExportConfig))
    try:
        check_ranges(config)
        check_config(config)
    except UsageError as error:
        parser.error(str(error))
    return config


def _build_parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description="Write a trained style for other programs.",
        epilog=EXAMPLES,
        formatter_class=help_formatter,
        usage=f"{command('export')} STYLE --format FORMAT [...] -o DIR [flags]",
    )
    parser.add_argument(
        "style", type=_style, metavar="STYLE", help=f"name of a style {AMONG_STYLES}, or its folder"
    )
    add_flags(parser, [ExportConfig], GROUPS)
    return parser


def _style(text: str) -> str:
    """A name or path; raises ArgumentTypeError for a text that is neither."""
    path_of(text)
    return text


def run(config: ExportConfig) -> int:
    """Writes what the flags ask for; returns the exit status."""
    from cli.export_style import export_style

    return export_style(config)


def expected_errors(_config: ExportConfig) -> tuple[type[Exception], ...]:
    """Errors that users can cause: one line on stderr. All others keep their traceback."""
    from cli.export_style import expected_errors

    return (OSError, MemoryError, *expected_errors())


def main(arguments: list[str] | None = None) -> int:
    """The door: flags in, exit status out."""
    return run_door(PROG, lambda: parse_args(arguments), run, expected_errors)


if __name__ == "__main__":
    sys.exit(main())
