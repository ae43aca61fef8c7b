"""What the doors share: errors and signals as one line on stderr, and the exit status."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cli.flags import UsageError, report
from system.console import printable, unfailing_streams
from system.program import inference_lines, install_line, setup_line
from system.signals import Interrupted, raised_interrupts

# Packages of requirements.txt that fast inference does not need, so that `make demo` does not install them.
TRAINING_PACKAGES = frozenset({"tensorflow", "tensorboard", "h5py", "scipy"})
INFERENCE_PACKAGES = frozenset({"numpy", "PIL", "imageio", "onnxruntime", "onnx", "pyvips", "av", "tqdm"})
# Packages of the doors of the web, and the extra that installs each of them.
WEB_PACKAGES = {"gradio": "studio"} | dict.fromkeys(
    ("fastapi", "starlette", "uvicorn", "prometheus_client", "python_multipart", "multipart"), "serve"
)
CLUSTER_PACKAGES = frozenset({"ray", "pyarrow", "pandas"})

Call = TypeVar("Call")
Errors = tuple[type[Exception], ...]


def run_door(
    prog: str,
    parse: Callable[[], Call],
    run: Callable[[Call], int],
    expected_errors: Callable[[Call], Errors],
) -> int:
    """Parses the flags, runs the call and returns the exit status: that of `run`, 2 for UsageError, 1 for other errors.

    expected_errors: the errors that users can cause. All others keep their traceback. A signal gives 128 and its
    number. A line that cannot be shown never ends the work; if stdout could not be written, the status is 1 at its end.
    """
    with unfailing_streams() as streams, _printable_log():
        try:
            status = _uninterrupted(lambda: _status(prog, parse, run, expected_errors))
        except Interrupted as error:
            report(prog, f"interrupted by {error.name}{error.done and f': {error.done}'}")
            return error.status
        except SystemExit as leaving:  # of argparse: after --help, or a mistake that is reported already
            status = leaving.code or 0
            if not streams.output_fault():
                raise
        if fault := streams.output_fault():
            report(prog, f"standard output cannot be written: {fault}; check its disk or terminal")
        return status or int(bool(fault))


def _uninterrupted(work: Callable[[], int]) -> int:
    """The result of `work`. Raises Interrupted if a signal made it fail, whatever exception that became."""
    with raised_interrupts() as received:
        try:
            status = work()
        except Exception as error:
            if received:
                raise Interrupted(received[0]) from error
            raise
        if status and received:
            raise Interrupted(received[0])
        return status


def _status(
    prog: str,
    parse: Callable[[], Call],
    run: Callable[[Call], int],
    expected_errors: Callable[[Call], Errors],
) -> int:
    try:
        return _finished(prog, parse(), run, expected_errors)
    except ModuleNotFoundError as error:
        if not (ways := _ways_to_install(error.name)):
            raise
        report(prog, f"the package {error.name} is not installed; run {' or '.join(ways)}")
        return 1
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        report(
            prog, "not enough memory or processes to start a thread; raise the limits (ulimit -v, ulimit -u)"
        )
        return 1


def _finished(
    prog: str, call: Call, run: Callable[[Call], int], expected_errors: Callable[[Call], Errors]
) -> int:
    """The status of `run`; an error that users can cause is reported."""
    try:
        return run(call)
    except ModuleNotFoundError:
        raise
    except (UsageError, *expected_errors(call)) as error:
        report(prog, _text_of(error))
        return 2 if isinstance(error, UsageError) else 1


def _ways_to_install(package: str | None) -> list[str]:
    """Commands that install a package that is not ours; none for others."""
    if package in INFERENCE_PACKAGES:
        return inference_lines()
    extra = "cluster" if package in CLUSTER_PACKAGES else WEB_PACKAGES.get(package)
    extra = "train" if package in TRAINING_PACKAGES else extra
    return [] if extra is None else list(dict.fromkeys([setup_line(extra), install_line(extra)]))


def _text_of(error: Exception) -> str:
    if str(error):
        return str(error)
    return (
        "not enough memory; close other programs" if isinstance(error, MemoryError) else type(error).__name__
    )


@contextmanager
def _printable_log() -> Iterator[None]:
    """Within this context log messages go to stderr, and names of files in them cannot command a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableFormatter())
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line) for line in super().format(record).split("\n"))
