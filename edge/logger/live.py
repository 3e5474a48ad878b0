"""The logger on a terminal: totals and the latest results, as a table that is drawn anew and fits the screen."""

import collections
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.host.text import harmless, shortened
from edge.logger.moments import local, zone
from edge.notice import NOTICE
from edge.records import Record
from edge.specimen.counting import (
    OTHER,
    REFER,
    SHIPPED,
    Classes,
    classes_in,
    column,
    columns,
    positive_name,
)

LATEST = 100
# Most specimens that are shown, and that are remembered: their names come from the broker.
SPECIMENS, SPECIMENS_KEPT = 6, 1000
REDRAWS_PER_S = 4
NAME_WIDTH, SOURCE_WIDTH = 24, 40
# Characters of the target's name that are shown beside however long a state.
SHORTEST_TARGET = 24
# Lines of a table that hold no result: its borders and its head.
FRAME_LINES = 4
_REFER_COLOUR, _OTHER_COLOUR, _CLASS_COLOURS = "yellow", "blue", ("red", "green")
CLASSES_KEPT = 4
"""Pairs of class names that have columns of their own: they come from the broker."""
_SHRINKING = ("specimen", "source")
NARROW = 76
"""Under so many columns they would have no room: they are left out of the latest results."""


class LiveTable:
    """Draws while it is entered.

    Args:
        target: where results go.
        state: of the connection and the store, in words.
        console: by default standard output.
    """

    def __init__(self, target: str, state: Callable[[], str], console: Console | None = None):
        self._target, self._state = target, state
        self._latest: collections.deque[Record] = collections.deque(maxlen=LATEST)
        self._totals: dict[tuple[str, str], collections.Counter[str]] = {}
        self._classes: list[Classes] = []
        self._stored = self._again = 0
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._live = Live(
            console=console or Console(),
            refresh_per_second=REDRAWS_PER_S,
            get_renderable=lambda: self,
        )

    def __enter__(self) -> "LiveTable":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def stored(self, record: Record, new: bool) -> None:
        """One result was stored; `new` if it was not there yet. Any thread."""
        with self._lock:
            if not new:
                self._again += 1
                return
            self._stored += 1
            self._latest.append(record)
            key = (record.device, record.specimen)
            counts = self._totals.pop(key, collections.Counter())
            counts[column(record)] += 1
            pair = classes_in(record.probabilities)
            if pair and pair not in self._classes and len(self._classes) < CLASSES_KEPT:
                self._classes.append(pair)
            self._totals[key] = counts  # the latest specimen stands last
            if len(self._totals) > SPECIMENS_KEPT:
                del self._totals[next(iter(self._totals))]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Totals on top, then as many results as the height allows."""
        with self._lock:
            latest, stored, again = list(self._latest), self._stored, self._again
            classes = list(self._classes) or [SHIPPED]
            totals = [(key, counts.copy()) for key, counts in list(self._totals.items())[-SPECIMENS:]]
        rate = stored / max(1e-9, time.monotonic() - self._began)
        line = harmless(f"{stored} stored ({rate:.1f}/s), {again} duplicates; {self._state()} → ")
        target = shortened(harmless(self._target), max(SHORTEST_TARGET, options.max_width - len(line)))
        head = [
            Text(f"{NOTICE.capitalize()}. One cell decides nothing.", style="bold", overflow="ellipsis"),
            Text(line + target, overflow="ellipsis"),
        ]
        # The last line of a terminal holds the cursor.
        room = options.size.height - 1 - sum(len(text.wrap(console, options.max_width)) for text in head)
        specimens = max(1, min(len(totals), room - FRAME_LINES))
        room -= specimens + FRAME_LINES
        parts: list[RenderableType] = [*head, _specimens(totals[-specimens:], classes)]
        if room > FRAME_LINES:
            parts.append(_results(latest[-(room - FRAME_LINES) :], classes, options.max_width < NARROW))
        yield Group(*parts)


def _specimens(
    totals: list[tuple[tuple[str, str], "collections.Counter[str]"]], classes: list[Classes]
) -> Table:
    names = columns(classes)
    table = _table("device", "specimen", *_heads(names), f"share {positive_name(classes)}")
    for (device, specimen), counts in totals:
        lymphoid = counts.total() - counts[OTHER]
        numbers = [str(counts[name]) for name in names]
        positive = sum(counts[name] for name in {pair.positive for pair in classes})
        share = f"{positive / max(1, lymphoid):.0%}"
        table.add_row(*(_one_line(cell) for cell in (*_names(device, specimen), *numbers, share)))
    return table


def _results(latest: list[Record], classes: list[Classes], narrow: bool) -> Table:
    colours = _colours(classes)
    time_head = f"captured, {zone()}"
    heads = [time_head, "device", "sequence", "specimen", "verdict", f"p({positive_name(classes)})", "source"]
    table = _table(*(head for head in heads if not (narrow and head in _SHRINKING)))
    for record in latest:
        counted = column(record)
        pair = classes_in(record.probabilities)
        probability = record.probabilities[pair.positive] if pair else None
        cells = (
            local(record.captured_at, "%H:%M:%S"),
            *_names(record.device, str(record.sequence), record.specimen),
            "–" if probability is None else f"{probability:.3f}",
            harmless(record.source.rpartition("/")[2][-SOURCE_WIDTH:], SOURCE_WIDTH),
        )
        texts = [_one_line(cell) for cell in cells]
        texts.insert(4, _one_line(harmless(counted, NAME_WIDTH), colours.get(counted, "")))
        table.add_row(
            *(text for head, text in zip(heads, texts, strict=True) if not (narrow and head in _SHRINKING))
        )
    return table


def _colours(classes: list[Classes]) -> dict[str, str]:
    found = {OTHER: _OTHER_COLOUR}
    for pair in reversed(classes):
        found.update(zip(pair, _CLASS_COLOURS, strict=True))
    return found | {REFER: _REFER_COLOUR}


def _heads(names: list[str]) -> list[str]:
    return [harmless(name, NAME_WIDTH) for name in names]


def _table(*columns: str) -> Table:
    """A table of which the columns in _SHRINKING get narrow first."""
    table = Table()
    for name in columns:
        table.add_column(_one_line(name), no_wrap=name not in _SHRINKING)
    return table


def _one_line(text: str, style: str = "") -> Text:
    """One line per row, whatever stands in it, so that the height is known."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _names(*names: str) -> list[str]:
    return [harmless(name, NAME_WIDTH) or "–" for name in names]
