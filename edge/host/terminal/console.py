"""Text for people besides the results: notes and errors on standard error, redacted, harmless to a terminal.

Standard error may be closed or full: then a note is lost, and the work goes on. With --quiet, which the command line
sets for the whole process, notes, summaries and progress are left out; warnings and errors never are.
"""

import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from operator import methodcaller
from typing import IO

from edge.host.journal import safe_lines
from edge.host.text import safe_json


class _Mode:
    """How much this process says."""

    quiet = False


def set_quiet(quiet: bool) -> None:
    """From here on leave out notes, summaries and progress, or show them again."""
    _Mode.quiet = quiet


def is_quiet() -> bool:
    """Whether notes, summaries and progress are left out."""
    return _Mode.quiet


def note(text: str) -> None:
    """Print a line to standard error, unless --quiet was given."""
    if not _Mode.quiet:
        _say(text)


def summary(text: str) -> None:
    """Print what was done to standard output, unless --quiet was given: the file that was asked for is written."""
    if not _Mode.quiet:
        print(safe_lines(text, indent=""), flush=True)


def document(content: object) -> None:
    """Print one JSON document in a line to standard output: no text in it can steer a terminal.

    Args:
        content: JSON values, what msgspec makes such of, or NumPy's scalars. NaN and infinity become null.
    """
    import msgspec

    print(safe_json(msgspec.json.encode(content, enc_hook=methodcaller("item"))), flush=True)


def figures(as_json: bool, content: object, table: Callable[[], str]) -> None:
    """Print what was asked for, with --quiet too: as one JSON document, or the table for people."""
    if as_json:
        document(content)
    else:
        print(table(), flush=True)


def result(as_json: bool, content: object, *lines: str) -> None:
    """Print what a command did.

    Args:
        as_json: whether --json was given.
        content: the document that it then prints.
        lines: for people, where it was not given.
    """
    if as_json:
        document(content)
        return
    for line in lines:
        summary(line)


def warn(text: str) -> None:
    """Print a warning to standard error: "Warning: " and what a person has to know of the result."""
    _say(f"Warning: {text}")


def error(text: str) -> None:
    """Print an error to standard error: the first line begins with "leukoscope: "."""
    _say(f"leukoscope: {text}")


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(safe_lines(text, indent=""), file=sys.stderr, flush=True)


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """On a terminal, say what is waited for, and take it away again."""
    if _Mode.quiet or not is_terminal(sys.stderr):
        yield
        return
    with contextlib.suppress(OSError, ValueError):
        print(f"{what} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def folded(line: str) -> list[str]:
    """A line of standard output as lines that fit its terminal; elsewhere it stays whole."""
    if not is_terminal(sys.stdout):
        return [line]
    columns = shutil.get_terminal_size().columns
    return textwrap.wrap(line, max(40, columns), break_long_words=False, break_on_hyphens=False) or [""]


def is_terminal(stream: IO[str]) -> bool:
    """Whether the stream is a terminal that supports cursor movements."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def colours(stream: IO[str]) -> bool:
    """Whether colours are wanted: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")
