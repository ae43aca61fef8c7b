"""The command fast-style-transfer: its first argument names a door, which gets the other arguments."""

import sys
from typing import NoReturn

from cli.early_signals import end_on_signals
from system.version import VERSION

COMMAND = "fast-style-transfer"
# Subcommand -> its door, the arguments that it stands for, and what it does.
SUBCOMMANDS = {
    "stylize": ("infer", [], "turn photos and videos into pictures"),
    "styles": ("infer", ["--list-styles"], "list the styles"),
    "train": ("train", [], "train a new style (needs the extra [train])"),
    "studio": ("studio", [], "open a page in the browser (needs the extra [studio])"),
    "serve": ("serve", [], "start an HTTP service (needs the extra [serve])"),
    "export": (
        "export",
        [],
        "write a style for other programs (for TensorFlow and LiteRT: the extra [train])",
    ),
}


def main() -> NoReturn:
    """Runs a subcommand and ends the process."""
    end_on_signals()  # Ctrl-C while modules are imported
    from importlib import import_module

    arguments = sys.argv[1:]
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if arguments else 2)
    if name == "--version":
        print(COMMAND, VERSION)
        sys.exit(0)
    if name not in available():
        _refuse(name)
    door_name, implied, _ = SUBCOMMANDS[name]
    sys.argv = [f"{COMMAND} {name}", *implied, *arguments[1:]]
    door = import_module(f".{door_name}", __package__)
    leave = getattr(door, "leave", sys.exit)
    leave(door.main(sys.argv[1:]))
    raise AssertionError("a door has not ended the process")


def available() -> list[str]:
    """Returns the subcommands whose doors are in this package."""
    from importlib.util import find_spec

    return [name for name, (door, *_) in SUBCOMMANDS.items() if find_spec(f"{__package__}.{door}")]


def usage() -> str:
    """Returns the text of --help."""
    lines = [f"  {name:9} {SUBCOMMANDS[name][2]}" for name in available()]
    return "\n".join(
        [
            f"usage: {COMMAND} COMMAND [flags]",
            "",
            *lines,
            "",
            f"{COMMAND} COMMAND --help describes the flags of a command; --version prints the version.",
            'Extras are installed in a clone of the repository, for example with pip install ".[train]",',
            'pipx install --force ".[train]" or uv tool install --force ".[train]".',
        ]
    )


def _refuse(name: str) -> NoReturn:
    from difflib import get_close_matches

    similar = get_close_matches(name, available(), 1)
    suggestion = f"; did you mean {similar[0]}?" if similar else ""
    shown = ascii(name[:60])
    print(f"{COMMAND}: there is no command {shown}{suggestion}; see {COMMAND} --help", file=sys.stderr)
    sys.exit(2)
