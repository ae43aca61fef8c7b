"""What the doors share: errors and signals as one line on stderr, and the exit status."""

from collections.abc import Callable
from typing import TypeVar

from cli.flags import UsageError, report
from system.faults import first_line
from system.signals import Interrupted, raised_interrupts

Call = TypeVar("Call")
Errors = tuple[type[Exception], ...]


def run_door(
    prog: str,
    parse: Callable[[], Call],
    run: Callable[[Call], int],
    expected_errors: Callable[[Call], Errors],
) -> int:
    """Parses the flags, runs the call and returns the exit status: that of `run`, 2 for UsageError, 1 for other errors.

    expected_errors: the errors that users can cause. All others keep their traceback. A signal gives 130 or 143.
    """
    with raised_interrupts():
        call = parse()
        try:
            return run(call)
        except Interrupted as error:
            report(prog, f"interrupted by {error.name}{error.done and f': {error.done}'}")
            return error.status
        except (UsageError, *expected_errors(call)) as error:
            report(prog, first_line(error))
            return 2 if isinstance(error, UsageError) else 1
