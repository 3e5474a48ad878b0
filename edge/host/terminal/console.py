"""Text for people besides the results: notes and errors on standard error, redacted, harmless to a terminal.

Standard error may be closed or full: then a note is lost, and the work goes on.
"""

import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import IO

from edge.host.journal import safe_lines


def note(text: str) -> None:
    """Print a line to standard error."""
    with contextlib.suppress(OSError, ValueError):
        print(safe_lines(text, indent=""), file=sys.stderr, flush=True)


def error(text: str) -> None:
    """Print an error to standard error: the first line begins with "leukoscope: "."""
    note(f"leukoscope: {text}")


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """On a terminal, say what is waited for, and take it away again."""
    if not is_terminal(sys.stderr):
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
