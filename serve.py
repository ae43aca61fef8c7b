"""Serves pictures over HTTP: `python serve.py`, then POST photos to /api/v1/stylize; see docs/service.md."""

from cli.early_signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # Ctrl-C while the modules below are imported

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from cli.doors import run_door
from cli.flags import Parser, UsageError, add_flags, check_ranges, given_flags, help_formatter, report
from system.program import command, examples, prog
from web.config import GROUPS, KEY_VARIABLE, ServiceConfig, check_public_hosts, with_key

PROG = prog("serve")
UPLOADS_NAME = "fast_style_transfer_uploads"  # marks the temporary folder
EXAMPLES = examples(
    "serve",
    """\
examples:
  $                           http://127.0.0.1:7860, for this machine only
  $ --host 0.0.0.0 --port 80  for everyone; set a key, see --api-key
  curl -F photo=@cat.jpg -F style=great_wave http://127.0.0.1:7860/api/v1/stylize -o art.jpg
""",
)


def parse_args(arguments: list[str] | None = None) -> ServiceConfig:
    """The configuration. A mistake in the flags ends the process with status 2."""
    parser = _build_parser()
    given = given_flags(parser.parse_args(arguments), ServiceConfig)
    config = replace(ServiceConfig(), **given)
    try:
        check_ranges(config)
        check_public_hosts(config)
        return with_key(config, os.environ)
    except UsageError as error:
        parser.error(str(error))


def _build_parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description="Serve pictures over HTTP.",
        epilog=EXAMPLES,
        formatter_class=help_formatter,
        usage=f"{command('serve')} [flags]",
    )
    add_flags(parser, [ServiceConfig], GROUPS)
    return parser


def run(config: ServiceConfig) -> int:
    """Serves until a signal ends it."""
    from system.files import temporary_folder
    from system.pillow_release import old_pillow_line
    from web.pictures import PictureMaker
    from web.server import connections_for, listening_socket, run_server, url_of
    from web.service import build_service
    from web.shelf import StyleShelf

    listener = listening_socket(config.host, config.port)
    connections = connections_for(config)
    with temporary_folder(Path(tempfile.gettempdir()) / UPLOADS_NAME) as folder:
        maker = PictureMaker(config, StyleShelf(report=lambda line: report(PROG, line)))
        app = build_service(maker, folder, api_key=config.api_key, connections=lambda: len(connections))
        if not config.is_local and config.api_key is None:
            places = ", ".join(config.public_host) or config.host
            report(
                PROG,
                f"everyone who reaches {places} can use this service; set {KEY_VARIABLE} to ask for a key",
            )
        if line := old_pillow_line():
            report(PROG, line)
        run_server(
            app, config, listener, connections, lambda: report(PROG, f"listening on {url_of(listener)}")
        )
    return 0


def expected_errors(_config: ServiceConfig) -> tuple[type[Exception], ...]:
    """Errors that users can cause: one line on stderr. All others keep their traceback."""
    return (OSError, MemoryError)


def main(arguments: list[str] | None = None) -> int:
    """The door: flags in, exit status out."""
    return run_door(PROG, lambda: parse_args(arguments), run, expected_errors)


def leave(status: int) -> None:
    """Ends the process at once: threads may still be computing photos that were given up."""
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
