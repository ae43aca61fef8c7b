"""Foreign exceptions as one line of text."""


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception's message, or the name of its class if it has no message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def one_line(error: BaseException, *, at_most: int = 200) -> str:
    """Returns the whole message on one line, cut to `at_most` characters, or the name of the class."""
    return " ".join(str(error).split())[:at_most] or type(error).__name__


def disk_fault(error: BaseException) -> str:
    """Returns why a file could not be written, for OSError and for TensorFlow's own errors.

    TensorFlow reports a full disk as ResourceExhaustedError with several lines of its own.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    is_full = type(error).__name__ == "ResourceExhaustedError"
    return "No space left on device" if is_full else first_line(error)
