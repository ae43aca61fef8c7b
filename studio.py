"""A page for photos, webcam, clips and training: `python studio.py`, then open http://127.0.0.1:7860 in a browser.

The flags are in web/studio/config.py, the page in web/studio/page.py.
"""

from cli.early_signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # Ctrl-C while the modules below are imported

import importlib.util
import os
import sys
from dataclasses import replace

from cli.doors import run_door
from cli.flags import Parser, UsageError, add_flags, given_flags, help_formatter, report
from system.program import command, examples, install_line, prog
from web.config import with_key
from web.studio.config import GROUPS, StudioConfig, accounts, check_config

PROG = prog("studio")
PACKAGES = ("gradio", "fastapi", "uvicorn", "pandas")
EXAMPLES = examples(
    "studio",
    """\
examples:
  $                                             for this machine: http://127.0.0.1:7860
  $ --host 0.0.0.0 --auth accounts.txt          for other machines too, without training
  $ --content-dir photos/ --vgg vgg19_notop.h5  with photos to train on
""",
)


def parse_args(arguments: list[str] | None = None) -> StudioConfig:
    """The configuration. A mistake in the flags ends the process with status 2."""
    parser = _build_parser()
    options = parser.parse_args(arguments)
    try:
        config = with_key(replace(StudioConfig(), **given_flags(options, StudioConfig)), os.environ)
        check_config(config)
        accounts(config)  # raises UsageError
    except UsageError as error:
        parser.error(str(error))
    return config


def _build_parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description="A page in the browser: photos, webcam and clips in the styles, and training of new ones.",
        epilog=EXAMPLES,
        formatter_class=help_formatter,
        usage=f"{command('studio')} [flags]",
    )
    add_flags(parser, [StudioConfig], GROUPS)
    return parser


def run(config: StudioConfig) -> int:
    """Serves the page until a signal ends it; returns the exit status."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            report(PROG, f"the package {package} is not installed; run {install_line('studio')}")
            return 1
    from web.studio.serving import serve

    return serve(config, tell=lambda line: report(PROG, line))


def expected_errors(_config: StudioConfig) -> tuple[type[Exception], ...]:
    """Errors that users can cause: one line on stderr. All others keep their traceback."""
    return (OSError, MemoryError)


def main(arguments: list[str] | None = None) -> int:
    """The door: flags in, exit status out."""
    return run_door(PROG, lambda: parse_args(arguments), run, expected_errors)


def leave(status: int) -> None:
    """Ends the process at once: threads may still be computing what nobody waits for."""
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
