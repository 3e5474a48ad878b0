"""The demo on a terminal: one panel that is drawn anew, in place of lines that rush by."""

import collections
import logging
import statistics
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel as Frame
from rich.table import Table
from rich.text import Text

from edge.demo.show import Show, short
from edge.host.journal import safe_lines
from edge.host.text import harmless
from edge.model.summary import REFER, label_of
from edge.notice import NOTICE
from edge.records import Record

LATEST = 8
NOTES = 3
REDRAWS_PER_S = 8
LATENCIES = 200
BAR_CELLS = 30
_WIDTH = 100
SOURCE_CHARACTERS = 44
"""So that it stands on one line of a terminal of 80 columns."""


class Panel(Show):
    """Draws while it is entered; what the log reports meanwhile stands at its foot."""

    draws = True

    def __init__(self, classes: list[str], place: str):
        super().__init__(classes, place)
        self._latest: collections.deque[Record] = collections.deque(maxlen=LATEST)
        self._latencies_ms: collections.deque[float] = collections.deque(maxlen=LATENCIES)
        self._notes = _Notes()
        self._handlers: list[logging.Handler] = []
        self._began = 0.0
        self._screen = Console()
        self._live = Live(console=self._screen, refresh_per_second=REDRAWS_PER_S, get_renderable=self._draw)

    def __enter__(self) -> "Panel":
        root = logging.getLogger()
        self._handlers, root.handlers = root.handlers, [self._notes]
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        logging.getLogger().handlers = self._handlers

    def say(self, text: str) -> None:
        """See Show; everything stands in the panel."""

    def shown(self, record: Record) -> None:
        """See Show."""
        self._began = self._began or time.monotonic()
        self._latest.append(record)
        self._latencies_ms.append(sum(record.timings_ms.values()))

    def _draw(self) -> Frame:
        with self._lock:
            latest, rows = list(self._latest), self.rows
            verdicts = self.summary.verdicts.copy()
            right, wrong = self.summary.right, self.summary.wrong
            median_ms = statistics.median(self._latencies_ms) if self._latencies_ms else 0.0
        rate = rows / max(1e-9, time.monotonic() - self._began) if self._began else 0.0
        facts = f"{rows} results, {rate:.1f} per second, {median_ms:.1f} ms per cell"
        if right or wrong:
            facts += f"; by the folders' labels {right} right, {wrong} wrong"
        parts: list[RenderableType] = [
            Text(self._place, style="dim"),
            self._bars(verdicts),
            Text(facts if rows else "starting …", style="bold"),
            self._table(latest),
            Text("Ctrl-C ends it, and the page with it", style="dim"),
            *(Text(harmless(note, _WIDTH), style="yellow") for note in self._notes.latest),
        ]
        title = f"Leukoscope demo · {NOTICE}"
        return Frame(Group(*parts), title=title, width=min(_WIDTH, self._screen.width))

    def _bars(self, verdicts: collections.Counter[str]) -> Table:
        bars = Table.grid(padding=(0, 1))
        total = max(1, verdicts.total())
        for name in (*self._classes, REFER):
            filled = round(BAR_CELLS * verdicts[name] / total)
            bars.add_row(
                name,
                Text("█" * filled + "·" * (BAR_CELLS - filled), style=self._style(name)),
                str(verdicts[name]),
            )
        return bars

    def _table(self, latest: list[Record]) -> Table:
        first = self._classes[0]
        table = Table("verdict", f"p({first})", "label", "", "source", box=None, padding=(0, 1))
        for record in latest:
            label = label_of(Path(record.source), self._classes)
            mark = "" if not label or record.verdict == REFER else "✓" if label == record.verdict else "✗"
            table.add_row(
                Text(harmless(record.verdict), style=self._style(record.verdict)),
                f"{record.probabilities.get(first, float('nan')):.3f}",
                label or "–",
                Text(mark, style="green" if mark == "✓" else "bold red"),
                Text(harmless(short(record.source, SOURCE_CHARACTERS))),
            )
        return table

    def _style(self, verdict: str) -> str:
        return {self._classes[0]: "red", self._classes[-1]: "green"}.get(verdict, "yellow")


class _Notes(logging.Handler):
    """Keeps the latest lines of the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.latest: collections.deque[str] = collections.deque(maxlen=NOTES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.latest.append(safe_lines(record.getMessage()))
