"""Progress of work that takes more than two seconds: a bar with the time left on a terminal, else nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.host.terminal import console

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[str], None]
"""Prints one line of results, above the bar if a bar is shown."""


@contextmanager
def progress(
    what: str, total: int, shown: bool = True, by_itself: bool = True
) -> Iterator[tuple[Callable[[], None], Show]]:
    """A bar while the block runs.

    Args:
        what: stands before the bar.
        total: steps.
        shown: False for no bar, as with --quiet.
        by_itself: redraw all the time, in a thread; False to redraw only with each step.

    Yields:
        A function that counts one step, and one that prints a line of results to standard output.
    """
    if not shown or not console.is_terminal(sys.stderr):
        yield _nothing, _print
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    both = console.is_terminal(sys.stdout)  # results and bar share a terminal: rich keeps them apart
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(file=sys.stdout if both else sys.stderr, highlight=False, soft_wrap=True)
    with Progress(*columns, console=screen, transient=True, auto_refresh=by_itself) as bars:
        task = bars.add_task(what, total=total)

        def step() -> None:
            bars.advance(task)
            if not by_itself:
                bars.refresh()

        yield step, _above(screen) if both else _print


def _nothing() -> None:
    pass


def _print(line: str) -> None:
    print(line, flush=True)


def _above(screen: "Console") -> Show:
    from rich.text import Text

    return lambda line: screen.print(Text.from_ansi(line))
