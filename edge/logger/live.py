"""The logger on a terminal: the latest results and what they add up to, as a table that is drawn anew."""

import collections
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.notice import NOTICE
from edge.records import Record

LATEST = 12
SPECIMENS = 6
REDRAWS_PER_S = 4
_COLOURS = {"ALL": "red", "HEM": "green", "refer": "yellow"}
_VERDICTS = tuple(_COLOURS)


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
        self._stored = self._again = 0
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._live = Live(
            console=console or Console(),
            refresh_per_second=REDRAWS_PER_S,
            get_renderable=self._draw,
        )

    def __enter__(self) -> "LiveTable":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def stored(self, record: Record, new: bool) -> None:
        """One result was stored; `new` where it was not there yet. Any thread."""
        with self._lock:
            if not new:
                self._again += 1
                return
            self._stored += 1
            self._latest.append(record)
            key = (record.device, record.specimen)
            self._totals.setdefault(key, collections.Counter())[record.verdict] += 1
            self._totals[key] = self._totals.pop(key)  # the latest specimen stands last

    def _draw(self) -> Group:
        with self._lock:
            latest, stored, again = list(self._latest), self._stored, self._again
            totals = [(key, counts.copy()) for key, counts in list(self._totals.items())[-SPECIMENS:]]
        results = Table("captured at", "device", "sequence", "specimen", "verdict", "p(ALL)", "source")
        for record in latest:
            verdict = Text(record.verdict, style=_COLOURS[record.verdict])
            probability = f"{record.probabilities.get('ALL', float('nan')):.3f}"
            results.add_row(
                record.captured_at[:23],
                Text(record.device),
                str(record.sequence),
                Text(record.specimen),
                verdict,
                probability,
                Text(record.source[-40:]),
            )
        specimens = Table("device", "specimen", *_VERDICTS, "share ALL")
        for (device, specimen), counts in totals:
            share = counts["ALL"] / max(1, counts.total())
            figures = [str(counts[verdict]) for verdict in _VERDICTS]
            specimens.add_row(Text(device), Text(specimen or "–"), *figures, f"{share:.0%}")
        rate = stored / max(1e-9, time.monotonic() - self._began)
        line = f"{self._state()} → {self._target}: {stored} stored ({rate:.1f}/s), {again} came again"
        return Group(
            Text(f"{NOTICE.capitalize()}. One cell decides nothing.", style="bold"),
            results,
            specimens,
            Text(line),
        )
