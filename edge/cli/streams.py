"""Standard input, output and error as a process may find them: closed, full, of another encoding."""

import codecs
import contextlib
import os
import sys

from edge.host.terminal import console

ENCODING_ERRORS = "leukoscope"
r"""Name of the error handler: a character that a stream's encoding lacks becomes \uXXXX, valid in JSON too."""


def prepare() -> None:
    """Make the three streams usable.

    One that is closed is connected to /dev/null: else the next file that is opened, an outbox for example, would
    get its number, and what a library writes to standard error would go into that file.
    """
    codecs.register_error(ENCODING_ERRORS, _escape)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        _open_null(number)
        if getattr(sys, name) is None:
            stream = open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
    for output in (sys.stdout, sys.stderr):
        if hasattr(output, "reconfigure"):  # not where a test has put its own stream
            output.reconfigure(errors=ENCODING_ERRORS)


def flush(status: int) -> int:
    """Write what standard output still holds; the exit status, 1 if that fails."""
    try:
        sys.stdout.flush()
    except OSError as failure:
        return failed(failure) or status
    return status


def failed(failure: OSError) -> int:
    """The exit status after a read or write failed that no command has dealt with; it is reported."""
    status = 1
    if isinstance(failure, BrokenPipeError):  # the reader of a pipe has what it wanted, as `| head` does
        status = 0
    elif failure.filename is None:
        console.error(f"the output cannot be written: {failure.strerror or failure}")
    else:
        console.error(f"{os.fsdecode(failure.filename)}: {failure.strerror or failure}")
    with contextlib.suppress(OSError, ValueError):
        # What is left in the buffer goes nowhere, else the interpreter's own end would fail over it.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    return status


def _open_null(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, so this one
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end
