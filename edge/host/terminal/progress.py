"""Progress of work that takes more than two seconds: a bar with the time left on a terminal, else nothing."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from edge.host.terminal import console

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[str], None]
"""Prints one line of results, above the bar if a bar is shown."""


class Step(Protocol):
    """Counts steps; `what` is from then on what stands before the bar."""

    def __call__(self, what: str = "", times: int = 1) -> None:
        """See the class."""


@contextmanager
def progress(
    what: str, total: int, shown: bool = True, by_itself: bool = True
) -> Iterator[tuple[Step, Show]]:
    """A bar while the block runs.

    Args:
        what: stands before the bar.
        total: steps.
        shown: False for no bar; --quiet, too, leaves it out.
        by_itself: redraw all the time, in a thread; False to redraw only with each step.

    Yields:
        A function that counts steps, and one that prints a line of results to standard output.
    """
    if not shown or console.is_quiet() or not console.is_terminal(sys.stderr):
        yield _nothing, _print
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    both = console.is_terminal(sys.stdout)  # results and bar share a terminal: rich keeps them apart
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(file=sys.stdout if both else sys.stderr, highlight=False, soft_wrap=True)
    bars = Progress(*columns, console=screen, transient=True, auto_refresh=by_itself)
    with bars, _log_above():
        task = bars.add_task(what, total=total)

        def step(what: str = "", times: int = 1) -> None:
            bars.update(task, advance=times, description=what or None)
            if not by_itself:
                bars.refresh()

        yield step, _above(screen) if both else _print


@contextmanager
def _log_above() -> Iterator[None]:
    """Lines of the log go through standard error as the bar has replaced it, so that they stand above it."""
    handlers = [handler for handler in logging.getLogger().handlers if type(handler) is logging.StreamHandler]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)


def _nothing(what: str = "", times: int = 1) -> None:
    pass


def _print(line: str) -> None:
    print(line, flush=True)


def _above(screen: "Console") -> Show:
    from rich.text import Text

    return lambda line: screen.print(Text.from_ansi(line))
